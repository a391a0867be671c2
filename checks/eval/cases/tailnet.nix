# Machines of NixOS that join a tailnet.
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
  key = lib.removeSuffix "\n" (builtins.readFile ../data/remotebuild.pub);
  builder =
    tailscale: more:
    nixos {
      imports = [ more ];
      services.muster.builder = {
        enable = true;
        tailscale = {
          enable = true;
          authKeyFile = "/run/secrets/tailscale";
        }
        // tailscale;
      };
    };
  plain = builder { } { };
  all = builder {
    hostname = "b1";
    tags = [
      "tag:nix-builder"
      "tag:eu"
    ];
    loginServer = "https://headscale.example.org";
    ephemeral = true;
    preauthorized = true;
    operator = "eva";
    sshUser = "root";
    timeout = "30s";
  } { };
  both = builder { } { services.muster.builder.authorizedKeys = [ key ]; };
  own = builder { } { services.openssh.enable = true; };

  coordinator =
    tailscale: more:
    nixos {
      imports = [ more ];
      services.muster.coordinator = {
        enable = true;
        sources.tailscale = [ { tag = "tag:nix-builder"; } ];
        tailscale = {
          enable = true;
          authKeyFile = "/run/secrets/tailscale";
        }
        // tailscale;
      };
    };

  join = config: config.systemd.units."muster-join.service".text;
  credential = plain.systemd.services.muster-join.serviceConfig.LoadCredential;
  ports = config: config.networking.firewall.allowedTCPPorts;
  trusted = config: lib.sort lib.lessThan (lib.unique config.nix.settings.trusted-users);
in
{
  "no assertion fails, and nobody needs a key" = equal [ ] (
    lib.concatMap tools.messages [
      plain
      all
      both
      own
      (coordinator { } { })
    ]
  );
  "tailscaled runs" = holds plain.services.tailscale.enable;
  "packets may take the direct path" = holds (
    lib.elem plain.services.tailscale.port plain.networking.firewall.allowedUDPPorts
  );
  "a builder joins with its tag, and with Tailscale SSH" =
    contains "/bin/muster join --role builder --tag tag:nix-builder --auth-key-file /run/credentials/muster-join.service/" (
      join plain
    );
  "all that can be said" = holds (
    builtins.match "(.*\n)?ExecStart=[^ ]+/bin/muster join --role builder --hostname b1 --tag tag:nix-builder --tag tag:eu --auth-key-file /run/credentials/muster-join.service/[^ ]+ --login-server https://headscale.example.org --ssh --ephemeral --preauthorized --operator eva --timeout 30s --tailscale [^ ]+/bin/tailscale\n.*" (
      join all
    ) != null
  );
  "the key is handed over by systemd" = holds (
    lib.hasSuffix ":/run/secrets/tailscale" credential
    && lib.hasInfix "LoadCredential=${credential}\n" (join plain)
  );
  "it is tried until it succeeds" = equal [ true true ] (
    map (line: lib.hasInfix line (join plain)) [
      "Restart=on-failure\n"
      "StartLimitIntervalSec=0\n"
    ]
  );
  "it is locked down" = contains "ProtectSystem=strict\n" (join plain);
  "an ephemeral machine leaves when it goes down" = contains "ExecStop=" (join all);
  "another one stays" = lacks "ExecStop=" (join plain);
  "one that remembers" = contains " --no-ephemeral " (join (builder { ephemeral = false; } { }));
  "without Tailscale SSH" = contains " --no-ssh " (
    join (builder { ssh = false; } { services.muster.builder.authorizedKeys = [ key ]; })
  );
  "the ssh user is trusted" =
    equal
      [
        [
          "remotebuild"
          "root"
        ]
        [
          "eva"
          "remotebuild"
          "root"
        ]
      ]
      [
        (trusted plain)
        (trusted (builder { sshUser = "eva"; } { users.users.eva.isNormalUser = true; }))
      ];

  "where Tailscale SSH alone serves, sshd is off and port 22 is shut" =
    equal
      [
        false
        false
        [ ]
      ]
      [
        plain.services.openssh.enable
        plain.services.openssh.openFirewall
        (ports plain)
      ];
  "with a key both serve" =
    equal
      [
        true
        [ 22 ]
      ]
      [
        both.services.openssh.enable
        (ports both)
      ];
  "an sshd of one's own is shut as well, and that is said" = holds (
    ports own == [ ] && lib.any (lib.hasInfix "services.openssh.openFirewall = true") own.warnings
  );
  "unless it is opened" =
    let
      config = builder { } {
        services.openssh.enable = true;
        services.openssh.openFirewall = true;
      };
    in
    equal
      [
        [ 22 ]
        [ ]
      ]
      [
        (ports config)
        (lib.filter (lib.hasInfix "muster") config.warnings)
      ];

  "a coordinator joins without ssh of its own, with the tags of its key" =
    contains "/bin/muster join --role coordinator --auth-key-file /run/credentials/muster-join.service/"
      (join (coordinator { } { }));
  "nobody joins unasked" = holds (
    !((nixos { services.muster.builder.enable = true; }).systemd.services ? muster-join)
  );

  "nothing to join with" = complains [ "builder.tailscale.authKeyFile" "/run/secrets" ] (
    builder { authKeyFile = null; } { }
  );
  "a key in the store" = complains [ "authKeyFile" "quotation marks" ] (
    builder { authKeyFile = "/nix/store/eeee-key"; } { }
  );
  "joined twice, by NixOS" = complains [ "services.tailscale.authKeyFile" "null" ] (
    builder { } { services.tailscale.authKeyFile = "/run/other"; }
  );
  "joined twice, in both roles" = complains [ "coordinator.tailscale" "builder.tailscale alone" ] (
    builder { } {
      services.muster.coordinator = {
        enable = true;
        sources.tailscale = [ { tag = "tag:nix-builder"; } ];
        tailscale.enable = true;
        tailscale.authKeyFile = "/run/secrets/tailscale";
      };
    }
  );
  "nobody serves ssh" = complains [ "tailscale.ssh = true" "openssh.enable" ] (
    builder { ssh = false; } { services.muster.builder.openssh.enable = false; }
  );
  "an ssh user whom nobody made" = complains [ "tailscale.sshUser" "nobody1" "remotebuild" ] (
    builder { sshUser = "nobody1"; } { }
  );
  "a tag that is none is refused" = refuses (join (builder { tags = [ "nix-builder" ]; } { }));
  "a server that is no URL is refused" = refuses (
    join (builder { loginServer = "headscale.example.org"; } { })
  );
  "a name with shell characters is refused" = refuses (join (builder { hostname = "b1;id"; } { }));
  "a key that is no absolute path is refused" = refuses (join (builder { authKeyFile = "key"; } { }));
}
