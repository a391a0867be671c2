# The README's flake, as it stands there.
{ tools, ... }:
let
  inherit (tools) contains equal plainNixos;
  example = (import ../example/flake.nix).outputs { muster = tools.modules; };
  b1 = plainNixos example.nixosModules.b1;
  home = plainNixos example.nixosModules.home;
in
{
  "no assertion fails" = equal [ ] (tools.messages b1 ++ tools.messages home);
  "b1 lets the key in" =
    contains "/bin/muster builder serve\" ssh-ed25519 "
      b1.environment.etc."ssh/authorized_keys.d/remotebuild".source.text;
  "home knows b1" =
    contains "uri = \"ssh-ng://remotebuild@b1\"\n" home.services.muster.coordinator.configText;
  "home's Nix asks muster" =
    contains "\nbuilders = @/run/muster/machines\n"
      home.environment.etc."nix/nix.conf".source.text;
}
