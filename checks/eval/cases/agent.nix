# The builder's agent on NixOS.
{ tools, ... }:
let
  inherit (tools)
    complains
    contains
    equal
    holds
    lacks
    lib
    nixos
    refuses
    ;
  key = lib.removeSuffix "\n" (builtins.readFile ../data/remotebuild.pub);
  with' =
    agent:
    nixos {
      services.muster.builder = {
        enable = true;
        authorizedKeys = [ key ];
        inherit agent;
      };
    };
  plain = with' { };
  all = with' {
    slots = 8;
    idleTimeout = "10min";
    onIdle = "fail";
    leaseTimeout = "45s";
    maxLifetime = "6h";
    ephemeral = true;
    releaseCommand = "systemctl poweroff";
    allowTags = [
      "tag:ci"
      "tag:home"
    ];
  };
  unit = config: name: config.systemd.units.${name}.text;
  service = config: unit config "muster-builder.service";
in
{
  "no assertion fails" = equal [ ] (tools.messages plain ++ tools.messages all);
  "it runs unless it is switched off" = holds (plain.systemd.services ? muster-builder);
  "switched off, there is none" = holds (
    !((with' { enable = false; }).systemd.services ? muster-builder)
  );
  "what is not said is left to muster" =
    contains "/bin/muster builder --socket /run/muster-builder/agent.sock --allow-user remotebuild\n" (
      service plain
    );
  "all that can be said" =
    contains " builder --socket /run/muster-builder/agent.sock --slots 8 --idle-timeout 10min --on-idle fail --lease-timeout 45s --max-lifetime 6h --ephemeral --release-command \"touch /run/muster-builder/released\" --allow-user remotebuild --allow-tag tag:ci --allow-tag tag:home\n" (
      service all
    );
  "whom the tailnet lets log in may claim" = contains " --allow-user remotebuild --allow-user eva\n" (
    service (nixos {
      services.muster.builder = {
        enable = true;
        tailscale = {
          enable = true;
          authKeyFile = "/run/key";
          sshUser = "eva";
        };
      };
      users.users.eva.isNormalUser = true;
    })
  );
  "muster is at hand" = holds (
    lib.elem plain.services.muster.package plain.environment.systemPackages
  );
  "it runs as a user of its own, so that a coordinator cannot drain or release it" =
    contains "User=muster-builder\n" (service plain);
  "it is locked down, and has no network" =
    equal
      [
        true
        true
        true
      ]
      (
        map (line: lib.hasInfix line (service plain)) [
          "ProtectSystem=strict\n"
          "NoNewPrivileges=true\n"
          "RestrictAddressFamilies=AF_UNIX\n"
        ]
      );
  "an end that was asked for is no reason to start again" =
    contains "Restart=on-failure\nRestartPreventExitStatus=2\nRestartPreventExitStatus=3\n" (
      service plain
    );
  "root runs the release command once the agent has left its mark" =
    equal
      [ true true ]
      [
        (lib.hasInfix "PathExists=/run/muster-builder/released\n" (unit all "muster-builder-released.path"))
        (lib.hasSuffix "rm -f /run/muster-builder/released\nsystemctl poweroff\n" all.systemd.services.muster-builder-released.script)
      ];
  "without a command nobody waits for a mark" =
    equal
      [ false true ]
      [
        (plain.systemd.paths ? muster-builder-released)
        (tools.lacks "release-command" (service plain)).actual
      ];
  "a switch restarts it in one go" = holds (!plain.systemd.services.muster-builder.stopIfChanged);

  "a release command of a builder that stays" =
    complains [ "releaseCommand" "agent.ephemeral = true" ]
      (with' {
        releaseCommand = "true";
      });
  "an end for want of work that never comes" = complains [ "onIdle" "idleTimeout" ] (with' {
    onIdle = "pass";
  });
  "a time that is none is refused" = refuses (
    service (with' {
      idleTimeout = "soon";
    })
  );
  "a tag that is none is refused" = refuses (
    service (with' {
      allowTags = [ "ci" ];
    })
  );
  "a word for the end that does not exist is refused" = refuses (
    service (with' {
      idleTimeout = "1h";
      onIdle = "maybe";
    })
  );
  "its options are quoted for systemd" = lacks "$(" (
    service (with' {
      ephemeral = true;
      releaseCommand = "echo $(id)";
    })
  );
}
