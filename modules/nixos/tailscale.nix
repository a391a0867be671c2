# A NixOS machine that joins a tailnet.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.muster;
  mine = import ../lib;
  service = "muster-join";
  muster = lib.getExe cfg.package;

  # A switch restarts this unit, and must not cut the builds that run: the machine leaves when it goes down.
  leave = pkgs.writeShellScript "muster-leave" ''
    if [ "$(${config.systemd.package}/bin/systemctl is-system-running)" = stopping ]; then
      exec ${muster} ${lib.escapeShellArgs (mine.words.leave { inherit (cfg.joining) tailscale; })}
    fi
  '';
  keyFile = cfg.joining.authKeyFile;
in
{
  imports = [ ../common/tailscale.nix ];

  config = lib.mkIf (cfg.joining != null) {
    # Direct paths rather than relayed ones.
    services.tailscale.openFirewall = lib.mkOverride 900 true;

    # Without a key an assertion says what to do.
    systemd.services.${service} = lib.mkIf (keyFile != null) {
      description = "Bring this machine into its tailnet";
      wantedBy = [ "multi-user.target" ];
      wants = [
        "network-online.target"
        "tailscaled.service"
      ];
      after = [
        "network-online.target"
        "tailscaled.service"
      ];
      startLimitIntervalSec = 0;
      stopIfChanged = false;
      serviceConfig =
        mine.unit.join keyFile
        // {
          ExecStart = mine.words.exec (
            [ muster ]
            ++ mine.words.join (cfg.joining // { authKeyFile = mine.credentials.pathIn service keyFile; })
          );
        }
        // lib.optionalAttrs (cfg.joining.ephemeral == true) { ExecStop = toString leave; };
    };

    assertions = [
      {
        assertion = config.services.tailscale.authKeyFile == null;
        message = ''
          services.tailscale.authKeyFile and services.muster.${cfg.joining.role}.tailscale both bring this machine into a
          tailnet. Set services.tailscale.authKeyFile to null; the other keeps its name, tags and ssh in one place.
        '';
      }
    ];
  };
}
