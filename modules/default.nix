# The modules as a flake offers them: `packageFor pkgs` is muster for that machine.
{ packageFor }:
let
  # With a key, a module that is imported twice counts once.
  module = platform: role: {
    key = "muster/${platform}/${role}";
    _file = "muster: ${platform}Modules.${role}";
    imports = [
      ./${platform}/${role}.nix
      (
        { lib, pkgs, ... }:
        {
          # One and the same for both roles.
          key = "muster/package";
          config.services.muster.package = lib.mkOverride 1400 (packageFor pkgs);
        }
      )
    ];
  };
  modules = platform: rec {
    builder = module platform "builder";
    coordinator = module platform "coordinator";
    default = {
      key = "muster/${platform}/default";
      imports = [
        builder
        coordinator
      ];
    };
  };
in
{
  nixosModules = modules "nixos";
  darwinModules = modules "darwin";
}
