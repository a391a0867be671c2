# The package and what cargo checks, by crane.
{ craneLib }:
let
  lib = craneLib.callPackage ({ lib }: lib) { };
  pkgs = craneLib.callPackage ({ pkgs }: pkgs) { };
  inherit (lib) fileset;

  sources =
    files:
    fileset.toSource {
      root = ../.;
      fileset = fileset.unions files;
    };
  # Documentation counts: the code reads an example from it.
  files = [
    ../Cargo.lock
    ../Cargo.toml
    ../clippy.toml
    ../docs
    ../rustfmt.toml
    ../src
    ../tests
  ];
  src = sources files;

  common = {
    inherit src;
    strictDeps = true;
    cargoExtraArgs = "--locked";
  };
  dist = common // {
    CARGO_PROFILE = "dist";
    doCheck = false;
  };
  dev = common // {
    CARGO_PROFILE = "dev";
  };
  devArtifacts = craneLib.buildDepsOnly dev;
  checked = dev // {
    cargoArtifacts = devArtifacts;
  };
in
{
  package = craneLib.buildPackage (
    dist
    // {
      cargoArtifacts = craneLib.buildDepsOnly dist;
      nativeBuildInputs = [ pkgs.installShellFiles ];
      # The name by which GitHub workflows end their cluster.
      postInstall = ''
        ln -s muster $out/bin/stop-nix-builders
      ''
      + lib.optionalString (pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform) ''
        for shell in bash fish zsh; do $out/bin/muster completions $shell >muster.$shell; done
        installShellCompletion muster.{bash,fish,zsh}
      '';
      meta = {
        description = "Turns any machines you can reach into one Nix build cluster";
        license = lib.licenses.mit;
        mainProgram = "muster";
        platforms = lib.platforms.linux ++ lib.platforms.darwin;
      };
    }
  );

  checks = {
    rust-fmt = craneLib.cargoFmt { inherit src; };
    rust-clippy = craneLib.cargoClippy (
      checked // { cargoClippyExtraArgs = "--all-targets -- -D warnings"; }
    );
    rust-doc = craneLib.cargoDoc (
      checked
      // {
        RUSTDOCFLAGS = "-D warnings";
        cargoDocExtraArgs = "--no-deps";
      }
    );
    # The end-to-end tests take several versions of Nix: the VM checks ask the same with the one of nixpkgs.
    rust-tests = craneLib.cargoTest (
      checked
      // {
        # Tests read the scripts and the README as well.
        src = sources (
          files
          ++ [
            ../Makefile
            ../README.md
            ../checks
          ]
        );
        cargoTestExtraArgs = "--lib --bins --test '[!e]*'";
        nativeBuildInputs = [
          pkgs.jq
          pkgs.nix
          pkgs.openssh
        ];
      }
    );
    rust-licences = craneLib.mkCargoDerivation (
      checked
      // {
        pnameSuffix = "-licences";
        nativeBuildInputs = [ pkgs.python3 ];
        buildPhaseCargoCommand = "python3 ${../checks/licences}";
        doInstallCargoArtifacts = false;
        installPhaseCommand = "touch $out";
      }
    );
  };
}
