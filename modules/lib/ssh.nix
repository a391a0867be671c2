# Sections of ssh's and sshd's configuration. Each ends with one that matches everything: what other modules append is not swallowed.
let
  inherit (builtins) concatStringsSep match replaceStrings;
  # ssh expands `%` in a file's name, and a blank would end it.
  file =
    path:
    if match "[A-Za-z0-9/._@+-]+" path != null then
      path
    else
      "\"${replaceStrings [ "%" ] [ "%%" ] path}\"";
  lines = map (line: "${line}\n");
  block =
    head: body:
    concatStringsSep "" ([ "${head}\n" ] ++ map (line: "  ${line}\n") body ++ [ "Match all\n" ]);
  unless = condition: value: if condition then [ ] else [ value ];
in
{
  # What the builders' user may do: commands and the daemon's socket. A coordinator that is gone is noticed after a minute.
  server =
    user:
    block "Match User ${user}" [
      "ClientAliveInterval 15"
      "ClientAliveCountMax 4"
      "AllowStreamLocalForwarding local"
      "AllowTcpForwarding no"
      "AllowAgentForwarding no"
      "X11Forwarding no"
      "PermitTunnel no"
    ];

  # `ssh NAME` reaches the builder as muster does.
  alias =
    {
      name,
      host,
      port ? null,
      user ? null,
      identityFile ? null,
    }:
    concatStringsSep "" (
      lines (
        [
          "Host ${name}"
          "  HostName ${host}"
        ]
        ++ unless (user == null) "  User ${user}"
        ++ unless (port == null) "  Port ${toString port}"
        ++ unless (identityFile == null) "  IdentityFile ${file identityFile}"
      )
    );

  # What root's ssh would know by itself, for the coordinator's own user.
  client =
    {
      user,
      knownHosts,
      identityFiles,
    }:
    block "Match localuser ${user}" (
      [ "UserKnownHostsFile ~/.ssh/known_hosts ${concatStringsSep " " knownHosts}" ]
      ++ map (path: "IdentityFile ${file path}") identityFiles
    );

  # The names that known_hosts has for a host and port.
  knownAs =
    {
      host,
      port ? null,
      ...
    }:
    if port == null || port == 22 then [ host ] else [ "[${host}]:${toString port}" ];
}
