# What can be said of a coordinator on both platforms; coordinator.nix says what it comes to.
{ lib, pkgs, ... }:
let
  inherit (lib) mkOption types;

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
in
{
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
            socket = mkOption {
              type = types.nullOr isFile;
              default = null;
              description = "The socket of this machine's tailscaled. `null`: where it usually is.";
            };
          };
        }
      );
      default = [ ];
      example = [ { tag = "tag:nix-builder"; } ];
      description = "The machines of this machine's tailnet that have all of what is said of them (docs/sources.md).";
    };
    tailscale = import ./tailscale-options.nix {
      inherit lib;
      role = "coordinator";
      tags = [ ];
      ssh = false;
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
}
