"""Does the tutorial's line in nix.conf, with its quotes and its wrong key, lead to a working cluster?"""

from __future__ import annotations

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, subtest

needs = ("uri:ssh-ng://remotebuild@b1", "command:setup")
nodes = {
    "localmachine": {
        "role": "coordinator",
        "nix_conf": {
            # As the tutorial's shell writes it. The key that it made is called remotebuild.
            "builders": 'ssh-ng://remotebuild@b1 "x86_64-linux" /root/.ssh/remotemachine - - nixos-test,big-parallel,kvm',
            "builders-use-substitutes": "true",
        },
    },
    "b1": {"role": "builder"},
}
CONF = "/etc/nix/nix.conf"


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)

    with subtest("stock Nix can't use the line"):
        localmachine.fail("timeout 20 nix-build --no-out-link -j0 -E '" + several(1).replace("''", '"') + "'")

    with subtest("muster takes it without its quotes, and names the key that is missing"):
        coordinator.start('[timeouts]\nretry_max = "2s"\n')
        coordinator.wait_for_health("down", "b1")
        assert "/root/.ssh/remotemachine" in coordinator.builder("b1")["reason"], coordinator.builder("b1")
        assert "quot" in coordinator.log(), coordinator.log()

    with subtest("doctor names the key that is missing, and the one beside it"):
        said = coordinator.doctor("b1")
        assert "/root/.ssh/remotemachine is not there" in said and "/root/.ssh/remotebuild" in said.split("fix: ")[1], said

    with subtest("with the right key it is healthy, without a restart"):
        localmachine.succeed(f"sed -i s,/root/.ssh/remotemachine,/root/.ssh/remotebuild, {CONF}")
        coordinator.wait_for_health("healthy", "b1")
        assert coordinator.builder("b1")["systems"] == ["x86_64-linux"]

    with subtest("after muster setup Nix builds there"):
        before = localmachine.succeed(f"cat {CONF}")
        localmachine.succeed("muster setup 2>&1")
        localmachine.systemctl("restart nix-daemon")
        assert {ran_on(path, [b1]) for path in nix_build(localmachine, several(2))} == {"b1"}

    with subtest("muster setup --undo leaves not a byte behind"):
        localmachine.succeed("muster setup --undo 2>&1")
        assert localmachine.succeed(f"cat {CONF}") == before
