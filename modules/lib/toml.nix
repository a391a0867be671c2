# Attributes -> TOML, text already while a configuration is evaluated. `null` is left out.
let
  inherit (builtins)
    all
    attrNames
    concatStringsSep
    filter
    isAttrs
    isBool
    isFloat
    isInt
    isList
    isString
    match
    toJSON
    typeOf
    ;

  isPlain = value: isAttrs value && value.type or null != "derivation";
  isTables = value: isList value && value != [ ] && all isPlain value;

  # What JSON calls a text, TOML calls a basic string.
  text = toJSON;
  bare = name: if match "[A-Za-z0-9_-]+" name != null then name else text name;

  value =
    path: this:
    if isString this then
      text this
    else if isInt this || isBool this then
      toJSON this
    else if isFloat this then
      # JSON may leave the fraction out, and then TOML reads a whole number.
      (if match ".*[.e].*" (toJSON this) != null then toJSON this else "${toJSON this}.0")
    else if isList this then
      "[${concatStringsSep ", " (map (value path) this)}]"
    else if isPlain this then
      "{ ${
        concatStringsSep ", " (map (name: "${bare name} = ${value path this.${name}}") (given this))
      } }"
    else if isAttrs this then
      text (toString this)
    else
      throw "services.muster: ${path} is a ${typeOf this}; TOML has texts, numbers, booleans, lists and tables (a path is written in quotation marks)";

  given = attrs: filter (name: attrs.${name} != null) (attrNames attrs);

  section =
    path: attrs:
    let
      names = given attrs;
      dotted = name: concatStringsSep "." (map bare (path ++ [ name ]));
      isLine = name: !(isPlain attrs.${name} || isTables attrs.${name});
      line = name: "${bare name} = ${value (dotted name) attrs.${name}}\n";
      tables =
        name:
        if isPlain attrs.${name} then
          "\n[${dotted name}]\n" + section (path ++ [ name ]) attrs.${name}
        else
          concatStringsSep "" (
            map (each: "\n[[${dotted name}]]\n" + section (path ++ [ name ]) each) attrs.${name}
          );
    in
    concatStringsSep "" (
      map line (filter isLine names) ++ map tables (filter (name: !isLine name) names)
    );
in
section [ ]
