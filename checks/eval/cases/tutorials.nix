# Each value of the tutorials is what a module comes to without being told: docs/options.md has them line by line.
# 004 is nix.dev's, 003 the NixOS and flakes book's, 002 that of a Chinese blog.
{ tools, ... }:
let
  inherit (tools)
    contains
    equal
    holds
    lacks
    lib
    nixos
    ;
  key = lib.removeSuffix "\n" (builtins.readFile ../data/remotebuild.pub);

  remotemachine = nixos {
    services.muster.builder = {
      enable = true;
      authorizedKeyFiles = [ ../data/remotebuild.pub ];
    };
  };
  user = remotemachine.users.users.remotebuild;
  remoteConf = remotemachine.environment.etc."nix/nix.conf".source.text;
  remoteDaemon = remotemachine.systemd.units."nix-daemon.service".text;

  # As nix.dev writes it, and nothing of muster's but the one line that enables it.
  localmachine = nixos {
    services.muster.coordinator.enable = true;
    nix.buildMachines = [
      {
        hostName = "remotebuilder";
        sshUser = "remotebuild";
        sshKey = "/root/.ssh/remotebuild";
        system = "x86_64-linux";
        supportedFeatures = [
          "nixos-test"
          "big-parallel"
          "kvm"
        ];
      }
    ];
  };
  localConf = localmachine.environment.etc."nix/nix.conf".source.text;
  builderOf = config: lib.head config.services.muster.coordinator.settings.builder;

  # The book: two of the machines, their aliases and host keys, all in NixOS's own options.
  book = nixos {
    services.muster.coordinator.enable = true;
    nix.distributedBuilds = true;
    nix.buildMachines =
      map
        (
          machine:
          machine
          // {
            sshUser = "ryan";
            sshKey = "/home/ryan/.ssh/ai-idols";
            systems = [
              "x86_64-linux"
              "aarch64-linux"
              "riscv64-linux"
            ];
            supportedFeatures = [
              "benchmark"
              "big-parallel"
              "kvm"
            ];
          }
        )
        [
          {
            hostName = "aquamarine";
            maxJobs = 3;
            speedFactor = 1;
          }
          {
            hostName = "ruby";
            maxJobs = 2;
            speedFactor = 1;
          }
        ];
    nix.extraOptions = ''
      builders-use-substitutes = true
    '';
    programs.ssh.extraConfig = ''
      Host aquamarine
        HostName 192.168.5.101
        Port 22
    '';
    programs.ssh.knownHosts.aquamarine = {
      hostNames = [
        "aquamarine"
        "192.168.5.101"
      ];
      publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDnCQXlllHoLX5EvU+t6yP/npsmuxKt0skHVeJashizE";
    };
  };

  # The blog: an alias in hostName, a key that only the alias names, a forced remote build.
  blog = nixos {
    services.muster.coordinator = {
      enable = true;
      identityFiles = [ "/root/.ssh/nixremote" ];
      forceRemote = true;
    };
    programs.ssh.extraConfig = ''
      Host far
        HostName 192.168.1.9
        User nixremote
        Port 2222
        IdentityFile /root/.ssh/nixremote
    '';
    nix.buildMachines = [
      {
        hostName = "nixremote@far";
        system = "x86_64-linux";
        protocol = "ssh-ng";
        maxJobs = 3;
        speedFactor = 2;
        supportedFeatures = [
          "nixos-test"
          "benchmark"
          "big-parallel"
          "kvm"
        ];
        mandatoryFeatures = [ ];
      }
    ];
  };
  blogBuilder = nixos {
    services.muster.builder = {
      enable = true;
      user = "nixremote";
      kind = "system";
      description = "NixOS distrubute builder";
      uid = 500;
      gid = 500;
      authorizedKeys = [ key ];
      authorizedKeyFiles = [ ../data/remotebuild.pub ];
    };
  };
  blogUser = blogBuilder.users.users.nixremote;
