# The machine that asks for builds: what Linux and macOS have in common.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  cfg = config.services.muster.coordinator;
  mine = import ../lib;

  # Stronger than a default of NixOS, weaker than whatever the user writes.
  default = lib.mkOverride 900;

  orNull = list: if list == [ ] then null else list;
  tableOf = name: builder: {
    inherit name;
    inherit (builder) systems features slots;
    uri =
      "ssh-ng://"
      + lib.optionalString (builder.user != null) "${builder.user}@"
      + (if lib.hasInfix ":" builder.host then "[${builder.host}]" else builder.host)
      + lib.optionalString (builder.port != null) ":${toString builder.port}";
    key = if builder.identityFile == null then null else cfg.keyPath builder.identityFile;
    host_key = builder.hostKey;
    mandatory = orNull builder.mandatoryFeatures;
    labels = orNull builder.labels;
    speed_factor = builder.speedFactor;
  };

  # As the configuration has it, with the key where the coordinator can read it.
  tailscaleTable =
    source:
    lib.filterAttrs (_: value: value != null) (
      source
      // {
        names = orNull source.names;
        key = if source.key == null then null else cfg.keyPath source.key;
      }
    );

  # What the user wrote in each entry, before defaults were filled in; where that cannot be told, everything counts as written.
  written =
    let
      raw = lib.concatLists options.nix.buildMachines.definitions;
    in
    if lib.length raw == lib.length config.nix.buildMachines then raw else config.nix.buildMachines;
  entries = lib.zipListsWith (machine: raw: {
    inherit machine;
    given = field: !lib.isAttrs raw || raw ? ${field};
    inherit (cfg) keyPath;
  }) config.nix.buildMachines written;

  adopted = lib.optionals cfg.adoptBuildMachines (
    lib.filter (entry: mine.machines.isAdoptable entry.machine) entries
  );
  left = lib.filter (
    machine: !(cfg.adoptBuildMachines && mine.machines.isAdoptable machine)
  ) config.nix.buildMachines;

  # A machine is the same under its address and, with aliases, under the name that we give it.
  isSame =
    machine: name: builder:
    mine.machines.portOf machine == (if builder.port == null then 22 else builder.port)
    && lib.elem (mine.machines.hostOf machine) ([ builder.host ] ++ lib.optional cfg.sshAliases name);
  named = machine: lib.attrNames (lib.filterAttrs (isSame machine) cfg.builders);
  twice = lib.concatMap named (lib.filter mine.machines.isAdoptable config.nix.buildMachines);

  secrets = lib.unique (
    lib.filter (path: path != null) (
      lib.mapAttrsToList (_: builder: builder.identityFile) cfg.builders
      ++ map (entry: entry.machine.sshKey) adopted
      ++ map (source: source.key) cfg.sources.tailscale
      ++ cfg.identityFiles
    )
  );

  configFile = pkgs.writeText "muster.toml" cfg.configText;
  canRun = pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform;
  checkedFile =
    if !canRun then
      configFile
    else
      pkgs.runCommand "muster-checked.toml" { } ''
        ${lib.getExe config.services.muster.package} check-config \
          --runtime-dir ${cfg.runtimeDir} --state-dir /var/lib/muster ${configFile}
        ln -s ${configFile} $out
      '';

  buildersSetting = config.nix.settings.builders or null;
  buildersText = toString buildersSetting;
