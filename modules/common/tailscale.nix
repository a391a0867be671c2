# A machine that joins a tailnet: what both roles and both platforms have in common.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.muster;

  joins = role: (cfg.${role}.enable or false) && cfg.${role}.tailscale.enable;
  roles = lib.filter joins [
    "builder"
    "coordinator"
  ];
  role = lib.head roles;
  path = "services.muster.${role}.tailscale";
  chosen = cfg.${role}.tailscale;

  default = lib.mkOverride 900;
in
{
  options.services.muster.joining = mkOption {
    type = types.nullOr (types.attrsOf types.anything);
    internal = true;
    readOnly = true;
    description = "What `muster join` is told; `null` where nobody asks for that.";
  };

  config = lib.mkMerge [
    {
      services.muster.joining =
        if roles == [ ] then
          null
        else
          removeAttrs chosen [
            "enable"
            "sshUser"
          ]
          // {
            inherit role;
            tailscale =
              if config.services.tailscale.enable then
                lib.getExe' config.services.tailscale.package "tailscale"
              else
                null;
          };
    }
    (lib.mkIf (roles != [ ]) {
      services.tailscale.enable = default true;

      assertions = [
        {
          assertion = chosen.authKeyFile != null;
          message = ''
            ${path}: there is nothing to join with. Put an auth key, or the secret of an OAuth client, into a file on this
            machine and name it: ${path}.authKeyFile = "/run/secrets/tailscale".
          '';
        }
        {
          assertion = chosen.authKeyFile == null || !lib.hasPrefix builtins.storeDir chosen.authKeyFile;
          message = ''
            ${path}.authKeyFile lies in the store, where everybody can read it. Write the path in quotation marks, and put
            the file there.
          '';
        }
        {
          assertion = lib.length roles == 1;
          message = ''
            services.muster.builder.tailscale and services.muster.coordinator.tailscale both bring this machine into a
            tailnet, where it is one machine with one name. Enable services.muster.builder.tailscale alone, with the tags of both.
          '';
        }
      ];
    })
  ];
}
