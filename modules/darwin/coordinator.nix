# A macOS machine that asks for builds, by nix-darwin. launchd hands over no credentials and no sockets, so the
# coordinator runs as root with root's keys, and `muster connect` waits for it while it restarts.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.muster.coordinator;
  mine = import ../lib;
in
{
  imports = [
    ../common/coordinator.nix
    ./tailscale.nix
  ];

  options.services.muster.coordinator.logFile = mkOption {
    type = types.strMatching "/.*";
    default = "/var/log/muster.log";
    description = "Where the coordinator's log goes.";
  };

  config = lib.mkIf cfg.enable {
    services.muster.coordinator = {
      runtimeDir = "/var/run/muster";
      keyPath = lib.id;
    };

    programs.ssh.extraConfig = lib.mkIf (cfg.identityFiles != [ ]) (
      lib.mkAfter (
        mine.ssh.client {
          user = "root";
          knownHosts = [ ];
          inherit (cfg) identityFiles;
        }
      )
    );

    launchd.daemons.muster = {
      # The file's own path, so that another configuration is another service to launchd, and it restarts.
      command = "${lib.getExe config.services.muster.package} coordinator --config ${
        config.environment.etc."muster/config.toml".source
      } --runtime-dir ${cfg.runtimeDir}";
      # ssh is the system's.
      path = [
        config.nix.package
        "/usr/bin"
        "/bin"
        "/usr/sbin"
        "/sbin"
      ];
      serviceConfig = {
        Label = "org.nixos.muster";
        RunAtLoad = true;
        KeepAlive = true;
        ThrottleInterval = 5;
        ProcessType = "Interactive";
        StandardErrorPath = cfg.logFile;
        StandardOutPath = cfg.logFile;
        SoftResourceLimits.NumberOfFiles = 65536;
      };
    };
  };
}
