# The builder's agent on launchd. /var/run is empty when the machine starts, and only root may write there: so root makes the
# agent's directory, and launchd starts the agent until it has one.
{
  config,
  lib,
  ...
}:
let
  cfg = config.services.muster.builder;
  mine = import ../lib;
  directory = "/var/run/muster-builder";
  socket = "${directory}/agent.sock";

  # The agent is nobody special. It leaves a mark where launchd looks, and root runs the command.
  mark = "${directory}/released";
  wantsRoot = cfg.agent.releaseCommand != null;
in
{
  config = lib.mkIf (cfg.enable && cfg.agent.enable) {
    launchd.daemons.muster-builder-directory = {
      command = "/usr/bin/install -d -m 0755 -o ${toString cfg.uid} -g ${toString cfg.gid} ${directory}";
      serviceConfig = {
        Label = "org.nixos.muster-builder-directory";
        RunAtLoad = true;
      };
    };

    launchd.daemons.muster-builder = {
      command = lib.escapeShellArgs (
        [ (lib.getExe config.services.muster.package) ]
        ++ mine.words.agent (
          removeAttrs cfg.agent [ "enable" ]
          // {
            inherit socket;
            allowUsers = lib.subtractLists [ cfg.user "root" ] cfg.sshUsers;
            # To launchd a failure would be a reason to start it again.
            onIdle = if cfg.agent.idleTimeout == null then null else "pass";
            releaseCommand = if wantsRoot then "touch ${mark}" else null;
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
        UserName = cfg.user;
        GroupName = cfg.group;
        RunAtLoad = true;
        KeepAlive.SuccessfulExit = false;
        ThrottleInterval = 5;
      };
    };

    launchd.daemons.muster-builder-released = lib.mkIf wantsRoot {
      script = ''
        rm -f ${mark}
        ${cfg.agent.releaseCommand}
      '';
      serviceConfig = {
        Label = "org.nixos.muster-builder-released";
        KeepAlive.PathState.${mark} = true;
      };
    };
  };
}
