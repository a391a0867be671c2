# The scenarios in virtual machines of NixOS: { scenario-NAME = test; }. What each needs stands in nodes.json, and in `only`
# what cannot be but on NixOS.
{
  pkgs,
  muster,
  modules,
}:
let
  inherit (pkgs) lib;
  keys = import (pkgs.path + "/nixos/tests/ssh-keys.nix") pkgs;
  scenarios = lib.importJSON ./nodes.json;
  tailnet = import ./tailnet.nix { inherit lib pkgs; };

  base = node: {
    environment.systemPackages = [
      muster
      pkgs.nftables
    ];
    environment.etc."vm/role".text = node.role;
    users.users.alice = {
      isNormalUser = true;
      uid = 1001;
    };
    nix.settings = {
      experimental-features = [ "nix-command" ];
      sandbox = true;
      # The scenarios' build scripts have busybox, and a file that says on which machine they run.
      sandbox-paths = [
        "/bin/sh=${pkgs.pkgsStatic.busybox}/bin/busybox"
        "/bin/busybox=${pkgs.pkgsStatic.busybox}/bin/busybox"
        "/labhost=/etc/hostname"
      ];
      substituters = lib.mkForce [ ];
    };
    # Last in nix.conf, so that it wins, as in the lab.
    nix.extraOptions = lib.concatStrings (
      lib.mapAttrsToList (key: value: "${key} = ${value}\n") node.nix_conf
    );
    virtualisation = {
      cores = 2;
      memorySize = 1536;
      writableStore = true;
    };
    documentation.enable = false;
    networking.firewall.enable = false;
  };

  # Who is let in by a tailnet's policy alone has no key, and no sshd.
  byKey = node: node.authorized || !node.tailscale;
  strangerKey =
    keys.snakeOilEd25519PublicKey
      or "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDnCQXlllHoLX5EvU+t6yP/npsmuxKt0skHVeJashizE";

  builder = node: {
    imports = [ modules.nixosModules.builder ];
    services.muster.builder = {
      enable = true;
      inherit (node) trusted;
      openssh.enable = byKey node;
      # A key that nobody has: somebody must be able to log in, or the module complains.
      authorizedKeys = lib.optional (byKey node) (
        if node.authorized then keys.snakeOilPublicKey else strangerKey
      );
      # Otherwise as the module binds a key by itself.
      keyOptions = lib.mkIf (node.access == "ssh") "";
      # Scenarios start one where they want it.
      agent.enable = lib.mkDefault false;
    };
    services.openssh.ports = [ node.port ];
  };

  coordinator = node: {
    nix.settings.builders = lib.mkDefault "@/run/muster/machines";
    # The scenarios' own key, for root and for whomever else they let use it.
    systemd.tmpfiles.rules = [
      "d /root/.ssh 0700 root root"
      "C ${node.key} 0600 root root - ${keys.snakeOilPrivateKey}"
    ];
  };

  machine = scenario: name: node: {
    imports = [
      (base node)
    ]
    ++ onlyHere scenario name
    ++ lib.optional (lib.elem node.role [
      "builder"
      "both"
    ]) (builder node)
    ++ lib.optional (lib.elem node.role [
      "coordinator"
      "both"
    ]) (coordinator node)
    ++ lib.optional (node.role == "control") tailnet.control
    ++ lib.optional node.tailscale tailnet.member;
  };

  # What the modules make of the machines, and not the scenario.
  onlyHere =
    name:
    let
      file = ./only + "/${name}.nix";
      more = import file {
        inherit
          lib
          pkgs
          muster
          modules
          keys
          ;
      };
    in
    node: lib.optional (lib.pathExists file) (more.${node} or { });

  test =
    name: nodes:
    pkgs.testers.runNixOSTest {
      name = "muster-${name}";
      nodes = lib.mapAttrs (machine name) nodes;
      # The scenarios are checked where they are written: checks/offline.
      skipTypeCheck = true;
      skipLint = true;
      testScript = ''
        import sys
        sys.path[:0] = ["${../scenarios}", "${./only}", "${./.}"]
        import shim
        shim.run(${builtins.toJSON name}, ${builtins.toJSON nodes}, {machine.name: machine for machine in machines}, subtest)
      '';
    };
in
lib.mapAttrs' (name: nodes: lib.nameValuePair "scenario-${name}" (test name nodes)) scenarios
