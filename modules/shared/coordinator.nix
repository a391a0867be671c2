# The machine that asks for builds: what Linux and macOS have in common.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.muster.coordinator;
  mine = import ../lib;

  # Stronger than a default of NixOS, weaker than whatever the user writes.
  default = lib.mkOverride 900;

  isFile = types.strMatching "/.*";

  builderType = types.submodule (
    { name, ... }:
    {
      options = {
        host = mkOption {
          type = types.singleLineStr;
          default = name;
          defaultText = "its name";
          description = "The host name or address.";
        };
        port = mkOption {
          type = types.nullOr types.port;
          default = null;
          description = "The port of its ssh server. `null`: what ssh's configuration says, else 22.";
        };
        user = mkOption {
          type = types.nullOr types.singleLineStr;
          default = "remotebuild";
          description = "The user to log in as. `null`: what ssh's configuration says.";
        };
        identityFile = mkOption {
          type = types.nullOr isFile;
          default = null;
          example = "/root/.ssh/remotebuild";
          description = "The private key to log in with: a path in quotation marks, read when the service starts.";
        };
        hostKey = mkOption {
          type = types.nullOr types.singleLineStr;
          default = null;
          example = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDnCQXlllHoLX5EvU+t6yP/npsmuxKt0skHVeJashizE";
          description = "Its public host key, as in its /etc/ssh/ssh_host_ed25519_key.pub. `null`: ssh's known hosts.";
        };
        systems = mkOption {
          type = types.nullOr (types.nonEmptyListOf types.singleLineStr);
          default = null;
          example = [
            "x86_64-linux"
            "aarch64-linux"
          ];
          description = "The systems that it builds for. `null`: measured.";
        };
        features = mkOption {
          type = types.nullOr (types.listOf types.singleLineStr);
          default = null;
          example = [
            "nixos-test"
            "big-parallel"
            "kvm"
          ];
          description = "The system features that it offers. `null`: measured.";
        };
        mandatoryFeatures = mkOption {
          type = types.listOf types.singleLineStr;
          default = [ ];
          description = "System features that a build must ask for to be placed there.";
        };
        labels = mkOption {
          type = types.listOf types.singleLineStr;
          default = [ ];
          example = [ "big" ];
          description = "Words of your own for it, which routes in `settings` and `muster use` send builds to.";
        };
        slots = mkOption {
          type = types.nullOr types.ints.positive;
          default = null;
          description = "Builds at once. `null`: measured.";
        };
        speedFactor = mkOption {
          type = types.nullOr (types.either types.ints.positive types.float);
          default = null;
          description = "How fast it is beside the others. `null`: 1.";
        };
      };
    }
  );

  orNull = list: if list == [ ] then null else list;
  tableOf = name: builder: {
    inherit name;
    inherit (builder) systems features slots;
    uri =
      "ssh-ng://"
      + lib.optionalString (builder.user != null) "${builder.user}@"
      + (if lib.hasInfix ":" builder.host then "[${builder.host}]" else builder.host)
      + lib.optionalString (builder.port != null) ":${toString builder.port}";
    key = if builder.identityFile == null then null else cfg.keyPath builder.identityFile;
    host_key = builder.hostKey;
    mandatory = orNull builder.mandatoryFeatures;
    labels = orNull builder.labels;
    speed_factor = builder.speedFactor;
  };

  # As the configuration has it, with the key where the coordinator can read it.
  tailscaleTable =
    source:
    lib.filterAttrs (_: value: value != null) (
      source
      // {
        names = orNull source.names;
        key = if source.key == null then null else cfg.keyPath source.key;
      }
    );

  # What the user wrote in each entry, before defaults were filled in; where that cannot be told, everything counts as written.
  written =
    let
      raw = lib.concatLists options.nix.buildMachines.definitions;
    in
    if lib.length raw == lib.length config.nix.buildMachines then raw else config.nix.buildMachines;
  entries = lib.zipListsWith (machine: raw: {
    inherit machine;
    given = field: !lib.isAttrs raw || raw ? ${field};
    inherit (cfg) keyPath;
  }) config.nix.buildMachines written;

  adopted = lib.optionals cfg.adoptBuildMachines (
    lib.filter (entry: mine.machines.isAdoptable entry.machine) entries
  );
  left = lib.filter (
    machine: !(cfg.adoptBuildMachines && mine.machines.isAdoptable machine)
  ) config.nix.buildMachines;

  secrets = lib.unique (
    lib.filter (path: path != null) (
      lib.mapAttrsToList (_: builder: builder.identityFile) cfg.builders
      ++ map (entry: entry.machine.sshKey) adopted
      ++ map (source: source.key) cfg.sources.tailscale
      ++ cfg.identityFiles
    )
  );

  configFile = pkgs.writeText "muster.toml" cfg.configText;
  canRun = pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform;
  checkedFile =
    if !canRun then
      configFile
    else
      pkgs.runCommand "muster-checked.toml" { } ''
        ${lib.getExe config.services.muster.package} check-config \
          --runtime-dir ${cfg.runtimeDir} --state-dir /var/lib/muster ${configFile}
        ln -s ${configFile} $out
      '';

  buildersSetting = config.nix.settings.builders or null;
  buildersText = toString buildersSetting;
