# A machine that builds for others: what Linux and macOS have in common. The defaults are those of nix.dev's tutorial.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.muster.builder;
  mine = import ../lib;

  # Stronger than a default of NixOS, weaker than whatever the user writes.
  default = lib.mkOverride 900;

  keyLines =
    cfg.authorizedKeys
    ++ lib.concatMap (file: mine.keys.linesOf (builtins.readFile file)) cfg.authorizedKeyFiles;
in
{
  imports = [ ./package.nix ];

  options.services.muster.builder = {
    enable = lib.mkEnableOption "building for coordinators that log in by ssh";

    user = mkOption {
      type = types.strMatching "[a-z_][a-z0-9_-]*";
      default = "remotebuild";
      description = "The user that coordinators log in as. It has no home and no password.";
    };
    group = mkOption {
      type = types.strMatching "[a-z_][a-z0-9_-]*";
      default = cfg.user;
      defaultText = lib.literalExpression "config.services.muster.builder.user";
      description = "Its group.";
    };
    description = mkOption {
      type = types.str;
      default = "Nix builds for other machines";
      description = "What the user database says about the user.";
    };

    authorizedKeys = mkOption {
      type = types.listOf types.singleLineStr;
      default = [ ];
      example = [
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDnCQXlllHoLX5EvU+t6yP/npsmuxKt0skHVeJashizE root@localmachine"
      ];
      description = "The coordinators' public keys. `muster key` makes one. A line with options of its own keeps exactly these.";
    };
    authorizedKeyFiles = mkOption {
      type = types.listOf types.path;
      default = [ ];
      example = lib.literalExpression "[ ./remotebuild.pub ]";
      description = "Files with such keys, one on each line.";
    };
    keyOptions = mkOption {
      type = types.singleLineStr;
      default = mine.keys.options;
      description = ''
        What a key may do: the options in front of it in authorized_keys. Without `port-forwarding` the daemon's socket
        cannot be forwarded, and each channel is a session of its own. `""` allows everything.
      '';
    };
    trusted = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether Nix trusts the user (`trusted-users`, in which root stays). Who may log in as a trusted user is root on
        this machine. Without it every input needs a signature.
      '';
    };
    openssh.enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether sshd serves the coordinators. Otherwise another ssh server has to.";
    };

    maxJobs = mkOption {
      type = types.either types.ints.unsigned (types.enum [ "auto" ]);
      default = "auto";
      description = "Builds at once: `max-jobs` in nix.conf. `\"auto\"` is one for each core.";
    };
    cores = mkOption {
      type = types.ints.unsigned;
      default = 0;
      description = "Cores for each build: `cores` in nix.conf. 0 is all of them.";
    };
    buildUsers = mkOption {
      type = types.ints.positive;
      default = 64;
      description = "Users that builds run as: `nix.nrBuildUsers`. No more builds than these run at once.";
    };
    features = mkOption {
      type = types.listOf types.singleLineStr;
      default = [ ];
      example = [ "big-parallel" ];
      description = "System features to offer beside those that Nix offers by itself: `extra-system-features`.";
    };
    minFree = mkOption {
      type = types.ints.unsigned;
      default = 10 * 1024 * 1024;
      description = "Free bytes below which Nix collects garbage while it builds: `min-free`.";
    };
    maxFree = mkOption {
      type = types.ints.unsigned;
      default = 200 * 1024 * 1024;
      description = "Free bytes at which it stops doing so: `max-free`.";
    };
    gc = {
      automatic = mkOption {
        type = types.bool;
        default = true;
        description = "Whether garbage is also collected by the calendar.";
      };
      options = mkOption {
        type = types.singleLineStr;
        default = "";
        example = "--delete-older-than 30d";
        description = "Options of `nix-collect-garbage`. Without any, no generation of a profile is deleted.";
      };
    };
  };

  config = lib.mkIf cfg.enable {
    users.users.${cfg.user} = {
      description = default cfg.description;
      createHome = false;
      openssh.authorizedKeys.keys = map (mine.keys.bind cfg.keyOptions) keyLines;
    };

    nix.settings = {
      trusted-users = lib.mkIf cfg.trusted [
        "root"
        cfg.user
      ];
      max-jobs = default cfg.maxJobs;
      cores = default cfg.cores;
      min-free = default cfg.minFree;
      max-free = default cfg.maxFree;
      extra-system-features = lib.mkIf (cfg.features != [ ]) cfg.features;
    };
    nix.nrBuildUsers = lib.mkIf (!(config.nix.settings.auto-allocate-uids or false)) (
      default cfg.buildUsers
    );
    nix.gc = {
      automatic = default cfg.gc.automatic;
      options = default cfg.gc.options;
    };

    services.openssh = lib.mkIf cfg.openssh.enable {
      enable = default true;
      extraConfig = lib.mkAfter (mine.ssh.server cfg.user);
    };

    assertions = [
      {
        assertion = !cfg.openssh.enable || keyLines != [ ];
        message = ''
          services.muster.builder: nobody can log in, since there is no key. Put the coordinator's public key into
          services.muster.builder.authorizedKeys or authorizedKeyFiles (`muster key` on the coordinator prints one).
        '';
      }
      {
        assertion = lib.all mine.keys.isKey keyLines;
        message = ''
          services.muster.builder: this is not a public key: '${
            lib.substring 0 30 (lib.findFirst (line: !mine.keys.isKey line) "" keyLines)
          }...'. authorizedKeys and authorizedKeyFiles take lines such as 'ssh-ed25519 AAAA... comment': the file that ends in .pub.
        '';
      }
      {
        assertion = cfg.minFree <= cfg.maxFree;
        message = ''
          services.muster.builder: minFree (${toString cfg.minFree}) is above maxFree (${toString cfg.maxFree}), so the
          garbage collector would stop before it began. Raise services.muster.builder.maxFree.
        '';
      }
      {
        assertion = cfg.user != "root";
        message = ''
          services.muster.builder.user is root. Leave it at "remotebuild": a user of its own is all that building needs.
        '';
      }
    ];
  };
}
