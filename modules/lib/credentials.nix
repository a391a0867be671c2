# Private keys for a service that may not read them itself: systemd hands it a copy.
let
  inherit (builtins)
    baseNameOf
    concatStringsSep
    filter
    hashString
    isString
    split
    substring
    ;
  plain =
    text:
    concatStringsSep "-" (filter (part: isString part && part != "") (split "[^A-Za-z0-9_.]+" text));
in
rec {
  # Two keys of one base name are told apart by their paths.
  id = path: "${plain (baseNameOf path)}-${substring 0 8 (hashString "sha256" path)}";

  pathIn = service: path: "/run/credentials/${service}.service/${id path}";

  load = path: "${id path}:${path}";

  # Without it a file that is missing would keep the service from starting, and all other builders away.
  fallback = path: "${id path}:${path} was not there when the service started";
}
