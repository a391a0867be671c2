# Evaluates the modules with a real nixpkgs and nix-darwin, and compares what they come to with what it has to be.
# Every file in `cases` is a function to sentences: { "what holds" = equal EXPECTED ACTUAL; }, found by listing the folder.
{
  nixpkgs,
  nix-darwin ? null,
  system ? "x86_64-linux",
  # Files of `cases`; none: all.
  only ? [ ],
}:
let
  lib = import (nixpkgs + "/lib");

  # Evaluation never runs it.
  package = pkgs: pkgs.writeShellScriptBin "muster" "exit 1";
  modules = import ../../modules { packageFor = package; };

  nixosOf =
    importing: configuration:
    import (nixpkgs + "/nixos/lib/eval-config.nix") {
      system = null;
      inherit lib;
      modules = importing ++ [
        {
          nixpkgs.hostPlatform = lib.mkDefault system;
          # As much of a machine as evaluation wants.
          boot.loader.grub.enable = false;
          fileSystems."/" = {
            device = "none";
            fsType = "tmpfs";
          };
          documentation.enable = false;
          system.stateVersion = lib.trivial.release;
        }
        configuration
      ];
    };

  darwinOf =
    importing: configuration:
    import (nix-darwin + "/eval-config.nix") {
      inherit lib;
      modules = importing ++ [
        {
          nixpkgs.source = nixpkgs;
          nixpkgs.hostPlatform = lib.mkDefault "aarch64-darwin";
          documentation.enable = false;
          system.stateVersion = lib.mkDefault 4;
        }
        configuration
      ];
    };

  equal = expected: actual: { inherit expected actual; };

  tools = rec {
    inherit lib equal modules;
    holds = equal true;
    nixos = configuration: (nixosOf [ modules.nixosModules.default ] configuration).config;
    darwin = configuration: (darwinOf [ modules.darwinModules.default ] configuration).config;
    plainNixos = configuration: (nixosOf [ ] configuration).config;
    options = import ./options.nix {
      inherit lib;
      nixos = (nixosOf [ modules.nixosModules.default ] { }).options;
      darwin =
        if nix-darwin == null then null else (darwinOf [ modules.darwinModules.default ] { }).options;
    };

    messages = config: map (each: each.message) (lib.filter (each: !each.assertion) config.assertions);
    # One assertion fails, and its message has all these words.
    complains =
      words: config:
      let
        said = lib.filter (lib.hasInfix "muster") (messages config);
      in
      equal [ ] (
        if lib.length said != 1 then
          [ "assertions that fail: ${toString (lib.length said)}" ]
        else
          lib.filter (word: !lib.hasInfix word (lib.replaceStrings [ "\n" ] [ " " ] (lib.head said))) words
      );
    contains =
      text: within:
      equal text (
        if lib.hasInfix text within then text else "not in: ${builtins.unsafeDiscardStringContext within}"
      );
    lacks = text: within: holds (!lib.hasInfix text within);
    # The module system turns it away.
    refuses = value: equal false (builtins.tryEval (builtins.deepSeq value true)).success;
  };

  casesOf =
    file:
    import (./cases + "/${file}") {
      inherit tools;
      root = ../..;
      hasDarwin = nix-darwin != null;
    };
  files = lib.filter (name: only == [ ] || lib.elem (lib.removeSuffix ".nix" name) only) (
    lib.attrNames (builtins.readDir ./cases)
  );

  judged =
    file: sentence: case:
    lib.optional (case.expected != case.actual)
      "${lib.removeSuffix ".nix" file}: ${sentence}: expected ${builtins.toJSON case.expected}, got ${builtins.toJSON case.actual}";
in
rec {
  inherit (tools) options;
  texts = import ./texts.nix {
    inherit tools;
    hasDarwin = nix-darwin != null;
  };
  cases = lib.genAttrs files casesOf;
  count = lib.foldl' (sum: file: sum + lib.length (lib.attrNames cases.${file})) 0 files;
  failures = lib.concatLists (
    lib.concatMap (file: lib.mapAttrsToList (judged file) cases.${file}) files
  );
}
