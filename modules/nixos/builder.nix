# A NixOS machine that builds for others.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.muster.builder;
  default = lib.mkOverride 900;

  tailscaleAlone = cfg.byTailscale && !cfg.openssh.enable;
  shutByUs = options.services.openssh.openFirewall.highestPrio == 900;

  # What NixOS offers by itself, without the feature that the user took away.
  featuresWithoutKvm =
    let
      arch = pkgs.stdenv.hostPlatform.gcc.arch or null;
    in
    [
      "nixos-test"
      "benchmark"
      "big-parallel"
    ]
    ++ lib.optionals (arch != null) (
      map (each: "gccarch-${each}") ([ arch ] ++ lib.systems.architectures.inferiors.${arch} or [ ])
    );
in
{
  imports = [
    ../common/builder.nix
    ./agent.nix
    ./tailscale.nix
  ];

  options.services.muster.builder = {
    kind = mkOption {
      type = types.enum [
        "normal"
        "system"
      ];
      default = "normal";
      description = "Whether the user is a normal one, as in nix.dev's tutorial, or a system user. Both have a login shell.";
    };
    uid = mkOption {
      type = types.nullOr types.ints.unsigned;
      default = null;
      example = 500;
      description = "The number of the user. `null`: NixOS chooses it.";
    };
    gid = mkOption {
      type = types.nullOr types.ints.unsigned;
      default = null;
      example = 500;
      description = "The number of the group. `null`: NixOS chooses it.";
    };
    kvm = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether builds may open /dev/kvm. NixOS offers the feature `kvm` on every machine; `false` takes it out of
        `system-features`, for machines that have no such device.
      '';
    };
    emulatedSystems = mkOption {
      type = types.listOf types.singleLineStr;
      default = [ ];
      example = [
        "aarch64-linux"
        "riscv64-linux"
      ];
      description = "Systems that this machine builds for by emulation: `boot.binfmt.emulatedSystems`.";
    };
    gc.dates = mkOption {
      type = types.singleLineStr;
      default = "weekly";
      description = "When garbage is collected by the calendar, in systemd's words.";
    };
    memoryMax = mkOption {
      type = types.nullOr types.singleLineStr;
      default = "90%";
      description = "Memory that Nix's daemon and all its builds may take together: `MemoryMax`. `null`: no limit.";
    };
    oomScoreAdjust = mkOption {
      type = types.ints.between (-1000) 1000;
      default = 500;
      description = "How readily the kernel ends builds rather than other programs where memory runs out: `OOMScoreAdjust`.";
    };
  };

  config = lib.mkIf cfg.enable {
    # Root is turned away by an assertion, which has to be reached.
    users.users.${cfg.user} = lib.mkIf (cfg.user != "root") {
      isNormalUser = cfg.kind == "normal";
      isSystemUser = cfg.kind == "system";
      useDefaultShell = true;
      inherit (cfg) group uid;
    };
    users.groups.${cfg.group} = lib.mkIf (cfg.user != "root") { inherit (cfg) gid; };

    nix.settings.system-features = lib.mkIf (!cfg.kvm) (default featuresWithoutKvm);
    services.udev.extraRules = lib.mkIf cfg.kvm ''
      KERNEL=="kvm", MODE="0666"
    '';
    # Its own system is turned away below, in words that say what to do.
    boot.binfmt.emulatedSystems = lib.remove pkgs.stdenv.hostPlatform.system cfg.emulatedSystems;

    # Where Tailscale SSH alone serves, port 22 is shut: tailscaled answers there within the tailnet, whatever the firewall says.
    services.openssh.openFirewall = lib.mkIf tailscaleAlone (default false);
    warnings = lib.optional (tailscaleAlone && config.services.openssh.enable && shutByUs) ''
      services.muster.builder: Tailscale SSH alone serves the coordinators, so the firewall shuts the ports of the sshd that
      you enabled. Say services.openssh.openFirewall = true to keep them open, or false to agree.
    '';

    nix.gc.dates = default cfg.gc.dates;
    systemd.services.nix-daemon.serviceConfig = {
      MemoryAccounting = default true;
      MemoryMax = lib.mkIf (cfg.memoryMax != null) (default cfg.memoryMax);
      OOMScoreAdjust = default cfg.oomScoreAdjust;
    };

    assertions = [
      {
        assertion = !lib.elem pkgs.stdenv.hostPlatform.system cfg.emulatedSystems;
        message = ''
          services.muster.builder.emulatedSystems names ${pkgs.stdenv.hostPlatform.system}, which this machine is. Take it out of the list.
        '';
      }
      {
        assertion = cfg.kvm || !lib.elem "kvm" cfg.features;
        message = ''
          services.muster.builder.features offers kvm, and services.muster.builder.kvm is false. Take "kvm" out of the features.
        '';
      }
    ];
  };
}
