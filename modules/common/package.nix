# What both roles share.
{ lib, pkgs, ... }:
{
  options.services.muster.package = lib.mkOption {
    type = lib.types.package;
    default =
      pkgs.muster
        or (throw "services.muster.package: no package: use this flake's modules or its overlay, or set the option");
    defaultText = lib.literalExpression "inputs.muster.packages.\${system}.muster";
    description = "The muster that runs.";
  };
}
