# What systemd is told of the coordinator.
let
  credentials = import ./credentials.nix;
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
    // (if user == "root" then { } else import ./hardening.nix);

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
