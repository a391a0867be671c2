# What `modules/lib` computes, told by builtins alone.
let
  mine = import ../../modules/lib;
  equal = expected: actual: { inherit expected actual; };

  machine = {
    hostName = "far";
    protocol = "ssh";
    system = null;
    systems = [ "x86_64-linux" ];
    sshUser = null;
    sshKey = null;
    maxJobs = 1;
    speedFactor = 1;
    supportedFeatures = [ ];
    mandatoryFeatures = [ ];
    publicHostKey = null;
  };
  builderOf =
    given: changes:
    mine.machines.builder {
      machine = machine // changes;
      given = field: builtins.elem field given;
      keyPath = path: "/keys${path}";
    };
  key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDnCQXlllHoLX5EvU+t6yP/npsmuxKt0skHVeJashizE";
  throws = value: equal false (builtins.tryEval (builtins.deepSeq value value)).success;
in
{
  "toml: plain keys come before tables, and null is left out" =
    equal
      ''
        a = 1
        z = true

        [b]
        c = "x"

        [b.d]
        e = []
      ''
      (
        mine.toml {
          z = true;
          b = {
            d.e = [ ];
            c = "x";
          };
          a = 1;
          gone = null;
        }
      );
  "toml: a list of tables is tables" = equal "\n[[t]]\na = 1\n\n[[t]]\na = 2\n" (
    mine.toml {
      t = [
        { a = 1; }
        { a = 2; }
      ];
    }
  );
  "toml: a list within a list" = equal "a = [[1, 2], [\"x\"]]\n" (
    mine.toml {
      a = [
        [
          1
          2
        ]
        [ "x" ]
      ];
    }
  );
  "toml: quotation marks, backslashes and line ends are escaped" = equal "a = \"\\\"\\\\\\n\"\n" (
    mine.toml { a = "\"\\\n"; }
  );
  "toml: a name that is no bare key is quoted" = equal "\"\" = 2\n\"a b\" = 1\n" (
    mine.toml {
      "a b" = 1;
      "" = 2;
    }
  );
  "toml: a fraction stays one" = equal "a = 1.0\nb = 2.5\n" (
    mine.toml {
      a = 1.0;
      b = 2.5;
    }
  );
  "toml: a path literal is refused, since it would be copied to the store" = throws (
    mine.toml { a = ./lib.nix; }
  );
  "toml: a function is refused" = throws (mine.toml { a = x: x; });

  "keys: comments and empty lines are no keys" = equal [ key "b" ] (
    mine.keys.linesOf "# one\n\n${key}\r\n  \nb\n"
  );
  "keys: a bare one is bound" = equal "restrict ${key}" (mine.keys.bind "restrict" key);
  "keys: one with options keeps them" = equal "from=\"10.0.0.0/8\" ${key}" (
    mine.keys.bind "restrict" "from=\"10.0.0.0/8\" ${key}"
  );
  "keys: a token's is bare, too" = equal "restrict sk-ssh-ed25519@openssh.com AAAA" (
    mine.keys.bind "restrict" "sk-ssh-ed25519@openssh.com AAAA"
  );
  "keys: nothing to bind it to" = equal key (mine.keys.bind "" key);
  "keys: what is a key" = equal [ true true true false false false ] (
    map mine.keys.isKey [
      key
      "restrict,command=\"x y\" ${key} a comment"
      "ecdsa-sha2-nistp256 AAAAE2VjZHNh root@x"
      "-----BEGIN OPENSSH PRIVATE KEY-----"
      "ssh-ed25519 no base64 at all!"
      ""
    ]
  );

  "machines: what nobody wrote is measured" = equal {
    name = "far";
    uri = "ssh-ng://far";
    key = null;
    systems = [ "x86_64-linux" ];
    features = null;
    mandatory = null;
    slots = null;
    speed_factor = null;
  } (builderOf [ ] { });
  "machines: what somebody wrote counts, also where it is the default" =
    equal
      [
        1
        1
        [ ]
      ]
      (
        let
          builder = builderOf [ "maxJobs" "speedFactor" "supportedFeatures" ] { };
        in
        [
          builder.slots
          builder.speed_factor
          builder.features
        ]
      );
  "machines: names are hosts" = equal [ "far" "far" "2001:db8::1" "far" "10.0.0.1" ] (
    map (hostName: (builderOf [ ] { inherit hostName; }).name) [
      "eva@far"
      "far:22"
      "eva@[2001:db8::1]:22"
      "far?compress=true"
      "10.0.0.1"
    ]
  );
  "machines: ports" = equal [ 22 2222 22 7 2222 22 ] (
    map (hostName: mine.machines.portOf { inherit hostName; }) [
      "far"
      "eva@far:2222"
      "eva@[2001:db8::1]"
      "[2001:db8::1]:7"
      "far:2222?compress=true"
      "far?remote-program=a:7"
    ]
  );
  "machines: a host key follows other parameters" =
    equal "ssh-ng://u@far?compress=true&base64-ssh-public-host-key=a%2Bb%3D"
      (builderOf [ ] {
        hostName = "far?compress=true";
        sshUser = "u";
        publicHostKey = "a+b=";
      }).uri;
  "machines: a key is read where the coordinator can" =
    equal "/keys/root/k"
      (builderOf [ ] { sshKey = "/root/k"; }).key;
  "machines: which become builders" = equal [ true true false false false false ] (
    map (changes: mine.machines.isAdoptable (machine // changes)) [
      { }
      { protocol = "ssh-ng"; }
      { protocol = null; }
      { hostName = "localhost"; }
      { hostName = "me@localhost"; }
      { maxJobs = 0; }
    ]
  );
  "machines: names are made unique" = equal [ "a" "b" "a-2" "a-3" ] (
    map (builder: builder.name) (
      mine.machines.named (
        map (name: { inherit name; }) [
          "a"
          "b"
          "a"
          "a"
        ]
      )
    )
  );
  "machines: a line of Nix's" = equal "ssh://u@far x86_64-linux /k 2 1 a,b b c3No" (
    mine.machines.line (
      machine
      // {
        sshUser = "u";
        sshKey = "/k";
        maxJobs = 2;
        supportedFeatures = [ "a" ];
        mandatoryFeatures = [ "b" ];
        publicHostKey = "c3No";
      }
    )
  );

  "credentials: two files of one name are told apart" = equal false (
    mine.credentials.id "/a/id" == mine.credentials.id "/b/id"
  );
  "credentials: an id is a plain file name" = equal true (
    builtins.match "[A-Za-z0-9_.-]+" (mine.credentials.id "/home/e v/my:key ü") != null
  );

  "words: what is not said is left out" =
    equal
      [
        "join"
        "--role"
        "builder"
        "--tag"
        "tag:a"
        "--tag"
        "tag:b"
        "--no-ssh"
        "--no-ephemeral"
      ]
      (
        mine.words.join {
          role = "builder";
          hostname = null;
          tags = [
            "tag:a"
            "tag:b"
          ];
          authKeyFile = null;
          loginServer = null;
          ssh = false;
          ephemeral = false;
          preauthorized = false;
          operator = null;
          timeout = null;
          tailscale = null;
        }
      );
  "words: what systemd would expand or split is quoted" =
    equal ''/bin/x a=1 "two words" "100%% $$HOME \\ \"q\"" ""''
      (
        mine.words.exec [
          "/bin/x"
          "a=1"
          "two words"
          "100% $HOME \\ \"q\""
          ""
        ]
      );

  "ssh: a port is part of what is known" =
    equal
      [
        [ "h" ]
        [ "h" ]
        [ "[h]:7" ]
      ]
      [
        (mine.ssh.knownAs { host = "h"; })
        (mine.ssh.knownAs {
          host = "h";
          port = 22;
        })
        (mine.ssh.knownAs {
          host = "h";
          port = 7;
        })
      ];
}
