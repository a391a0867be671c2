# What can be said of the builder's agent.
{ lib }:
let
  inherit (lib) mkOption types;
  duration = types.strMatching "[0-9]+(ms|s|m|min|h|d|day|days)( *[0-9]+(ms|s|m|min|h|d))*";
in
{
  enable = mkOption {
    type = types.bool;
    default = true;
    description = ''
      Whether muster's agent runs here: it tells coordinators how busy this machine is, shares its slots among them, and
      notices when they are gone. Without it the machine builds all the same.
    '';
  };
  slots = mkOption {
    type = types.nullOr types.ints.positive;
    default = null;
    description = "Builds at once, for all coordinators together. `null`: as many as cores, memory and build users allow, and then learned.";
  };
  idleTimeout = mkOption {
    type = types.nullOr duration;
    default = null;
    example = "10min";
    description = "How long nobody may have claimed this machine before the agent ends. `null`: for ever.";
  };
  leaseTimeout = mkOption {
    type = types.nullOr duration;
    default = null;
    example = "45s";
    description = "How long a claim lasts unless it is renewed. `null`: as `muster builder` has it.";
  };
  maxLifetime = mkOption {
    type = types.nullOr duration;
    default = null;
    example = "6h";
    description = "How long the agent runs at most. `null`: for ever.";
  };
  ephemeral = mkOption {
    type = types.bool;
    default = false;
    description = "Whether this machine is there for one piece of work: released, it runs `releaseCommand`.";
  };
  releaseCommand = mkOption {
    type = types.nullOr types.str;
    default = null;
    example = "systemctl poweroff";
    description = "What root's shell runs when an ephemeral builder is released.";
  };
  allowTags = mkOption {
    type = types.listOf (types.strMatching "tag:[A-Za-z][A-Za-z0-9-]*");
    default = [ ];
    example = [ "tag:nix-coordinator" ];
    description = "Tags of the tailnet whose machines may claim this one. None: whoever may log in.";
  };
}
