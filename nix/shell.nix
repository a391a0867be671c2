# Every tool that `make` uses.
{ pkgs }:
let
  inherit (pkgs) lib;
in
pkgs.mkShell {
  packages = [
    pkgs.cargo
    pkgs.clippy
    pkgs.deadnix
    pkgs.gnumake
    pkgs.go
    pkgs.jq
    pkgs.nix
    pkgs.nixfmt
    pkgs.openssh
    pkgs.openssl
    pkgs.rustc
    pkgs.rustfmt
    pkgs.shellcheck
    (pkgs.python3.withPackages (python: [
      python.mypy
      python.pyflakes
    ]))
  ]
  ++ lib.optionals pkgs.stdenv.hostPlatform.isLinux [
    pkgs.iproute2
    pkgs.mmdebstrap
    pkgs.pkgsStatic.busybox
    pkgs.systemd
  ];
}
