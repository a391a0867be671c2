{
  inputs.muster.url = "git+file:///srv/muster"; # wherever this repository lies
  outputs =
    { muster, ... }:
    {
      nixosModules.b1 = {
        imports = [ muster.nixosModules.builder ];
        services.muster.builder.enable = true;
        services.muster.builder.authorizedKeyFiles = [ ./remotebuild.pub ];
      };
      nixosModules.home = {
        imports = [ muster.nixosModules.coordinator ];
        services.muster.coordinator.enable = true;
        services.muster.coordinator.builders.b1.identityFile = "/root/.ssh/remotebuild";
      };
    };
}
