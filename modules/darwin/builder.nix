# A macOS machine that builds for others, by nix-darwin.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.muster.builder;
  default = lib.mkOverride 900;
in
{
  imports = [
    ../common/builder.nix
    ./agent.nix
    ./tailscale.nix
  ];

  options.services.muster.builder = {
    uid = mkOption {
      type = types.ints.between 401 999;
      default = 533;
      description = "The number of the user: nix-darwin does not choose one.";
    };
    gid = mkOption {
      type = types.ints.between 401 999;
      default = 533;
      description = "The number of the group: nix-darwin does not choose one.";
    };
    gc.interval = mkOption {
      type = types.listOf (types.attrsOf types.ints.unsigned);
      default = [
        {
          Weekday = 7;
          Hour = 3;
          Minute = 15;
        }
      ];
      description = "When garbage is collected by the calendar, in launchd's words.";
    };
    rosetta = mkOption {
      type = types.bool;
      default = false;
      description = "Whether this machine also builds for x86_64-darwin, by Rosetta, which must be installed: `extra-platforms`.";
    };
  };

  config = lib.mkIf cfg.enable {
    # Root is turned away by an assertion, which has to be reached.
    users.users.${cfg.user} = lib.mkIf (cfg.user != "root") {
      inherit (cfg) uid gid;
      isHidden = default true;
      # Without a login shell macOS lets nobody run commands.
      shell = default "/bin/bash";
    };
    users.groups.${cfg.group} = lib.mkIf (cfg.user != "root") {
      inherit (cfg) gid;
      members = [ cfg.user ];
    };
    users.knownUsers = [ cfg.user ];
    users.knownGroups = [ cfg.group ];

    # Where Tailscale SSH alone serves, macOS's own ssh server is off.
    services.openssh.enable = lib.mkIf (cfg.byTailscale && !cfg.openssh.enable) (default false);

    nix.gc.interval = default cfg.gc.interval;
    nix.settings.extra-platforms = lib.mkIf cfg.rosetta [ "x86_64-darwin" ];

    assertions = [
      {
        assertion = config.nix.enable or true;
        message = ''
          services.muster.builder needs nix.conf to be nix-darwin's: set nix.enable = true, or leave the module out and make
          the user and the settings by hand.
        '';
      }
      {
        assertion = !cfg.rosetta || pkgs.stdenv.hostPlatform.system == "aarch64-darwin";
        message = ''
          services.muster.builder.rosetta is for aarch64-darwin; this machine is ${pkgs.stdenv.hostPlatform.system}. Set it to false.
        '';
      }
    ];
  };
}
