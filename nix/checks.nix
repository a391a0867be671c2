# What `nix flake check` proves beside the evaluation of everything.
{
  pkgs,
  nixpkgs,
  nix-darwin,
  rust,
  flake,
}:
let
  inherit (pkgs) lib;

  modules = import ../checks/eval { inherit nixpkgs nix-darwin; };
in
rust.checks
// {
  inherit (flake.packages.${pkgs.stdenv.hostPlatform.system}) muster;

  modules =
    if modules.failures == [ ] then
      pkgs.runCommand "muster-modules" { } "echo ${toString modules.count} passed >$out"
    else
      throw "muster's modules:\n${lib.concatLines modules.failures}";
}
