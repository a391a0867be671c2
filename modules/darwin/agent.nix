# The builder's agent on launchd, as root: there only root may write to /var/run, where coordinators look for its socket.
{
  config,
  lib,
  ...
}:
let
  cfg = config.services.muster.builder;
  mine = import ../lib;
in
{
  config = lib.mkIf (cfg.enable && cfg.agent.enable) {
    launchd.daemons.muster-builder = {
      command = lib.escapeShellArgs (
        [ (lib.getExe config.services.muster.package) ]
        ++ mine.words.agent (
          removeAttrs cfg.agent [ "enable" ]
          // {
            socket = "/var/run/muster-builder/agent.sock";
            allowUsers = lib.remove "root" cfg.sshUsers;
            # To launchd a failure would be a reason to start it again.
            onIdle = if cfg.agent.idleTimeout == null then null else "pass";
          }
        )
      );
      path = [
        config.nix.package
        "/usr/bin"
        "/bin"
        "/usr/sbin"
        "/sbin"
      ];
      serviceConfig = {
        Label = "org.nixos.muster-builder";
        RunAtLoad = true;
        # Released, it stays away.
        KeepAlive.SuccessfulExit = false;
        ThrottleInterval = 5;
      };
    };
  };
}
