# Lines of authorized_keys.
let
  inherit (builtins)
    filter
    isString
    match
    split
    ;
in
rec {
  # In front of a key that may do what a build needs, and nothing else: `muster builder serve` reads what was asked for.
  options = muster: "restrict,command=\"${muster} builder serve\"";

  # The keys in the text of a `.pub` or authorized_keys file.
  linesOf =
    text: filter (line: isString line && match "[[:space:]]*(#.*)?" line == null) (split "\r?\n" text);

  isBare = line: match "[[:space:]]*(sk-)?(ssh|ecdsa)-[a-z0-9@.-]+[[:space:]].*" line != null;

  # Whether it can be a public key at all, with or without options in front.
  isKey =
    line:
    match "(.*[[:space:]])?(sk-)?(ssh|ecdsa)-[a-z0-9@.-]+[[:space:]]+AAAA[A-Za-z0-9+/=]+([[:space:]].*)?" line
    != null;

  # A line that has options of its own keeps exactly these.
  bind = given: line: if given == "" || !isBare line then line else "${given} ${line}";
}
