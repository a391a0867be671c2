# What can be said of a builder on both platforms; builder.nix says what it comes to.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.muster.builder;
  mine = import ../lib;
in
{
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
      default = mine.keys.options (lib.getExe config.services.muster.package);
      defaultText = lib.literalExpression "''restrict,command=\"MUSTER builder serve\"''";
      example = "restrict,port-forwarding";
      description = ''
        What a key may do: the options in front of it in authorized_keys. By default it runs `muster builder serve` whatever
        is asked for: probes, Nix's daemon and the agent, and no shell. `""` allows everything.
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
      default = cfg.keyLines != [ ] || !cfg.byTailscale;
      defaultText = lib.literalExpression "there are keys, or Tailscale SSH does not serve";
      description = ''
        Whether sshd serves the coordinators. Where it does not, since Tailscale SSH does, nothing is said for sshd, and
        its port is shut unless you open it.
      '';
    };
    tailscale = import ./tailscale-options.nix {
      inherit lib;
      role = "builder";
      tags = [ "tag:nix-builder" ];
      ssh = true;
    };

    agent = import ./agent-options.nix { inherit lib; };

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

    # What the pieces above come to.
    keyLines = mkOption {
      type = types.listOf types.str;
      internal = true;
      readOnly = true;
      description = "The public keys, of all options and files.";
    };
    sshUsers = mkOption {
      type = types.listOf types.str;
      internal = true;
      readOnly = true;
      description = "Whom coordinators log in as.";
    };
    byTailscale = mkOption {
      type = types.bool;
      internal = true;
      readOnly = true;
      description = "Whether Tailscale SSH lets coordinators in.";
    };
  };
}
