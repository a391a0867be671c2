# A NixOS coordinator.
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
  hostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDnCQXlllHoLX5EvU+t6yP/npsmuxKt0skHVeJashizE";

  with' =
    options: more:
    nixos {
      imports = [ more ];
      services.muster.coordinator = {
        enable = true;
      }
      // options;
    };
  one.builders.big.host = "10.0.0.2";
  plain = with' one { };

  full =
    with'
      {
        builders.big = {
          host = "fd42::2";
          port = 2222;
          user = "eva";
          identityFile = "/home/eva/my key";
          inherit hostKey;
          systems = [ "x86_64-linux" ];
          features = [ "kvm" ];
          mandatoryFeatures = [ "kvm" ];
          labels = [ "eu" ];
          slots = 8;
          speedFactor = 1.5;
        };
        sources.machines = true;
        sources.exec = [ { command = [ "/bin/list" ]; } ];
        settings = {
          endpoint.allow = [ "eva" ];
          endpoint.socket = "/run/elsewhere.sock";
          timeouts.lost_after = "90s";
        };
      }
      {
        nix.package = lib.mkForce {
          pname = "lix";
          name = "lix-2.93.0";
          version = "2.93.0";
          outPath = "/nix/store/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee-lix-2.93.0";
          out = {
            outPath = "/nix/store/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee-lix-2.93.0";
            name = "lix-2.93.0";
          };
          type = "derivation";
        };
      };

  mixed = with' { } {
    nix.buildMachines = [
      {
        hostName = "localhost";
        protocol = null;
        system = "x86_64-linux";
        maxJobs = 4;
      }
      {
        hostName = "b1";
        system = "x86_64-linux";
        publicHostKey = "c3NoLWVkMjU1MTkgQUFBQQ==";
        mandatoryFeatures = [ "kvm" ];
      }
      {
        hostName = "b1";
        protocol = "ssh-ng";
        sshUser = "eva";
        systems = [ "aarch64-linux" ];
      }
    ];
    nix.settings.max-jobs = 2;
    programs.ssh.extraConfig = "Host kept\n  Port 7";
  };
  direct = with' (one // { attach = "direct"; }) { };

  conf = config: config.environment.etc."nix/nix.conf".source.text;
  text = config: config.services.muster.coordinator.configText;
  unit = config: name: config.systemd.units.${name}.text;
  service = config: unit config "muster.service";
