# A NixOS machine that asks for builds.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.muster.coordinator;
  mine = import ../lib;

  asRoot = cfg.user == "root";
  rootKnownHosts = "/root/.ssh/known_hosts";
  secrets = lib.optionals (!asRoot) (cfg.secrets ++ [ rootKnownHosts ]);

  # Lix, and Nix before 2.20, start muster by bash.
  nix = config.nix.package;
  wantsBash = lib.getName nix == "lix" || lib.versionOlder (lib.getVersion nix) "2.20";

  # docs/configuration.md says which.
  startOnly = [
    [ "local_store" ]
    [ "nix_daemon" ]
    [ "store_dir" ]
    [ "attach" ]
    [
      "endpoint"
      "socket"
    ]
    [
      "endpoint"
      "machines_file"
    ]
    [
      "control"
      "socket"
    ]
  ];

  socket =
    name: mode:
    mine.unit.socket {
      inherit name mode;
      inherit (cfg) user group;
      path = cfg.settings.${name}.socket;
    };
in
{
  imports = [
    ../common/coordinator.nix
    ./tailscale.nix
  ];

  options.services.muster.coordinator = {
    user = mkOption {
      type = types.singleLineStr;
      default = if cfg.attach == "direct" then "root" else "muster";
      defaultText = lib.literalExpression ''if attach == "direct" then "root" else "muster"'';
      description = ''
        The user that the coordinator runs as. `muster` has the keys of the builders and root's known hosts handed to it
        by systemd, and reads the system's ssh configuration. `root` has all of root's own ssh configuration as well.
      '';
    };
    group = mkOption {
      type = types.singleLineStr;
      default = cfg.user;
      defaultText = lib.literalExpression "config.services.muster.coordinator.user";
      description = "Its group.";
    };
    operators = mkOption {
      type = types.nullOr types.singleLineStr;
      default = null;
      example = "wheel";
      description = "A group whose members may drain builders, cancel builds and stop the coordinator, without being root: `control.group`.";
    };
  };

  config = lib.mkIf cfg.enable {
    services.muster.coordinator = {
      runtimeDir = "/run/muster";
      keyPath = if asRoot then lib.id else mine.credentials.pathIn "muster";
      settings.endpoint.socket = lib.mkOverride 900 "/run/muster/endpoint.sock";
      settings.control.socket = lib.mkOverride 900 "/run/muster/control.sock";
      settings.control.group = lib.mkIf (cfg.operators != null) cfg.operators;
    };

    users.users = lib.mkIf (cfg.user == "muster") {
      muster = {
        isSystemUser = true;
        inherit (cfg) group;
        home = "/var/lib/muster";
        description = "muster's coordinator";
      };
    };
    users.groups = lib.mkIf (cfg.group == "muster") { muster = { }; };

    systemd.sockets.muster = {
      description = "Where Nix's builds reach muster's coordinator";
      wantedBy = [ "sockets.target" ];
      # Where others are allowed in, who connects is checked then.
      socketConfig = socket "endpoint" (
        if cfg.settings.endpoint.allow or [ ] == [ ] then "0600" else "0666"
      );
    };
    systemd.sockets.muster-control = {
      description = "Where muster status reaches the coordinator";
      wantedBy = [ "sockets.target" ];
      socketConfig = socket "control" "0666";
    };

    systemd.services.muster = {
      description = "muster's coordinator";
      wantedBy = [ "multi-user.target" ];
      requires = [
        "muster.socket"
        "muster-control.socket"
      ];
      wants = [ "network-online.target" ];
      after = [
        "muster.socket"
        "muster-control.socket"
        "network-online.target"
        "nix-daemon.socket"
      ];
      path = [
        config.programs.ssh.package
        nix
      ]
      # Where its socket says nothing.
      ++ lib.optional config.services.tailscale.enable config.services.tailscale.package;
      # ProxyJump and ProxyCommand are run by the user's shell, and a system user has none.
      environment.SHELL = pkgs.runtimeShell;
      # It tries again for ever: clients wait for it.
      startLimitIntervalSec = 0;
      # Restarted in one go, or switch-to-configuration stops the sockets as well, and builds that run fail.
      stopIfChanged = false;
      # The running coordinator reads most of its configuration again; some of it waits for another start.
      reloadTriggers = [ config.environment.etc."muster/config.toml".source ];
      restartTriggers = [
        (builtins.toJSON (map (path: lib.attrByPath path null cfg.settings) startOnly))
      ];
      serviceConfig =
        mine.unit.service {
          inherit (cfg) user group;
          inherit secrets;
        }
        // {
          ExecStart = "${lib.getExe config.services.muster.package} coordinator --config /etc/muster/config.toml";
          ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        };
    };

    systemd.services.nix-daemon.path = lib.mkIf wantsBash [ pkgs.bash ];

    programs.ssh.extraConfig = lib.mkIf (!asRoot) (
      lib.mkAfter (
        mine.ssh.client {
          inherit (cfg) user;
          knownHosts = [ (cfg.keyPath rootKnownHosts) ];
          identityFiles = map cfg.keyPath cfg.identityFiles;
        }
      )
    );

    assertions = [
      {
        assertion = cfg.operators == null || config.users.groups ? ${cfg.operators};
        message = ''
          services.muster.coordinator.operators is ${toString cfg.operators}, and this machine has no such group. Name one
          that it has, such as "wheel", or make it: users.groups.${toString cfg.operators} = { }.
        '';
      }
      {
        assertion =
          asRoot
          || lib.any (name: lib.elem name config.nix.settings.allowed-users) [
            "*"
            cfg.user
            "@${cfg.group}"
          ];
        message = ''
          services.muster.coordinator: Nix's daemon would turn the coordinator away, since nix.settings.allowed-users does
          not name its user. Add "${cfg.user}" to nix.settings.allowed-users.
        '';
      }
      {
        assertion = cfg.attach != "direct" || asRoot;
        message = ''
          services.muster.coordinator.user is ${cfg.user}, and attach is "direct", where root's ssh reaches the builders
          with the keys that the lines name. Leave services.muster.coordinator.user out.
        '';
      }
    ];
  };
}
