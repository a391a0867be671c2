# The documentation of the options is that of the modules.
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
in
lib.optionalAttrs hasDarwin {
  "docs/options.md is current: checks/eval/run --write" = equal (lib.splitString "\n" tools.options) (
    lib.splitString "\n" written
  );
}
