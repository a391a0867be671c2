# The same two roles on macOS, by nix-darwin.
{ tools, hasDarwin, ... }:
let
  inherit (tools)
    complains
    contains
    darwin
    equal
    holds
    lib
    refuses
    ;
  key = lib.removeSuffix "\n" (builtins.readFile ../data/remotebuild.pub);

  builder =
    options:
    darwin {
      services.muster.builder = {
        enable = true;
        authorizedKeys = [ key ];
      }
      // options;
    };
  plain = builder { };
  user = plain.users.users.remotebuild;

  coordinator =
    options: more:
    darwin {
      imports = [ more ];
      services.muster.coordinator = {
        enable = true;
      }
      // options;
    };
  one.builders.big = {
    host = "10.0.0.2";
    port = 2222;
    identityFile = "/var/root/.ssh/remotebuild";
    hostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDnCQXlllHoLX5EvU+t6yP/npsmuxKt0skHVeJashizE";
  };
  asking = coordinator one {
    nix.buildMachines = [
      {
        hostName = "b1";
        system = "x86_64-linux";
      }
    ];
  };
  daemon = asking.launchd.daemons.muster;
  conf = config: config.environment.etc."nix/nix.conf".source.text;
  agentOf = config: config.launchd.daemons.muster-builder;
  ephemeral = builder {
    agent.ephemeral = true;
    agent.releaseCommand = "shutdown -h now";
  };
  joined = darwin {
    services.muster.builder = {
      enable = true;
      tailscale = {
        enable = true;
        authKeyFile = "/var/root/tailscale.key";
        loginServer = "https://headscale.example.org";
      };
    };
  };
