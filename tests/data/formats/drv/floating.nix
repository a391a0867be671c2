# Derivations that need experimental features of Nix; the .drv files beside this were made from them by Nix 2.8.
let
  plain = extra: derivation ({
    system = "x86_64-linux";
    builder = "/bin/sh";
  } // extra);
in
rec {
  floating = plain {
    name = "floating";
    __contentAddressed = true;
    outputHashMode = "recursive";
    outputHashAlgo = "sha256";
  };
  deferred = plain { name = "deferred"; dep = floating; };
  impure = plain { name = "impure"; __impure = true; };
}
