# Texts made of `modules/lib` alone, for the programs that read such texts.
let
  mine = import ../../modules/lib;
  inherit (builtins)
    attrNames
    concatStringsSep
    isBool
    isList
    toJSON
    ;

  # As NixOS writes it: a list is a line for each value.
  shown = value: if isBool value then toJSON value else toString value;
  section =
    name: settings:
    "[${name}]\n"
    + concatStringsSep "" (
      map (
        key:
        concatStringsSep "" (
          map (value: "${key}=${shown value}\n") (
            if isList settings.${key} then settings.${key} else [ settings.${key} ]
          )
        )
      ) (attrNames settings)
    );
  secrets = [
    "/root/.ssh/remotebuild"
    "/home/eva/my key"
  ];
  socket =
    name: mode:
    section "Socket" (
      mine.unit.socket {
        inherit name mode;
        path = "/run/muster/${name}.sock";
        user = "root";
        group = "root";
      }
    );
  plain = settings: section "Service" ({ ExecStart = "/bin/true"; } // settings);

  # All that the modules can say.
  join = mine.words.join {
    role = "builder";
    hostname = "b1";
    tags = [
      "tag:nix-builder"
      "tag:eu"
    ];
    authKeyFile = "/root/key";
    loginServer = "https://headscale.example.org";
    ssh = true;
    ephemeral = true;
    preauthorized = true;
    operator = "eva";
    timeout = "60s";
    tailscale = "/bin/tailscale";
  };
  agent = mine.words.agent {
    socket = "/run/muster-builder/agent.sock";
    slots = 4;
    idleTimeout = "10min";
    onIdle = "fail";
    leaseTimeout = "45s";
    maxLifetime = "6h";
    ephemeral = true;
    releaseCommand = "systemctl poweroff";
    allowUsers = [ "eva" ];
    allowTags = [ "tag:ci" ];
  };
  leave = mine.words.leave { tailscale = "/bin/tailscale"; };

  service =
    user:
    section "Unit" {
      Requires = "muster.socket muster-control.socket";
      After = "muster.socket muster-control.socket";
    }
    + section "Service" (
      mine.unit.service {
        inherit user secrets;
        group = user;
      }
      // {
        ExecStart = "/bin/true coordinator";
      }
    );
in
{
  "muster.toml" = mine.toml {
    attach = "endpoint";
    builder = [
      {
        name = "big";
        uri = "ssh-ng://remotebuild@10.0.0.2:2222?base64-ssh-public-host-key=c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSURuQ1FYbGxsSG9MWDVFdlUrdDZ5UC9ucHNtdXhLdDBza0hWZUphc2hpekU%3D";
        key = mine.credentials.pathIn "muster" "/home/eva/my key";
        features = [ "kvm" ];
        labels = [ "eu" ];
        speed_factor = 2;
      }
      {
        uri = "ssh-ng://far";
        speed_factor = 1.5;
      }
    ];
    source = [
      { machines = true; }
      {
        exec = [ "/bin/list" ];
        interval = "30s";
      }
      {
        tailscale = {
          tag = "tag:nix-builder";
          ssh = "tailscale";
          user = "remotebuild";
        };
      }
    ];
    expect = [ { systems = [ "aarch64-linux" ]; } ];
    endpoint.install = false;
    endpoint.socket = "/run/muster/endpoint.sock";
    timeouts.lost_after = "90s";
  };
  sshd_config = mine.ssh.server "remotebuild" + "UseDNS no\n";
  ssh_config =
    mine.ssh.alias {
      name = "big";
      host = "10.0.0.2";
      port = 2222;
      user = "remotebuild";
      identityFile = "/home/eva/my key";
    }
    + mine.ssh.client {
      user = "root";
      knownHosts = [ "/run/credentials/muster.service/known_hosts" ];
      identityFiles = [ "/root/.ssh/extra" ];
    };
  authorized_keys = mine.keys.bind (mine.keys.options "/bin/muster") "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDnCQXlllHoLX5EvU+t6yP/npsmuxKt0skHVeJashizE root@localmachine\n";
  commands = concatStringsSep "" (
    map (words: "${mine.words.exec words}\n") [
      join
      leave
      agent
    ]
  );
  "muster-join.service" = plain (mine.unit.join "/root/key");
  "muster-builder.service" = plain (
    mine.unit.agent {
      user = "daemon";
      group = "daemon";
    }
    // {
      ExecStart = mine.words.exec ([ "/bin/true" ] ++ agent ++ [ "100% $HOME \"quoted\"" ]);
    }
  );
  "muster.socket" = socket "endpoint" "0600";
  "muster-control.socket" = socket "control" "0666";
  "muster.service" = service "root";
  # A user that every Debian has stands for the one that NixOS makes.
  "locked-down.service" = service "daemon";
}
