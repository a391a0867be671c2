# A NixOS builder.
{ tools, ... }:
let
  inherit (tools)
    complains
    contains
    equal
    holds
    lacks
    lib
    nixos
    refuses
    ;
  key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDnCQXlllHoLX5EvU+t6yP/npsmuxKt0skHVeJashizE root@localmachine";
  with' =
    options:
    nixos {
      services.muster.builder = {
        enable = true;
        authorizedKeys = [ key ];
      }
      // options;
    };

  plain = with' { };
  also = nixos {
    services.muster.builder = {
      enable = true;
      authorizedKeys = [ key ];
    };
    nix.settings.trusted-users = [ "alice" ];
    nix.settings.max-jobs = 3;
    nix.nrBuildUsers = 7;
    nix.gc.dates = "daily";
    systemd.services.nix-daemon.serviceConfig.MemoryMax = "50%";
    services.openssh.extraConfig = "UseDNS yes";
  };
  chosen = with' {
    user = "nixbuilder";
    group = "builders";
    uid = 500;
    gid = 501;
    kind = "system";
    description = "NixOS distribute builder";
    authorizedKeys = [ ];
    authorizedKeyFiles = [ ../data/two.pub ];
    maxJobs = 4;
    cores = 2;
    buildUsers = 9;
    features = [ "recursive-nix" ];
    kvm = false;
    emulatedSystems = [
      "aarch64-linux"
      "riscv64-linux"
    ];
    minFree = 1;
    maxFree = 2;
    gc.automatic = false;
    gc.options = "--delete-older-than 30d";
    memoryMax = null;
    oomScoreAdjust = 100;
  };
  conf = config: config.environment.etc."nix/nix.conf".source.text;
  sshd = config: config.services.openssh.extraConfig;
  daemon = config: config.systemd.units."nix-daemon.service".text;
  muster = config: lib.getExe config.services.muster.package;
  keysOf =
    config: config.users.users.${config.services.muster.builder.user}.openssh.authorizedKeys.keys;