in
{
  imports = [ ./package.nix ];

  options.services.muster.coordinator = {
    enable = lib.mkEnableOption "muster's coordinator, which takes builds from this machine's Nix to builders";

    attach = mkOption {
      type = types.enum [
        "endpoint"
        "direct"
      ];
      default = "endpoint";
      description = ''
        How Nix reaches the builders: `"endpoint"`, through muster, or `"direct"`, by itself, with lines that muster keeps
        up to date. Nothing of muster repairs a loss then, and it runs as root, since root's ssh has to reach them.
      '';
    };
    builders = mkOption {
      type = types.attrsOf builderType;
      default = { };
      example = lib.literalExpression ''
        {
          big = {
            host = "192.168.5.101";
            identityFile = "/root/.ssh/remotebuild";
            hostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDnCQXlllHoLX5EvU+t6yP/npsmuxKt0skHVeJashizE";
          };
        }
      '';
      description = "Builders by name. What is not said is measured.";
    };
    adoptBuildMachines = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether the machines in `nix.buildMachines` that are reached by ssh become builders of muster's. The others are
        left to Nix; with `false` all are. None is offered twice.
      '';
    };
    sources.machines = mkOption {
      type = types.bool;
      default = false;
      description = "Whether machines lines that `builders` in nix.conf names become builders, too.";
    };
    sources.exec = mkOption {
      type = types.listOf (
        types.submodule {
          options = {
            command = mkOption {
              type = types.nonEmptyListOf types.str;
              example = [
                "/run/current-system/sw/bin/list-builders"
                "--json"
              ];
              description = "The program and its arguments.";
            };
            interval = mkOption {
              type = types.singleLineStr;
              default = "30s";
              description = "How often it is run.";
            };
          };
        }
      );
      default = [ ];
      description = "Commands that print a line of JSON for each builder (docs/sources.md).";
    };
    sources.tailscale = mkOption {
      type = types.listOf (
        types.submodule {
          options = {
            tag = mkOption {
              type = types.nullOr (types.strMatching "tag:.+");
              default = null;
              example = "tag:nix-builder";
              description = "The builders' tag: the only one of the three that a machine can't give itself.";
            };
            prefix = mkOption {
              type = types.nullOr types.singleLineStr;
              default = null;
              description = "What their names begin with.";
            };
            names = mkOption {
              type = types.listOf types.singleLineStr;
              default = [ ];
              description = "Their names.";
            };
            ssh = mkOption {
              type = types.enum [
                "tailscale"
                "sshd"
              ];
              default = "tailscale";
              description = "Who answers on their ssh port: Tailscale SSH, without any key, or an sshd of their own.";
            };
            user = mkOption {
              type = types.singleLineStr;
              default = "remotebuild";
              description = "The user to log in as.";
            };
            key = mkOption {
              type = types.nullOr isFile;
              default = null;
              description = "The private key to log in with, for `\"sshd\"`.";
            };
            port = mkOption {
              type = types.nullOr types.port;
              default = null;
              description = "The port, for `\"sshd\"`. `null`: ssh's own choice.";
            };
          };
        }
      );
      default = [ ];
      example = [ { tag = "tag:nix-builder"; } ];
      description = "The machines of this machine's tailnet that have all of what is said of them (docs/sources.md).";
    };
    identityFiles = mkOption {
      type = types.listOf isFile;
      default = [ ];
      example = [ "/root/.ssh/remotebuild" ];
      description = "Private keys that ssh may use beside those of the builders: for hosts whose alias in `programs.ssh.extraConfig` names one.";
    };
    sshAliases = mkOption {
      type = types.bool;
      default = true;
      description = "Whether `ssh NAME` reaches the builders of `builders` by their names, with their host keys known to everybody on this machine.";
    };
    useSubstitutes = mkOption {
      type = types.bool;
      default = true;
      description = "Whether builders fetch inputs from their own binary caches: `builders-use-substitutes` in nix.conf.";
    };
    forceRemote = mkOption {
      type = types.bool;
      default = false;
      description = "Whether this machine builds nothing itself: `max-jobs = 0` in nix.conf.";
    };
    settings = mkOption {
      type = types.submodule { freeformType = (pkgs.formats.toml { }).type; };
      default = { };
      example = lib.literalExpression ''
        {
          expect = [ { systems = [ "aarch64-linux" ]; } ];
          timeouts.lost_after = "90s";
        }
      '';
      description = ''
        Everything else that can be said in the configuration (docs/configuration.md). When the system is built,
        `muster check-config` reads it: a key that does not exist fails the build.
      '';
    };

    # What the platform says, and what the pieces above come to.
    runtimeDir = mkOption {
      type = types.str;
      internal = true;
    };
    keyPath = mkOption {
      type = types.functionTo types.str;
      internal = true;
      description = "Where the coordinator reads a private key.";
    };
    secrets = mkOption {
      type = types.listOf types.str;
      internal = true;
      readOnly = true;
    };
    configText = mkOption {
      type = types.str;
      internal = true;
      readOnly = true;
    };
  };

  config = lib.mkIf cfg.enable {
    services.muster.coordinator = {
      inherit secrets;
      configText = mine.toml cfg.settings;
      settings = {
        attach = default cfg.attach;
        builder = map (lib.filterAttrs (_: value: value != null)) (
          mine.machines.named (lib.mapAttrsToList tableOf cfg.builders ++ map mine.machines.builder adopted)
        );
        source =
          lib.optional cfg.sources.machines { machines = true; }
          ++ map (source: {
            exec = source.command;
            inherit (source) interval;
          }) cfg.sources.exec
          ++ map (source: { tailscale = tailscaleTable source; }) cfg.sources.tailscale;
        # nix.conf is made here, so that nobody has to write into Nix's own machines file.
        endpoint.install = default false;
      };
    };

    environment.systemPackages = [ config.services.muster.package ];
    environment.etc."muster/config.toml".source = checkedFile;
    environment.etc."muster/machines" = lib.mkIf (left != [ ]) {
      text = lib.concatMapStrings (machine: "${mine.machines.line machine}\n") left;
    };

    nix.distributedBuilds = default true;
    nix.settings = {
      builders = default (
        "@${cfg.runtimeDir}/machines" + lib.optionalString (left != [ ]) " ; @/etc/muster/machines"
      );
      builders-use-substitutes = default cfg.useSubstitutes;
      max-jobs = lib.mkIf cfg.forceRemote 0;
    };

    programs.ssh = lib.mkIf cfg.sshAliases {
      extraConfig = lib.mkAfter (
        lib.concatStrings (
          lib.mapAttrsToList (
            name: builder:
            mine.ssh.alias {
              inherit name;
              inherit (builder)
                host
                port
                user
                identityFile
                ;
            }
          ) cfg.builders
        )
        + lib.optionalString (cfg.builders != { }) "Match all\n"
      );
      knownHosts = lib.mapAttrs (name: builder: {
        hostNames = lib.unique (
          mine.ssh.knownAs builder
          ++ mine.ssh.knownAs {
            host = name;
            inherit (builder) port;
          }
        );
        publicKey = builder.hostKey;
      }) (lib.filterAttrs (_: builder: builder.hostKey != null) cfg.builders);
    };

    assertions = [
      {
        assertion = lib.any (key: cfg.settings.${key} or [ ] != [ ]) [
          "builder"
          "source"
          "expect"
        ];
        message = ''
          services.muster.coordinator: there is no builder and nothing that finds one. Name one in
          services.muster.coordinator.builders or nix.buildMachines, or set services.muster.coordinator.sources.
        '';
      }
      {
        assertion = lib.all (
          source: source.tag != null || source.prefix != null || source.names != [ ]
        ) cfg.sources.tailscale;
        message = ''
          services.muster.coordinator.sources.tailscale: an entry names none of tag, prefix and names, so every machine of
          the tailnet would be a builder. Give the builders a tag, and say tag = "tag:nix-builder".
        '';
      }
      {
        assertion = lib.all (path: !lib.hasPrefix builtins.storeDir path) secrets;
        message = ''
          services.muster.coordinator: a private key lies in the store, where everybody can read it: ${lib.concatStringsSep ", " (lib.filter (lib.hasPrefix builtins.storeDir) secrets)}. Write the path in quotation marks, as in identityFile = "/root/.ssh/remotebuild", and put the file there.
        '';
      }
      {
        assertion = lib.hasInfix "@${cfg.runtimeDir}/machines" buildersText;
        message = ''
          services.muster.coordinator: Nix would not read muster's lines, since nix.settings.builders is
          '${buildersText}' (nix.distributedBuilds = false empties it). Move these machines to nix.buildMachines and leave
          nix.settings.builders out, or append " ; @${cfg.runtimeDir}/machines" to it.
        '';
      }
      {
        assertion =
          builtins.match "(.*\n)?[[:space:]]*builders[[:space:]]*=.*" config.nix.extraOptions == null;
        message = ''
          services.muster.coordinator: nix.extraOptions sets builders, which comes last in nix.conf and hides muster's
          lines. Move these machines to nix.buildMachines.
        '';
      }
      {
        assertion = config.nix.enable or true;
        message = ''
          services.muster.coordinator needs nix.conf to be this configuration's: set nix.enable = true, or leave the module
          out and run `muster setup`.
        '';
      }
    ];
  };
}