in
lib.optionalAttrs hasDarwin {
  "no assertion of muster's fails" = equal [ ] (
    lib.filter (lib.hasInfix "muster") (tools.messages plain ++ tools.messages asking)
  );

  "the user has numbers, a login shell, no home, and is nobody's to see" =
    equal
      {
        uid = 533;
        gid = 533;
        shell = "/bin/bash";
        createHome = false;
        isHidden = true;
      }
      {
        inherit (user)
          uid
          gid
          shell
          createHome
          isHidden
          ;
      };
  "nix-darwin makes the user and the group" = holds (
    lib.elem "remotebuild" plain.users.knownUsers && lib.elem "remotebuild" plain.users.knownGroups
  );
  "its key is bound to muster builder serve" =
    contains "/bin/muster builder serve\" ${key}"
      plain.environment.etc."ssh/nix_authorized_keys.d/remotebuild".text;
  "sshd notices a coordinator that is gone" =
    contains "Match User remotebuild\n  ClientAliveInterval 15\n"
      plain.environment.etc."ssh/sshd_config.d/100-nix-darwin.conf".text;
  "sshd serves" = holds plain.services.openssh.enable;
  "root stays trusted beside it" = holds (
    lib.all (name: lib.elem name plain.nix.settings.trusted-users) [
      "root"
      "remotebuild"
    ]
  );
  "nix.conf has the tutorial's numbers" = equal [ ] (
    lib.filter (line: !lib.hasInfix "\n${line}\n" (conf plain)) [
      "cores = 0"
      "max-free = 209715200"
      "max-jobs = auto"
      "min-free = 10485760"
    ]
  );
  "64 build users" = equal 64 plain.nix.nrBuildUsers;
  "garbage is collected by the calendar" =
    equal
      [
        true
        7
        3
      ]
      [
        plain.nix.gc.automatic
        (lib.head plain.nix.gc.interval).Weekday
        (lib.head plain.nix.gc.interval).Hour
      ];
  "the agent ends for good when it is released" = equal false (agentOf plain)
  .serviceConfig.KeepAlive.SuccessfulExit;
  "it listens where coordinators look, and those who log in may claim" = contains (lib.escapeShellArgs
    [
      "builder"
      "--socket"
      "/var/run/muster-builder/agent.sock"
      "--allow-user"
      "remotebuild"
    ]
  ) (agentOf plain).command;
  "released, an ephemeral builder runs its command" = contains (lib.escapeShellArgs [
    "--ephemeral"
    "--release-command"
    "shutdown -h now"
  ]) (agentOf ephemeral).command;

  "a machine joins its tailnet" = contains (lib.escapeShellArgs [
    "join"
    "--role"
    "builder"
    "--tag"
    "tag:nix-builder"
    "--auth-key-file"
    "/var/root/tailscale.key"
    "--login-server"
    "https://headscale.example.org"
    "--ssh"
    "--timeout"
    "60s"
    "--tailscale"
  ]) joined.launchd.daemons.muster-join.command;
  "it tries until it has, and no longer" =
    equal false joined.launchd.daemons.muster-join.serviceConfig.KeepAlive.SuccessfulExit;
  "tailscaled runs, and macOS's own ssh server is off" =
    equal
      [
        true
        false
      ]
      [
        joined.services.tailscale.enable
        joined.services.openssh.enable
      ];
  "nothing to join with" = complains [ "builder.tailscale.authKeyFile" ] (darwin {
    services.muster.builder.enable = true;
    services.muster.builder.tailscale.enable = true;
  });

  "Rosetta's system is offered" = contains "extra-platforms = x86_64-darwin" (
    conf (builder {
      rosetta = true;
    })
  );

  "Nix reads muster's lines" = contains "\nbuilders = @/var/run/muster/machines\n" (conf asking);
  "the builders are those named, and nix.buildMachines" = equal [
    {
      name = "big";
      uri = "ssh-ng://remotebuild@10.0.0.2:2222";
      key = "/var/root/.ssh/remotebuild";
      host_key = one.builders.big.hostKey;
    }
    {
      name = "b1";
      uri = "ssh-ng://b1";
      systems = [ "x86_64-linux" ];
    }
  ] asking.services.muster.coordinator.settings.builder;
  "launchd keeps it running" = holds (
    daemon.serviceConfig.KeepAlive && daemon.serviceConfig.RunAtLoad
  );
  "its log goes where one says" =
    equal "/var/log/other.log"
      (coordinator (one // { logFile = "/var/log/other.log"; }) { })
      .launchd.daemons.muster.serviceConfig.StandardErrorPath;
  "it reads the configuration that was checked" =
    contains "muster-checked.toml --runtime-dir /var/run/muster" daemon.command;
  "it finds the system's ssh, and Nix" =
    equal
      [ true true ]
      [
        (lib.hasInfix ":/usr/bin:" daemon.path)
        (lib.hasInfix "-nix-" daemon.path)
      ];
  "an alias, and a host key that everybody knows" = holds (
    lib.hasInfix "Host big\n  HostName 10.0.0.2\n" asking.programs.ssh.extraConfig
    &&
      asking.programs.ssh.knownHosts.big.hostNames == [
        "[10.0.0.2]:2222"
        "[big]:2222"
      ]
  );

  "Rosetta elsewhere" = complains [ "services.muster.builder.rosetta" "x86_64-darwin" ] (darwin {
    nixpkgs.hostPlatform = "x86_64-darwin";
    services.muster.builder = {
      enable = true;
      authorizedKeys = [ key ];
      rosetta = true;
    };
  });
  "Nix that nix-darwin does not manage" = complains [ "nix.enable" ] (darwin {
    nix.enable = false;
    services.muster.builder = {
      enable = true;
      authorizedKeys = [ key ];
    };
  });
  "what only Linux has does not exist" =
    equal
      [
        false
        false
        false
        false
        false
        false
        false
      ]
      (
        map
          (
            option:
            (builtins.tryEval (builtins.deepSeq (builder option).users.users.remotebuild.uid true)).success
          )
          [
            { kind = "system"; }
            { kvm = true; }
            { emulatedSystems = [ ]; }
            { memoryMax = "90%"; }
            { oomScoreAdjust = 500; }
            { gc.dates = "weekly"; }
            {
              agent.idleTimeout = "1h";
              agent.onIdle = "fail";
            }
          ]
      );
  "a group that may stop it does not exist" = refuses (
    (coordinator (one // { operators = "admin"; }) { }).services.muster.coordinator.configText
  );
  "an agent that nobody came to ends well, or launchd would start it again" =
    contains
      (lib.escapeShellArgs [
        "--idle-timeout"
        "1h"
        "--on-idle"
        "pass"
      ])
      (agentOf (builder {
        agent.idleTimeout = "1h";
      })).command;
  "a coordinator's user does not exist either" = refuses (
    (coordinator (one // { user = "muster"; }) { }).services.muster.coordinator.configText
  );
}