in
{
  imports = [
    ./coordinator-options.nix
    ./package.nix
    ./tailscale.nix
  ];

  config = lib.mkIf cfg.enable {
    services.muster.coordinator = {
      inherit secrets;
      configText = mine.toml cfg.settings;
      settings = {
        attach = default cfg.attach;
        builder = map (lib.filterAttrs (_: value: value != null)) (
          mine.machines.named (lib.mapAttrsToList tableOf cfg.builders ++ map mine.machines.builder adopted)
        );
        source =
          lib.optional cfg.sources.machines { machines = true; }
          ++ map (source: {
            exec = source.command;
            inherit (source) interval;
          }) cfg.sources.exec
          ++ map (source: { tailscale = tailscaleTable source; }) cfg.sources.tailscale;
        # nix.conf is made here, so that nobody has to write into Nix's own machines file.
        endpoint.install = default false;
      };
    };

    environment.systemPackages = [ config.services.muster.package ];
    environment.etc."muster/config.toml".source = checkedFile;
    environment.etc."muster/machines" = lib.mkIf (left != [ ]) {
      text = lib.concatMapStrings (machine: "${mine.machines.line machine}\n") left;
    };

    nix.distributedBuilds = default true;
    nix.settings = {
      builders = default (
        "@${cfg.runtimeDir}/machines" + lib.optionalString (left != [ ]) " ; @/etc/muster/machines"
      );
      builders-use-substitutes = default cfg.useSubstitutes;
      max-jobs = lib.mkIf cfg.forceRemote 0;
    };

    programs.ssh = lib.mkIf cfg.sshAliases {
      extraConfig = lib.mkAfter (
        lib.concatStrings (
          lib.mapAttrsToList (
            name: builder:
            mine.ssh.alias {
              inherit name;
              inherit (builder)
                host
                port
                user
                identityFile
                ;
            }
          ) cfg.builders
        )
        + lib.optionalString (cfg.builders != { }) "Match all\n"
      );
      knownHosts = lib.mapAttrs (name: builder: {
        hostNames = lib.unique (
          mine.ssh.knownAs builder
          ++ mine.ssh.knownAs {
            host = name;
            inherit (builder) port;
          }
        );
        publicKey = builder.hostKey;
      }) (lib.filterAttrs (_: builder: builder.hostKey != null) cfg.builders);
    };

    assertions = [
      {
        assertion = lib.any (key: cfg.settings.${key} or [ ] != [ ]) [
          "builder"
          "source"
          "expect"
        ];
        message = ''
          services.muster.coordinator: there is no builder and nothing that finds one. Name one in
          services.muster.coordinator.builders or nix.buildMachines, or set services.muster.coordinator.sources.
        '';
      }
      {
        assertion = twice == [ ];
        message = ''
          services.muster.coordinator.builders.${lib.head (twice ++ [ "" ])} and an entry of nix.buildMachines are one machine, which would be offered
          twice. Keep one of them: muster takes what nix.buildMachines says over as it stands.
        '';
      }
      {
        assertion = lib.all (
          source: source.tag != null || source.prefix != null || source.names != [ ]
        ) cfg.sources.tailscale;
        message = ''
          services.muster.coordinator.sources.tailscale: an entry names none of tag, prefix and names, so every machine of
          the tailnet would be a builder. Give the builders a tag, and say tag = "tag:nix-builder".
        '';
      }
      {
        assertion = lib.all (path: !lib.hasPrefix builtins.storeDir path) secrets;
        message = ''
          services.muster.coordinator: a private key lies in the store, where everybody can read it: ${lib.concatStringsSep ", " (lib.filter (lib.hasPrefix builtins.storeDir) secrets)}. Write the path in quotation marks, as in identityFile = "/root/.ssh/remotebuild", and put the file there.
        '';
      }
      {
        assertion = lib.hasInfix "@${cfg.runtimeDir}/machines" buildersText;
        message = ''
          services.muster.coordinator: Nix would not read muster's lines, since nix.settings.builders is
          '${buildersText}' (nix.distributedBuilds = false empties it). Move these machines to nix.buildMachines and leave
          nix.settings.builders out, or append " ; @${cfg.runtimeDir}/machines" to it.
        '';
      }
      {
        assertion =
          builtins.match "(.*\n)?[[:space:]]*builders[[:space:]]*=.*" config.nix.extraOptions == null;
        message = ''
          services.muster.coordinator: nix.extraOptions sets builders, which comes last in nix.conf and hides muster's
          lines. Move these machines to nix.buildMachines.
        '';
      }
      {
        assertion = config.nix.enable or true;
        message = ''
          services.muster.coordinator needs nix.conf to be this configuration's: set nix.enable = true, or leave the module
          out and run `muster setup`.
        '';
      }
    ];
  };
}
