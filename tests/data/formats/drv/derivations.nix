# What the .drv files beside this were made from; tests/formats_nix.rs makes them anew with the Nix that is there.
{ bytes ? ./derivations.nix }:
let
  plain = extra: derivation ({
    system = "x86_64-linux";
    builder = "/bin/sh";
  } // extra);
  source = builtins.toFile "source" "text";
  fixed = plain {
    name = "fixed";
    outputHashMode = "flat";
    outputHashAlgo = "sha256";
    outputHash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  };
  recursive = plain {
    name = "recursive";
    outputHashMode = "recursive";
    outputHashAlgo = "sha256";
    outputHash = "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
  };
  several = plain {
    name = "several";
    outputs = [ "out" "dev" "bin" ];
    inherit source fixed;
    args = [ "-c" "echo \"$out\" > \\x; printf '\t'\n" "" ];
    text = "tab\tline\nreturn\r quote\" back\\slash \\n dollar$ ünï";
    empty = "";
  };
  structured = plain {
    name = "structured";
    __structuredAttrs = true;
    outputs = [ "out" "doc" ];
    list = [ 1 2.5 true null { deep = [ "\"" ]; } ];
    inputs = [ several.dev several.bin recursive ];
  };
  raw = plain {
    name = "raw";
    system = "builtin";
    builder = "builtin:fetchurl";
    text = builtins.readFile bytes;
  };
in
{ inherit fixed recursive several structured raw; }
