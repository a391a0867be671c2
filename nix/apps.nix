# What `nix run` starts.
{ pkgs, muster }:
let
  inherit (pkgs) lib;

  # The demo builds on this machine alone, with a shell that needs nothing around it.
  demoPath = [ pkgs.nix ] ++ lib.optional pkgs.stdenv.hostPlatform.isLinux pkgs.pkgsStatic.busybox;

  app = description: program: {
    type = "app";
    program = toString program;
    meta = { inherit description; };
  };
  started =
    words:
    pkgs.writeShellScript "muster-${lib.head (lib.splitString " " words)}" ''
      exec ${lib.getExe muster} ${words} "$@"
    '';
in
{
  default = app "muster, with the words that follow" (lib.getExe muster);
  coordinator = app "Run the coordinator" (started "coordinator");
  builder = app "Run the agent of a builder" (started "builder");
  demo = app "Build on three embedded builders, and kill one of them" (
    pkgs.writeShellScript "muster-demo" ''
      export PATH=${lib.makeBinPath demoPath}:$PATH
      exec ${lib.getExe muster} demo "$@"
    ''
  );
}
