{
  description = "Turns any machines you can reach into one Nix build cluster";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    # The last release that has x86_64-darwin.
    nixpkgs-x86_64-darwin.url = "github:NixOS/nixpkgs/nixpkgs-26.05-darwin";
    crane.url = "github:ipetkov/crane";
    nix-darwin.url = "github:nix-darwin/nix-darwin";
    nix-darwin.inputs.nixpkgs.follows = "nixpkgs";
  };

  # Nothing here reads an input before an output that needs it is asked for.
  outputs =
    inputs@{ self, ... }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "aarch64-darwin"
        "x86_64-darwin"
      ];
      perSystem =
        make:
        builtins.listToAttrs (
          map (system: {
            name = system;
            value = make system;
          }) systems
        );
      nixpkgsFor =
        system: if system == "x86_64-darwin" then inputs.nixpkgs-x86_64-darwin else inputs.nixpkgs;
      pkgsFor = system: (nixpkgsFor system).legacyPackages.${system};
      rustFor = system: import ./nix/rust.nix { craneLib = inputs.crane.mkLib (pkgsFor system); };
      modules = import ./modules {
        packageFor = pkgs: self.packages.${pkgs.stdenv.hostPlatform.system}.muster;
      };
    in
    {
      inherit (modules) nixosModules darwinModules;

      overlays.default = final: _: {
        muster = (import ./nix/rust.nix { craneLib = inputs.crane.mkLib final; }).package;
      };

      packages = perSystem (system: rec {
        muster = (rustFor system).package;
        default = muster;
      });

      apps = perSystem (
        system:
        import ./nix/apps.nix {
          pkgs = pkgsFor system;
          inherit (self.packages.${system}) muster;
        }
      );

      devShells = perSystem (system: {
        default = import ./nix/shell.nix { pkgs = pkgsFor system; };
      });

      formatter = perSystem (system: (pkgsFor system).nixfmt-tree);

      checks = perSystem (
        system:
        import ./nix/checks.nix {
          pkgs = pkgsFor system;
          nixpkgs = nixpkgsFor system;
          rust = rustFor system;
          inherit (inputs) nix-darwin;
          flake = self;
        }
      );
    };
}
