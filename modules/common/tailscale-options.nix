# What can be said of a machine that joins a tailnet, in either role.
{
  lib,
  role,
  tags,
  ssh,
}:
let
  inherit (lib) mkOption types;
in
{
  enable = mkOption {
    type = types.bool;
    default = false;
    description = "Whether `muster join` brings this machine into a tailnet when it starts. tailscaled runs then.";
  };
  authKeyFile = mkOption {
    type = types.nullOr (types.strMatching "/.*");
    default = null;
    example = "/run/secrets/tailscale";
    description = "The file that holds an auth key or an OAuth client's secret: a path in quotation marks, read when the machine joins.";
  };
  hostname = mkOption {
    type = types.nullOr (types.strMatching "[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?");
    default = null;
    example = "b1";
    description = "The name to ask for. `null`: the machine's own.";
  };
  tags = mkOption {
    type = types.listOf (types.strMatching "tag:[A-Za-z][A-Za-z0-9-]*");
    default = tags;
    description = "The tags to have, which the key must be allowed to give; an OAuth client's secret takes one at least.";
  };
  loginServer = mkOption {
    type = types.nullOr (types.strMatching "https?://[^@[:space:]]+");
    default = null;
    example = "https://headscale.example.org";
    description = "The control server. `null`: Tailscale's own.";
  };
  ssh = mkOption {
    type = types.bool;
    default = ssh;
    description = "Whether Tailscale SSH serves here: who may log in is said by the tailnet's policy, without any key.";
  };
  ephemeral = mkOption {
    type = types.nullOr types.bool;
    default = null;
    description = ''
      Whether the tailnet forgets this machine as soon as it is gone, where the file holds an OAuth client's secret; an auth
      key says so itself. `null`: as `muster join` has it.
    '';
  };
  preauthorized = mkOption {
    type = types.bool;
    default = false;
    description = "Whether this machine is approved at once, where the tailnet approves them one by one and the file holds an OAuth client's secret.";
  };
  operator = mkOption {
    type = types.nullOr types.singleLineStr;
    default = null;
    example = "eva";
    description = "A user who may manage Tailscale here without being root.";
  };
  timeout = mkOption {
    type = types.singleLineStr;
    default = "60s";
    description = "How long one try may take. It is tried again until it succeeds.";
  };
}
// lib.optionalAttrs (role == "builder") {
  sshUser = mkOption {
    type = types.nullOr types.singleLineStr;
    default = null;
    example = "root";
    description = ''
      The user that the tailnet's policy lets coordinators log in as, which has to exist. Nix trusts it as it does `user`. `null`: `user` itself.
    '';
  };
}
