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
  inherit (flake.packages.${pkgs.stdenv.hostPlatform.system}) muster;

  nixFiles = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.fileFilter (file: file.hasExt "nix") ../.;
  };
  evaluated = import ../checks/eval { inherit nixpkgs nix-darwin; };
in
rust.checks
// {
  inherit muster;

  nix-style =
    pkgs.runCommand "muster-nix-style"
      {
        nativeBuildInputs = [
          pkgs.deadnix
          pkgs.nixfmt
        ];
      }
      ''
        cd ${nixFiles}
        nixfmt --check $(find . -name '*.nix')
        deadnix --fail .
        touch $out
      '';
}
# These are of no system, or take long: on one system they say as much as on four, and evaluation has to fit into memory.
// lib.optionalAttrs (pkgs.stdenv.hostPlatform.system == "x86_64-linux") (
  {
    modules =
      if evaluated.failures == [ ] then
        pkgs.runCommand "muster-modules" { } "echo ${toString evaluated.count} passed >$out"
      else
        throw "muster's modules:\n${lib.concatLines evaluated.failures}";
  }
  // import ../checks/vm {
    inherit pkgs muster;
    modules = flake;
  }
)
