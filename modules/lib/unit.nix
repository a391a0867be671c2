# What systemd is told of muster's services.
let
  credentials = import ./credentials.nix;
  hardening = import ./hardening.nix;
in
{
  service =
    {
      user,
      group,
      secrets,
    }:
    {
      User = user;
      Group = group;
      # After `muster stop` it stays away.
      Restart = "on-failure";
      RestartSec = 2;
      # A wrong configuration is not mended by another start.
      RestartPreventExitStatus = 2;
      TimeoutStopSec = 30;
      LimitNOFILE = 65536;

      # The sockets lie in there: it stays while the service restarts.
      RuntimeDirectory = "muster";
      RuntimeDirectoryMode = "0755";
      RuntimeDirectoryPreserve = true;
      StateDirectory = "muster";
      StateDirectoryMode = "0750";

      LoadCredential = map credentials.load secrets;
      SetCredential = map credentials.fallback secrets;
    }
    // (if user == "root" then { } else hardening);

  # Root, since tailscaled obeys nobody else; all it does is to talk to tailscaled and to the control server.
  join =
    secret:
    {
      Type = "oneshot";
      RemainAfterExit = true;
      Restart = "on-failure";
      RestartSec = 10;
      RestartPreventExitStatus = 2;
      TimeoutStartSec = "infinity";
      TimeoutStopSec = 30;
      LoadCredential = credentials.load secret;
    }
    // hardening;

  # The builder's agent. Whoever logs in joins it by its socket; it has no network.
  agent =
    { user, group }:
    {
      User = user;
      Group = group;
      Restart = "on-failure";
      RestartSec = 2;
      # A wrong option, and `onIdle = "fail"`.
      RestartPreventExitStatus = [
        2
        3
      ];
      TimeoutStopSec = 30;
      # What the agent leaves there when it is released has to be seen.
      RuntimeDirectory = "muster-builder";
      RuntimeDirectoryMode = "0755";
      RuntimeDirectoryPreserve = true;
    }
    // hardening
    // {
      PrivateNetwork = true;
      RestrictAddressFamilies = [ "AF_UNIX" ];
    };

  socket =
    {
      name,
      path,
      mode,
      user,
      group,
    }:
    {
      ListenStream = path;
      FileDescriptorName = name;
      SocketMode = mode;
      SocketUser = user;
      SocketGroup = group;
      DirectoryMode = "0755";
      Service = "muster.service";
    };
}
