# A machine that builds for others: what Linux and macOS have in common. The defaults are those of nix.dev's tutorial.
{
  config,
  lib,
  ...
}:
let
  cfg = config.services.muster.builder;
  mine = import ../lib;

  # Stronger than a default of NixOS, weaker than whatever the user writes.
  default = lib.mkOverride 900;
in
{
  imports = [
    ./builder-options.nix
    ./package.nix
    ./tailscale.nix
  ];

  config = lib.mkIf cfg.enable {
    services.muster.builder = {
      keyLines =
        cfg.authorizedKeys
        ++ lib.concatMap (file: mine.keys.linesOf (builtins.readFile file)) cfg.authorizedKeyFiles;
      byTailscale = cfg.tailscale.enable && cfg.tailscale.ssh;
      sshUsers = lib.unique (
        [ cfg.user ]
        ++ lib.optional (cfg.byTailscale && cfg.tailscale.sshUser != null) cfg.tailscale.sshUser
      );
    };

    environment.systemPackages = [ config.services.muster.package ];

    users.users.${cfg.user} = {
      description = default cfg.description;
      createHome = false;
      openssh.authorizedKeys.keys = map (mine.keys.bind cfg.keyOptions) cfg.keyLines;
    };

    nix.settings = {
      trusted-users = lib.mkIf cfg.trusted (lib.unique ([ "root" ] ++ cfg.sshUsers));
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
        assertion = !cfg.openssh.enable || cfg.keyLines != [ ];
        message = ''
          services.muster.builder: nobody can log in, since there is no key. Put the coordinator's public key into
          services.muster.builder.authorizedKeys or authorizedKeyFiles (`muster key` on the coordinator prints one).
        '';
      }
      {
        assertion = cfg.openssh.enable || cfg.byTailscale || !cfg.tailscale.enable;
        message = ''
          services.muster.builder: nobody can log in, since neither sshd nor Tailscale SSH serves. Set
          services.muster.builder.tailscale.ssh = true, or services.muster.builder.openssh.enable with a key.
        '';
      }
      {
        assertion = lib.all (user: user == "root" || config.users.users ? ${user}) cfg.sshUsers;
        message = ''
          services.muster.builder.tailscale.sshUser is ${toString cfg.tailscale.sshUser}, and no user of this machine has that
          name. Leave it out: coordinators then log in as ${cfg.user}, whom this module makes.
        '';
      }
      {
        assertion = cfg.agent.releaseCommand == null || cfg.agent.ephemeral;
        message = ''
          services.muster.builder.agent.releaseCommand is for ephemeral builders alone, and would never run. Set
          services.muster.builder.agent.ephemeral = true, or leave the command out.
        '';
      }
      {
        assertion = lib.all mine.keys.isKey cfg.keyLines;
        message = ''
          services.muster.builder: this is not a public key: '${
            lib.substring 0 30 (lib.findFirst (line: !mine.keys.isKey line) "" cfg.keyLines)
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
