# The documentation of the options is that of the modules, and no option goes without a case.
{
  tools,
  root,
  hasDarwin,
  ...
}:
let
  inherit (tools) equal lib;
  mark = "<!-- From here on: checks/eval/run --write -->\n\n";
  written = lib.last (lib.splitString mark (builtins.readFile (root + "/docs/options.md")));
  # Of a path such as `builders.<name>.slots` the last part: how a case says it.
  names = lib.unique (
    map (row: lib.last (lib.splitString "." (lib.head (lib.splitString "`" row)))) (
      lib.tail (lib.splitString "\n| `" tools.options)
    )
  );
  cases = lib.concatMapStrings (file: builtins.readFile (./. + "/${file}")) (
    lib.filter (file: file != "docs.nix") (lib.attrNames (builtins.readDir ./.))
  );
  isSaid =
    name:
    builtins.match ".*[^A-Za-z]${name}( =|\\.| \\?|;).*" (lib.replaceStrings [ "\n" ] [ " " ] cases)
    != null;
in
lib.optionalAttrs hasDarwin {
  "each option has a case" = equal [ ] (lib.filter (name: !isSaid name) names);
  "docs/options.md is current: checks/eval/run --write" = equal (lib.splitString "\n" tools.options) (
    lib.splitString "\n" written
  );
}