in
{
  "no assertion fails" = equal [ ] (tools.messages plain);
  "nothing happens unless it is enabled" = holds (
    !((nixos { }).users.users ? remotebuild) && (nixos { }).nix.nrBuildUsers != 64
  );

  "a key is bound to muster builder serve, and to nothing else" = equal [
    "restrict,command=\"${muster plain} builder serve\" ${key}"
  ] (keysOf plain);
  "keys of files are bound one by one, and options that are there stay" = equal [
    "restrict,command=\"${muster chosen} builder serve\" ${key}"
    "from=\"10.0.0.0/8\" ${key}"
  ] (keysOf chosen);
  "what a key may do can be chosen" = equal [ key ] (
    keysOf (with' {
      keyOptions = "";
    })
  );

  "the user of 002 is a system user with numbers and a login shell" =
    equal
      {
        isSystemUser = true;
        isNormalUser = false;
        uid = 500;
        gid = 501;
        group = "builders";
        description = "NixOS distribute builder";
        shell = true;
      }
      {
        inherit (chosen.users.users.nixbuilder)
          isSystemUser
          isNormalUser
          uid
          group
          description
          ;
        inherit (chosen.users.groups.builders) gid;
        shell = chosen.users.users.nixbuilder.shell == chosen.users.defaultUserShell;
      };

  "root stays trusted beside the user and what others add" = equal [
    "alice"
    "remotebuild"
    "root"
  ] (lib.sort lib.lessThan (lib.unique also.nix.settings.trusted-users));
  "an untrusted user is not named" = lacks "remotebuild" (
    conf (with' {
      trusted = false;
    })
  );
  "what the user writes wins" =
    equal
      [
        3
        7
        [ "daily" ]
        "50%"
      ]
      [
        also.nix.settings.max-jobs
        also.nix.nrBuildUsers
        (lib.toList also.nix.gc.dates)
        also.systemd.services.nix-daemon.serviceConfig.MemoryMax
      ];

  "nix.conf has the numbers chosen" = contains "\nmax-jobs = 4\nmin-free = 1\n" (conf chosen);
  "nix.conf has the most free bytes" = contains "\nmax-free = 2\n" (conf chosen);
  "nix.conf has the cores" = contains "\ncores = 2\n" (conf chosen);
  "further features do not drop Nix's own" = contains "extra-system-features = recursive-nix" (
    conf chosen
  );
  "features are left alone unless kvm is taken away" = equal [
    "benchmark"
    "big-parallel"
    "kvm"
    "nixos-test"
  ] (lib.sort lib.lessThan plain.nix.settings.system-features);
  "kvm is taken away" = contains "\nsystem-features = nixos-test benchmark big-parallel\n" (
    conf chosen
  );
  "builds may open the device" =
    contains ''KERNEL=="kvm", MODE="0666"'' plain.services.udev.extraRules;
  "without kvm there is no such rule" =
    lacks ''KERNEL=="kvm", MODE="0666"'' chosen.services.udev.extraRules;
  "emulated systems are registered and offered" =
    contains "extra-platforms = aarch64-linux riscv64-linux" (conf chosen);
  "so many build users" = equal 9 chosen.nix.nrBuildUsers;
  "no calendar" = equal false chosen.nix.gc.automatic;
  "options of the collector" = equal "--delete-older-than 30d" chosen.nix.gc.options;
  "no limit of memory" = lacks "MemoryMax" (daemon chosen);
  "the kernel's order" = contains "OOMScoreAdjust=100" (daemon chosen);

  "sshd serves" = holds plain.services.openssh.enable;
  "sshd notices a coordinator that is gone" =
    contains "Match User remotebuild\n  ClientAliveInterval 15\n" (sshd plain);
  "sshd forwards the daemon's socket" = contains "  AllowStreamLocalForwarding local\n" (sshd plain);
  "the user's lines are kept, and the section ends" = holds (
    lib.hasInfix "UseDNS yes" (sshd also) && lib.hasSuffix "Match all\n" (sshd also)
  );
  "sshd is left alone where another server serves" =
    equal false
      (with' { openssh.enable = false; }).services.openssh.enable;

  "nobody can log in" = complains [ "authorizedKeys" "muster key" ] (with' {
    authorizedKeys = [ ];
  });
  "a private key is refused, and not shown" =
    let
      config = with' { authorizedKeys = [ "-----BEGIN OPENSSH PRIVATE KEY----- b3BlbnNzaC1rZXktdjEA" ]; };
    in
    complains [ "authorizedKeys" ".pub" ] config;
  "the secret of a private key is not shown" = equal [ ] (
    lib.filter (lib.hasInfix "b3Blbn") (
      tools.messages (with' {
        authorizedKeys = [ "-----BEGIN OPENSSH PRIVATE KEY----- b3BlbnNzaC1rZXktdjEA" ];
      })
    )
  );
  "a collector that would never begin" = complains [ "maxFree" ] (with' {
    minFree = 3;
    maxFree = 2;
  });
  "root as the user" = complains [ "services.muster.builder.user" "remotebuild" ] (with' {
    user = "root";
  });
  "itself emulated" = complains [ "emulatedSystems" "x86_64-linux" ] (with' {
    emulatedSystems = [ "x86_64-linux" ];
  });
  "kvm both ways" = complains [ "features" "kvm" ] (with' {
    kvm = false;
    features = [ "kvm" ];
  });
  "a typo is refused" = refuses (with' { authorisedKeys = [ ]; }).services.muster.builder.user;
  "a number that is none is refused" = refuses (with' { buildUsers = "many"; }).nix.nrBuildUsers;
  "no build user at all is refused" = refuses (with' { buildUsers = 0; }).nix.nrBuildUsers;
  "a kind that does not exist is refused" =
    refuses
      (with' { kind = "daemon"; }).services.muster.builder.kind;
}