in
{
  "004: isNormalUser = true" = holds user.isNormalUser;
  "004: createHome = false" = equal false user.createHome;
  "004: group = remotebuild" = equal "remotebuild" user.group;
  "004: users.groups.remotebuild = {}" = holds (remotemachine.users.groups ? remotebuild);
  "004: authorizedKeys.keyFiles, bound to what a build needs" = equal [
    "restrict,command=\"${lib.getExe remotemachine.services.muster.package} builder serve\" ${key}"
  ] user.openssh.authorizedKeys.keys;
  "004: trusted-users has remotebuild, and still root" = holds (
    lib.all (name: lib.elem name remotemachine.nix.settings.trusted-users) [
      "root"
      "remotebuild"
    ]
  );
  "004: nrBuildUsers = 64" = equal 64 remotemachine.nix.nrBuildUsers;
  "004: min-free = 10 MiB" = contains "\nmin-free = 10485760\n" remoteConf;
  "004: max-free = 200 MiB" = contains "\nmax-free = 209715200\n" remoteConf;
  "004: max-jobs = auto" = contains "\nmax-jobs = auto\n" remoteConf;
  "004: cores = 0" = contains "\ncores = 0\n" remoteConf;
  "004: MemoryAccounting" = contains "\nMemoryAccounting=true\n" remoteDaemon;
  "004: MemoryMax" = contains "\nMemoryMax=90%\n" remoteDaemon;
  "004: OOMScoreAdjust" = contains "\nOOMScoreAdjust=500\n" remoteDaemon;
  "004: distributedBuilds = true" = holds localmachine.nix.distributedBuilds;
  "004: builders-use-substitutes = true" = contains "\nbuilders-use-substitutes = true\n" localConf;
  "004: Nix reads muster's lines" = contains "\nbuilders = @/run/muster/machines\n" localConf;
  "004: the machine is a builder, with its key, and the slots that nobody wrote are measured" =
    equal
      {
        name = "remotebuilder";
        uri = "ssh-ng://remotebuild@remotebuilder";
        key = localmachine.services.muster.coordinator.keyPath "/root/.ssh/remotebuild";
        systems = [ "x86_64-linux" ];
        features = [
          "nixos-test"
          "big-parallel"
          "kvm"
        ];
      }
      (builderOf localmachine);
  "004: root's known hosts, which the test login wrote, count" =
    contains ":/root/.ssh/known_hosts\n"
      localmachine.systemd.units."muster.service".text;

  "003: the book's machines are builders with all that it says" = equal {
    name = "aquamarine";
    uri = "ssh-ng://ryan@aquamarine";
    key = book.services.muster.coordinator.keyPath "/home/ryan/.ssh/ai-idols";
    systems = [
      "x86_64-linux"
      "aarch64-linux"
      "riscv64-linux"
    ];
    features = [
      "benchmark"
      "big-parallel"
      "kvm"
    ];
    slots = 3;
    speed_factor = 1;
  } (builderOf book);
  "003: both of them" = equal [
    "aquamarine"
    "ruby"
  ] (map (builder: builder.name) book.services.muster.coordinator.settings.builder);
  "003: a key below /home is handed over by systemd" =
    contains ":/home/ryan/.ssh/ai-idols\n"
      book.systemd.units."muster.service".text;
  "003: extraOptions are kept" = contains "builders-use-substitutes = true" book.nix.extraOptions;
  "003: aliases are kept" =
    contains "Host aquamarine\n  HostName 192.168.5.101\n" book.programs.ssh.extraConfig;
  "003: host keys are kept" =
    contains "aquamarine,192.168.5.101 ssh-ed25519 "
      book.environment.etc."ssh/ssh_known_hosts".text;
  "003: emulated systems on the builder" = contains "extra-platforms = aarch64-linux riscv64-linux" (
    (nixos {
      services.muster.builder = {
        enable = true;
        authorizedKeys = [ key ];
        emulatedSystems = [
          "aarch64-linux"
          "riscv64-linux"
        ];
      };
    }).environment.etc."nix/nix.conf".source.text
  );

  "003: distributedBuilds = true" = holds book.nix.distributedBuilds;
  "003: max-jobs stays NixOS's own" =
    lacks "\nmax-jobs = 0\n"
      book.environment.etc."nix/nix.conf".source.text;

  "002: description, isSystemUser, createHome, uid and group" =
    equal
      {
        description = "NixOS distrubute builder";
        isSystemUser = true;
        createHome = false;
        uid = 500;
        group = "nixremote";
      }
      {
        inherit (blogUser)
          description
          isSystemUser
          createHome
          uid
          group
          ;
      };
  "002: users.groups has gid 500" = equal 500 blogBuilder.users.groups.nixremote.gid;
  "002: useDefaultShell = true for a system user, too" = holds blogUser.useDefaultShell;
  "002: authorizedKeys.keys and .files" = equal 2 (lib.length blogUser.openssh.authorizedKeys.keys);
  "002: trusted-users has the user, and still root" = holds (
    lib.all (name: lib.elem name blogBuilder.nix.settings.trusted-users) [
      "root"
      "nixremote"
    ]
  );
  "002: system and supportedFeatures" =
    equal
      {
        systems = [ "x86_64-linux" ];
        features = [
          "nixos-test"
          "benchmark"
          "big-parallel"
          "kvm"
        ];
      }
      {
        inherit (builderOf blog) systems features;
      };
  "002: no mandatory features" = holds (!(builderOf blog ? mandatory));
  "002: distributedBuilds = true" = holds blog.nix.distributedBuilds;
  "002: builders-use-substitutes = true" =
    contains "\nbuilders-use-substitutes = true\n"
      blog.environment.etc."nix/nix.conf".source.text;
  "002: the alias is kept" = contains "Host far\n" blog.programs.ssh.extraConfig;
  "002: user@alias is reached as it stands" = equal "ssh-ng://nixremote@far" (builderOf blog).uri;
  "002: maxJobs and speedFactor" =
    equal
      [ 3 2 ]
      [ (builderOf blog).slots (builderOf blog).speed_factor ];
  "002: the alias's key is at hand" =
    contains "IdentityFile ${blog.services.muster.coordinator.keyPath "/root/.ssh/nixremote"}\n" blog.programs.ssh.extraConfig;
  "002: max-jobs = 0" = contains "\nmax-jobs = 0\n" blog.environment.etc."nix/nix.conf".source.text;
  "002: services.openssh.enable = true" = holds remotemachine.services.openssh.enable;
  "002: useDefaultShell = true" = holds (
    user.useDefaultShell && user.shell == remotemachine.users.defaultUserShell
  );

  "what the tutorials wrote is still in Nix's own file" =
    contains
      "ssh://remotebuild@remotebuilder x86_64-linux /root/.ssh/remotebuild 1 1 nixos-test,big-parallel,kvm"
      localmachine.environment.etc."nix/machines".text;
  "no assertion fails" = equal [ ] (
    lib.concatMap tools.messages [
      remotemachine
      localmachine
      book
      blog
    ]
  );
}
