# The machines of switched.py: both are what the modules make of them.
{
  lib,
  pkgs,
  muster,
  modules,
  keys,
}:
let
  # The same program, which lies elsewhere.
  otherMuster = pkgs.symlinkJoin {
    name = "muster-other";
    paths = [ muster ];
    meta.mainProgram = "muster";
  };
  daemon.nix.settings.connect-timeout = 7;
in
{
  localmachine = {
    system.switch.enable = true;
    imports = [ modules.nixosModules.coordinator ];
    services.muster.package = lib.mkDefault muster;
    services.muster.coordinator = {
      enable = true;
      forceRemote = true;
      builders.b1 = {
        identityFile = "/root/.ssh/remotebuild";
        hostKey = keys.snakeOilPublicKey;
        slots = 2;
      };
    };
    specialisation = {
      setting.configuration.services.muster.coordinator.settings.timeouts.lost_after = "70s";
      muster.configuration.services.muster.package = otherMuster;
      nix.configuration = daemon;
    };
  };

  b1 = {
    system.switch.enable = true;
    services.muster.package = lib.mkDefault muster;
    services.muster.builder.agent.enable = true;
    # A host key that the other one can know beforehand.
    environment.etc."ssh/known" = {
      source = keys.snakeOilPrivateKey;
      mode = "0600";
    };
    services.openssh.hostKeys = [
      {
        path = "/etc/ssh/known";
        type = "ecdsa";
      }
    ];
    specialisation.nix.configuration = daemon;
  };
}
