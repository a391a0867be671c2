# Texts as NixOS and nix-darwin write them, whole, for the programs that read them (consumers.py).
{ tools, hasDarwin }:
let
  inherit (tools) lib;

  # One machine in both roles.
  both = {
    services.muster.builder = {
      enable = true;
      authorizedKeyFiles = [ ./data/remotebuild.pub ];
      features = [ "recursive-nix" ];
      agent = {
        slots = 4;
        ephemeral = true;
        releaseCommand = "shutdown -h now";
      };
      tailscale = {
        enable = true;
        authKeyFile = "/home/eva/my key";
      };
    };
    services.muster.coordinator = {
      enable = true;
      identityFiles = [ "/root/.ssh/extra" ];
      builders.big = {
        host = "10.0.0.2";
        port = 2222;
        identityFile = "/home/eva/my key";
        speedFactor = 1.5;
      };
      settings.expect = [ { systems = [ "aarch64-linux" ]; } ];
    };
    nix.buildMachines = [
      {
        hostName = "far";
        system = "x86_64-linux";
        publicHostKey = "c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSURuQ1FYbGxsSG9MWDVFdlUrdDZ5UC9ucHNtdXhLdDBza0hWZUphc2hpekU=";
      }
    ];
  };
  nixos = tools.nixos both;
  darwin = tools.darwin both;
  units = lib.genAttrs [
    "muster-builder-released.path"
    "muster-builder-released.service"
    "muster-builder.service"
    "muster-control.socket"
    "muster-join.service"
    "muster.service"
    "muster.socket"
  ] (name: nixos.systemd.units.${name}.text);
in
# Stores and packages are of no account: nothing is built.
lib.mapAttrs (_: builtins.unsafeDiscardStringContext) (
  units
  // {
    "muster.toml" = nixos.services.muster.coordinator.configText;
    "nix.conf" = nixos.environment.etc."nix/nix.conf".source.text;
    sshd_config = nixos.services.openssh.extraConfig;
    ssh_config = nixos.environment.etc."ssh/ssh_config".text;
    authorized_keys = lib.head nixos.users.users.remotebuild.openssh.authorizedKeys.keys + "\n";
  }
  // lib.optionalAttrs hasDarwin (
    lib.genAttrs [
      "org.nixos.muster-builder.plist"
      "org.nixos.muster-join.plist"
      "org.nixos.muster.plist"
    ] (name: darwin.environment.launchDaemons.${name}.text)
  )
)
