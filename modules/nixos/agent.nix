# The builder's agent as a service of systemd.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.muster.builder;
  mine = import ../lib;
  # Not whom coordinators log in as, since an agent's own user may drain and release it.
  user = "muster-builder";
  directory = "/run/muster-builder";

  # The agent is nobody special. It leaves a mark where systemd looks, and root runs the command.
  mark = "${directory}/released";
  wantsRoot = cfg.agent.releaseCommand != null;
in
{
  options.services.muster.builder.agent.onIdle = mkOption {
    type = types.nullOr (
      types.enum [
        "pass"
        "fail"
      ]
    );
    default = null;
    description = "Whether it is a success of the service that nobody came within `idleTimeout`. `null`: as `muster builder` has it.";
  };

  config = lib.mkIf (cfg.enable && cfg.agent.enable) {
    users.users.${user} = {
      isSystemUser = true;
      group = user;
      description = "muster's agent";
    };
    users.groups.${user} = { };

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
      serviceConfig =
        mine.unit.agent {
          inherit user;
          group = user;
        }
        // {
          ExecStart = mine.words.exec (
            [ (lib.getExe config.services.muster.package) ]
            ++ mine.words.agent (
              removeAttrs cfg.agent [ "enable" ]
              // {
                socket = "${directory}/agent.sock";
                allowUsers = lib.remove "root" cfg.sshUsers;
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

    assertions = [
      {
        assertion = cfg.agent.onIdle == null || cfg.agent.idleTimeout != null;
        message = ''
          services.muster.builder.agent.onIdle says how the agent ends when nobody came, and it waits for ever. Set
          services.muster.builder.agent.idleTimeout, such as "10min", or leave onIdle out.
        '';
      }
    ];
  };
}
