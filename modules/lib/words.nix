# Command lines of muster, as lists of words, and what systemd makes of such a list. `null` and `false` are left out.
let
  inherit (builtins)
    concatMap
    concatStringsSep
    match
    replaceStrings
    toString
    ;

  # `--name value`, `--name` for true, and once for each value of a list.
  option =
    { name, value }:
    if value == null || value == false then
      [ ]
    else if value == true then
      [ "--${name}" ]
    else if builtins.isList value then
      concatMap (
        each:
        option {
          inherit name;
          value = each;
        }
      ) value
    else
      [
        "--${name}"
        (toString value)
      ];
  options = concatMap option;
  named = name: value: { inherit name value; };
in
{
  # `muster join`, which keeps its secret in a file.
  join =
    {
      role,
      authKeyFile,
      hostname,
      tags,
      loginServer,
      ssh,
      ephemeral,
      preauthorized,
      operator,
      timeout,
      tailscale,
    }:
    [ "join" ]
    ++ options [
      (named "role" role)
      (named "hostname" hostname)
      (named "tag" tags)
      (named "auth-key-file" authKeyFile)
      (named "login-server" loginServer)
      (named (if ssh then "ssh" else "no-ssh") true)
      (named "ephemeral" (ephemeral == true))
      (named "no-ephemeral" (ephemeral == false))
      (named "preauthorized" preauthorized)
      (named "operator" operator)
      (named "timeout" timeout)
      (named "tailscale" tailscale)
    ];

  leave = { tailscale }: [ "leave" ] ++ options [ (named "tailscale" tailscale) ];

  # `muster builder`, the agent.
  agent =
    {
      socket,
      slots,
      idleTimeout,
      onIdle,
      leaseTimeout,
      maxLifetime,
      ephemeral,
      releaseCommand,
      allowUsers,
      allowTags,
    }:
    [ "builder" ]
    ++ options [
      (named "socket" socket)
      (named "slots" slots)
      (named "idle-timeout" idleTimeout)
      (named "on-idle" onIdle)
      (named "lease-timeout" leaseTimeout)
      (named "max-lifetime" maxLifetime)
      (named "ephemeral" ephemeral)
      (named "release-command" releaseCommand)
      (named "allow-user" allowUsers)
      (named "allow-tag" allowTags)
    ];

  # A line of ExecStart=. systemd expands `%` and `$` within quotation marks as well (systemd.service(5)).
  exec =
    let
      word =
        text:
        if match "[A-Za-z0-9_@:,./=+-]+" text != null then
          text
        else
          "\"${replaceStrings [ "\\" "\"" "%" "$" "\n" ] [ "\\\\" "\\\"" "%%" "$$" "\\n" ] text}\"";
    in
    words: concatStringsSep " " (map word words);
}
