# The machines of joined.py: the modules bring them into the tailnet.
{
  lib,
  muster,
  modules,
  ...
}:
let
  # The base of all scenarios switches it off.
  firewall.networking.firewall.enable = lib.mkForce true;
  joins = nodes: {
    enable = true;
    authKeyFile = "/run/tailnet-key";
    loginServer = lib.removeSuffix "\n" nodes.control.environment.etc."lab/tailnet-url".text;
  };
  builder =
    { nodes, ... }:
    {
      imports = [ firewall ];
      services.muster.package = muster;
      services.muster.builder = {
        agent.enable = true;
        tailscale = joins nodes;
      };
    };
in
{
  b1 = builder;
  b2 = builder;
  hub =
    { nodes, ... }:
    {
      imports = [
        firewall
        modules.nixosModules.coordinator
      ];
      services.muster.package = muster;
      services.muster.coordinator = {
        enable = true;
        forceRemote = true;
        sources.tailscale = [ { tag = "tag:nix-builder"; } ];
        tailscale = joins nodes // {
          tags = [ "tag:ci" ];
        };
      };
    };
}