in
{
  "no assertion fails" = equal [ ] (
    lib.concatMap tools.messages [
      plain
      mixed
      direct
    ]
  );

  "a builder has its name and address, and is measured" =
    contains "[[builder]]\nname = \"big\"\nuri = \"ssh-ng://remotebuild@10.0.0.2\"\n" (text plain);
  "all that can be said of a builder" =
    equal
      ''

        [[builder]]
        features = ["kvm"]
        host_key = "${hostKey}"
        key = "${full.services.muster.coordinator.keyPath "/home/eva/my key"}"
        labels = ["eu"]
        mandatory = ["kvm"]
        name = "big"
        slots = 8
        speed_factor = 1.5
        systems = ["x86_64-linux"]
        uri = "ssh-ng://eva@[fd42::2]:2222"
      ''
      (lib.head (lib.splitString "\n[control]" (lib.removePrefix "attach = \"endpoint\"\n" (text full))));
  "sources are written" = equal [
    { machines = true; }
    {
      exec = [ "/bin/list" ];
      interval = "30s";
    }
  ] full.services.muster.coordinator.settings.source;
  "a tailnet is a source, with the key where the coordinator can read it" =
    let
      config = with' {
        sources.tailscale = [
          { tag = "tag:nix-builder"; }
          { prefix = "build-"; }
          {
            names = [ "b1" ];
            ssh = "sshd";
            key = "/root/.ssh/remotebuild";
            port = 2222;
            socket = "/run/other.sock";
          }
        ];
      } { };
    in
    equal [
      {
        tailscale = {
          tag = "tag:nix-builder";
          ssh = "tailscale";
          user = "remotebuild";
        };
      }
      {
        tailscale = {
          prefix = "build-";
          ssh = "tailscale";
          user = "remotebuild";
        };
      }
      {
        tailscale = {
          names = [ "b1" ];
          ssh = "sshd";
          user = "remotebuild";
          key = config.services.muster.coordinator.keyPath "/root/.ssh/remotebuild";
          port = 2222;
          socket = "/run/other.sock";
        };
      }
    ] config.services.muster.coordinator.settings.source;
  "a tailnet of which nothing is said" = complains [ "sources.tailscale" "tag:nix-builder" ] (
    with' { sources.tailscale = [ { } ]; } { }
  );
  "settings are written beside what the module says" = contains "[timeouts]\nlost_after = \"90s\"\n" (
    text full
  );

  "the muster that runs checks its configuration when the system is built" =
    contains "/bin/muster check-config"
      plain.environment.etc."muster/config.toml".source.buildCommand;

  "Nix reads muster's lines" = contains "\nbuilders = @/run/muster/machines\n" (conf plain);
  "machines that are not muster's stay Nix's" =
    contains "\nbuilders = @/run/muster/machines ; @/etc/muster/machines\n" (conf mixed);
  "they stand in a file of their own" =
    equal "localhost x86_64-linux - 4 1 - - -\n"
      mixed.environment.etc."muster/machines".text;
  "two machines of one name are told apart, and each value is kept" = equal [
    {
      name = "b1";
      uri = "ssh-ng://b1?base64-ssh-public-host-key=c3NoLWVkMjU1MTkgQUFBQQ%3D%3D";
      systems = [ "x86_64-linux" ];
      features = [ "kvm" ];
      mandatory = [ "kvm" ];
    }
    {
      name = "b1-2";
      uri = "ssh-ng://eva@b1";
      systems = [ "aarch64-linux" ];
    }
  ] mixed.services.muster.coordinator.settings.builder;
  "nix.buildMachines can be left to Nix" =
    let
      config = with' (one // { adoptBuildMachines = false; }) {
        nix.buildMachines = [
          {
            hostName = "b1";
            system = "x86_64-linux";
          }
        ];
      };
    in
    equal
      [ 1 "ssh://b1 x86_64-linux - 1 1 - - -\n" ]
      [
        (lib.length config.services.muster.coordinator.settings.builder)
        config.environment.etc."muster/machines".text
      ];
  "what the user set stays" = holds (
    mixed.nix.settings.max-jobs == 2
    && lib.hasInfix "Host kept\n  Port 7\n" mixed.programs.ssh.extraConfig
  );
  "builders may be kept from their caches" = contains "\nbuilders-use-substitutes = false\n" (
    conf (with' (one // { useSubstitutes = false; }) { })
  );

  "an alias for each builder" =
    contains "Host big\n  HostName fd42::2\n  User eva\n  Port 2222\n  IdentityFile \"/home/eva/my key\"\nMatch all\n" full.programs.ssh.extraConfig;
  "its host key is known to everybody" =
    contains "[fd42::2]:2222,[big]:2222 ${hostKey}\n"
      full.environment.etc."ssh/ssh_known_hosts".text;
  "aliases can be left out" =
    lacks "Host big"
      (with' (one // { sshAliases = false; }) { }).programs.ssh.extraConfig;

  "the endpoint's socket outlives the service, under the name that muster asks for" =
    contains "FileDescriptorName=endpoint\nListenStream=/run/muster/endpoint.sock\nService=muster.service\nSocketGroup=muster\nSocketMode=0600\n" (
      unit plain "muster.socket"
    );
  "so does the control socket, which everybody may open" =
    contains "FileDescriptorName=control\nListenStream=/run/muster/control.sock\nService=muster.service\nSocketGroup=muster\nSocketMode=0666\n" (
      unit plain "muster-control.socket"
    );
  "a socket that others may open" = contains "SocketMode=0666" (unit full "muster.socket");
  "systemd listens where the configuration says" = contains "ListenStream=/run/elsewhere.sock" (
    unit full "muster.socket"
  );
  "a switch restarts the service and leaves its sockets" = holds (
    !plain.systemd.services.muster.stopIfChanged
  );
  "another configuration is read again, without a restart" = holds (
    lib.elem plain.environment.etc."muster/config.toml".source
      plain.systemd.services.muster.reloadTriggers
    && lib.hasInfix "bin/kill -HUP $MAINPID\n" (service plain)
  );
  "what waits for a start is a restart" =
    equal
      [
        true
        false
      ]
      (
        map
          (
            settings:
            (with' (one // { inherit settings; }) { }).systemd.services.muster.restartTriggers
            == plain.systemd.services.muster.restartTriggers
          )
          [
            { timeouts.lost_after = "90s"; }
            { store_dir = "/gnu/store"; }
          ]
      );
  "the directory of the sockets stays" = contains "RuntimeDirectoryPreserve=true\n" (service plain);
  "a wrong configuration is not started again" = contains "RestartPreventExitStatus=2\n" (
    service plain
  );
  "it is started again however often it fails" = contains "StartLimitIntervalSec=0\n" (service plain);
  "it runs as a user of its own" = contains "User=muster\n" (service plain);
  "which is a system user" = holds plain.users.users.muster.isSystemUser;
  "it is locked down" = contains "ProtectSystem=strict\n" (service plain);
  "a private key is handed over" = contains "LoadCredential=my-key-" (service full);
  "where it is missing, the others still build" =
    contains ":/home/eva/my key was not there when the service started\n" (service full);
  "its ssh has root's known hosts" =
    contains "Match localuser muster\n  UserKnownHostsFile ~/.ssh/known_hosts /run/credentials/muster.service/known_hosts-" plain.programs.ssh.extraConfig;
  "Lix starts muster by bash" = holds (
    lib.any (
      each: lib.getName each == "bash" || lib.getName each == "bash-interactive"
    ) full.systemd.services.nix-daemon.path
  );

  "direct attach runs as root, whose ssh has to reach the builders" = contains "User=root\n" (
    service direct
  );
  "root needs nobody to hand it keys" = lacks "LoadCredential" (service direct);
  "direct attach is written" = contains "attach = \"direct\"\n" (text direct);

  "a group may stop it" = contains "group = \"wheel\"\n" (
    text (with' (one // { operators = "wheel"; }) { })
  );
  "a group that nobody made may not" = complains [ "operators" "users.groups.builders" ] (
    with' (one // { operators = "builders"; }) { }
  );

  "nothing that could build" = complains [ "services.muster.coordinator.builders" ] (with' { } { });
  "a builder that nix.buildMachines has as well" =
    complains
      [
        "coordinator.builders.big"
        "nix.buildMachines"
        "Keep one"
      ]
      (
        with' one {
          nix.buildMachines = [
            {
              hostName = "eva@10.0.0.2";
              system = "x86_64-linux";
            }
          ];
        }
      );
  "by its alias, too" = complains [ "coordinator.builders.big" ] (
    with' one {
      nix.buildMachines = [
        {
          hostName = "big";
          system = "x86_64-linux";
        }
      ];
    }
  );
  "another port is another machine" = equal [ ] (
    tools.messages (
      with' one {
        nix.buildMachines = [
          {
            hostName = "10.0.0.2:2222";
            system = "x86_64-linux";
          }
        ];
      }
    )
  );
  "expect alone will do" = equal [ ] (
    tools.messages (with' { settings.expect = [ { systems = [ "aarch64-linux" ]; } ]; } { })
  );
  "a key in the store" = complains [ "identityFile" "quotation marks" ] (
    with' { builders.big.identityFile = "/nix/store/eeee-key"; } { }
  );
  "builders of the user's own hide muster's" = complains [
    "nix.settings.builders"
    "@/run/muster/machines"
  ] (with' one { nix.settings.builders = "ssh://b1"; });
  "both may stand there" = equal [ ] (
    tools.messages (with' one { nix.settings.builders = "ssh://b1 ; @/run/muster/machines"; })
  );
  "distributed builds switched off" = complains [ "nix.distributedBuilds" ] (
    with' one { nix.distributedBuilds = false; }
  );
  "builders in extraOptions" = complains [ "nix.extraOptions" "nix.buildMachines" ] (
    with' one { nix.extraOptions = "builders = x"; }
  );
  "all builds elsewhere, and two here" = refuses (
    conf (with' (one // { forceRemote = true; }) { nix.settings.max-jobs = 2; })
  );
  "tailscale is at hand where it runs" =
    let
      config = with' one { services.tailscale.enable = true; };
    in
    holds (lib.elem config.services.tailscale.package config.systemd.services.muster.path);
  "a user whom the daemon turns away" = complains [ "allowed-users" "\"muster\"" ] (
    with' one { nix.settings.allowed-users = [ "@wheel" ]; }
  );
  "direct attach by another user" = complains [ "services.muster.coordinator.user" ] (
    with' (
      one
      // {
        attach = "direct";
        user = "muster";
      }
    ) { }
  );
  "a typo is refused" = refuses (text (with' { builder.big = { }; } { }));
  "an attach that does not exist is refused" = refuses (
    text (with' (one // { attach = "store"; }) { })
  );
  "a key that is no absolute path is refused" = refuses (
    text (with' { builders.big.identityFile = "key"; } { })
  );
  "no slots are refused" = refuses (text (with' { builders.big.slots = 0; } { }));
}
