# The builder's agent as a service of systemd.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.muster.builder;
  mine = import ../lib;
  directory = "/run/muster-builder";

  # The agent is nobody special. It leaves a mark where systemd looks, and root runs the command.
  mark = "${directory}/released";
  wantsRoot = cfg.agent.releaseCommand != null;
in
{
  config = lib.mkIf (cfg.enable && cfg.agent.enable) {
    systemd.services.muster-builder = {
      description = "muster's agent, which coordinators claim this machine from";
      wantedBy = [ "multi-user.target" ];
      wants = [ "nix-daemon.socket" ];
      after = [ "nix-daemon.socket" ];
      path = [
        config.nix.package
        pkgs.coreutils
      ];
      startLimitIntervalSec = 0;
      stopIfChanged = false;
      serviceConfig = mine.unit.agent { inherit (cfg) user group; } // {
        ExecStart = mine.words.exec (
          [ (lib.getExe config.services.muster.package) ]
          ++ mine.words.agent (
            removeAttrs cfg.agent [ "enable" ]
            // {
              socket = "${directory}/agent.sock";
              releaseCommand = if wantsRoot then "touch ${mark}" else null;
            }
          )
        );
      };
    };

    systemd.paths.muster-builder-released = lib.mkIf wantsRoot {
      description = "Whether muster's agent was released";
      wantedBy = [ "multi-user.target" ];
      pathConfig.PathExists = mark;
    };
    systemd.services.muster-builder-released = lib.mkIf wantsRoot {
      description = "What this builder does once it is released";
      path = [ config.systemd.package ];
      serviceConfig.Type = "oneshot";
      script = ''
        rm -f ${mark}
        ${cfg.agent.releaseCommand}
      '';
    };
  };
}
