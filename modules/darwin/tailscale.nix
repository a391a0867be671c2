# A macOS machine that joins a tailnet: nix-darwin's tailscaled, which unlike Tailscale's application serves ssh.
{
  config,
  lib,
  ...
}:
let
  cfg = config.services.muster;
  mine = import ../lib;
in
{
  imports = [ ../common/tailscale.nix ];

  config = lib.mkIf (cfg.joining != null) {
    launchd.daemons.muster-join = {
      command = lib.escapeShellArgs ([ (lib.getExe cfg.package) ] ++ mine.words.join cfg.joining);
      path = [
        "/usr/bin"
        "/bin"
        "/usr/sbin"
        "/sbin"
      ];
      serviceConfig = {
        Label = "org.nixos.muster-join";
        RunAtLoad = true;
        # Again until it succeeds, and then no more.
        KeepAlive.SuccessfulExit = false;
        ThrottleInterval = 10;
        StandardErrorPath = "/var/log/muster-join.log";
        StandardOutPath = "/var/log/muster-join.log";
      };
    };
  };
}
