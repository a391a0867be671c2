# The tables of docs/options.md, made from the modules themselves.
{
  lib,
  nixos,
  darwin,
}:
let
  inherit (lib)
    attrNames
    concatMap
    concatStringsSep
    filter
    hasAttr
    replaceStrings
    ;

  # Path below services.muster -> option.
  docsOf =
    options:
    lib.listToAttrs (
      map (option: lib.nameValuePair (lib.removePrefix "services.muster." option.name) option) (
        filter (option: option.visible && !option.internal) (
          lib.optionAttrSetToDocList options.services.muster
        )
      )
    );
  onNixos = docsOf nixos;
  onDarwin = if darwin == null then null else docsOf darwin;
  all = lib.optionalAttrs (onDarwin != null) onDarwin // onNixos;

  platforms =
    name:
    if !hasAttr name onNixos then
      "nix-darwin"
    else if onDarwin == null || hasAttr name onDarwin then
      "both"
    else
      "NixOS";

  cell =
    text:
    replaceStrings [ "\n" "|" ] [ " " "\\|" ] (
      concatStringsSep " " (filter (line: line != "") (map lib.trim (lib.splitString "\n" text)))
    );
  shown =
    value:
    if value._type or "" == "literalExpression" then
      cell value.text
    else
      cell (lib.generators.toPretty { multiline = false; } value);

  defaultOf = option: if option ? default then "`${shown option.default}`" else "needed";

  row =
    name:
    let
      option = all.${name};
      default =
        let
          everywhere = defaultOf option;
          there = defaultOf onDarwin.${name};
        in
        if platforms name != "both" || onDarwin == null || there == everywhere then
          everywhere
        else
          "${defaultOf onNixos.${name}}, on nix-darwin ${there}";
      example = if option ? example then " Example: `${shown option.example}`" else "";
    in
    "| `${lib.removePrefix "builder." (lib.removePrefix "coordinator." name)}` | ${default} | ${platforms name} | ${cell option.description}${example} |\n";

  table =
    title: prefix:
    "\n## ${title}\n\n| option | default | on | meaning |\n|---|---|---|---|\n"
    + concatStringsSep "" (
      map row (concatMap (name: lib.optional (lib.hasPrefix prefix name) name) (attrNames all))
    );
in
"## services.muster\n\n| option | default | on | meaning |\n|---|---|---|---|\n"
+ row "package"
+ table "services.muster.builder" "builder."
+ table "services.muster.coordinator" "coordinator."
