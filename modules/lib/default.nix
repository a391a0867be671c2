# What the modules compute, with nothing but builtins: testable where there is no nixpkgs.
{
  credentials = import ./credentials.nix;
  keys = import ./keys.nix;
  machines = import ./machines.nix;
  ssh = import ./ssh.nix;
  toml = import ./toml.nix;
  unit = import ./unit.nix;
  words = import ./words.nix;
}
