# Entries of `nix.buildMachines` -> builders of muster, or lines that stay Nix's own.
let
  inherit (builtins)
    concatStringsSep
    elem
    filter
    genList
    head
    isString
    length
    match
    replaceStrings
    split
    ;

  orDash = values: if values == [ ] then "-" else concatStringsSep "," values;

  systemsOf =
    machine: if machine.system or null != null then [ machine.system ] else machine.systems or [ ];

  # `user@host`, `host?compress=true` and the like may all stand in hostName.
  address =
    machine: (if machine.sshUser or null != null then "${machine.sshUser}@" else "") + machine.hostName;

  # Without user, port and parameters; an IPv6 address without its brackets.
  hostOf =
    machine:
    let
      bracketed = match "\\[([^]]*)].*" (withoutUser machine.hostName);
    in
    if bracketed != null then
      head bracketed
    else
      head (filter isString (split "[?:]" (withoutUser machine.hostName)));
  withoutUser =
    host:
    let
      parts = match "[^@]*@(.*)" host;
    in
    if parts == null then host else head parts;

  encoded = replaceStrings [ "%" "+" "=" "&" "#" " " ] [ "%25" "%2B" "%3D" "%26" "%23" "%20" ];
in
rec {
  inherit hostOf;

  # The port that stands in hostName; an IPv6 address has one behind its brackets only.
  portOf =
    machine:
    let
      found = match "(\\[[^]]*]|[^:?]*):([0-9]+)([?].*)?" (withoutUser machine.hostName);
    in
    if found == null then 22 else builtins.fromJSON (builtins.elemAt found 1);

  # Muster speaks to machines by ssh. `localhost`, other protocols and machines without slots remain Nix's.
  isAdoptable =
    machine:
    elem machine.protocol [
      "ssh"
      "ssh-ng"
    ]
    && hostOf machine != "localhost"
    && machine.maxJobs > 0;

  # `given name`: whether the user wrote that field. What nobody wrote is measured.
  builder =
    {
      machine,
      given,
      keyPath,
    }:
    let
      hostKey = machine.publicHostKey or null;
      features = machine.supportedFeatures ++ machine.mandatoryFeatures;
      parameter = if match ".*[?].*" machine.hostName == null then "?" else "&";
      orNull = condition: value: if condition then value else null;
    in
    {
      name = hostOf machine;
      uri =
        "ssh-ng://${address machine}"
        + (if hostKey == null then "" else "${parameter}base64-ssh-public-host-key=${encoded hostKey}");
      key = orNull (machine.sshKey or null != null) (keyPath machine.sshKey);
      systems = orNull (systemsOf machine != [ ]) (systemsOf machine);
      features = orNull (given "supportedFeatures" || machine.mandatoryFeatures != [ ]) features;
      mandatory = orNull (machine.mandatoryFeatures != [ ]) machine.mandatoryFeatures;
      slots = orNull (given "maxJobs") machine.maxJobs;
      speed_factor = orNull (given "speedFactor") machine.speedFactor;
    };

  # Names are unique: the second `big` is `big-2`.
  named =
    builders:
    let
      before = index: filter (other: other.name == (at index).name) (genList at index);
      at = builtins.elemAt builders;
      numbered =
        index:
        let
          same = length (before index);
        in
        at index // (if same == 0 then { } else { name = "${(at index).name}-${toString (same + 1)}"; });
    in
    genList numbered (length builders);

  # The line of /etc/nix/machines, as Nix reads it.
  line =
    machine:
    concatStringsSep " " [
      ((if machine.protocol == null then "" else "${machine.protocol}://") + address machine)
      (orDash (systemsOf machine))
      (if machine.sshKey or null == null then "-" else machine.sshKey)
      (toString machine.maxJobs)
      (toString machine.speedFactor)
      (orDash (machine.supportedFeatures ++ machine.mandatoryFeatures))
      (orDash machine.mandatoryFeatures)
      (if machine.publicHostKey or null == null then "-" else machine.publicHostKey)
    ];
}
