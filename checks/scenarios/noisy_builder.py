"""Is a builder named whose shell talks on stdout, while a banner on stderr is no fault?"""

from __future__ import annotations

import re

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1", "command:doctor")
not_over = {"serve": "what a login prints is in the way of all that such a key may do"}
nodes = {
    "localmachine": {"role": "coordinator"},
    "b1": {"role": "builder", "noise": "Welcome to the farm!", "access": "ssh"},
    "b2": {"role": "builder", "banner": "Authorised use only."},
}


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    coordinator.start(builders=[uri("b1"), uri("b2")])

    with subtest("a banner is no fault"):
        coordinator.wait_for_health("healthy", "b2")

    with subtest("what the shell says is named"):
        said = coordinator.doctor("b1")
        assert "Welcome to the farm!" in said and "b1" in said, said

    if ssh_version(localmachine) < (9, 4):
        with subtest("before OpenSSH 9.4 its daemon is only reached through the shell: it is down, and says why"):
            coordinator.wait_for_health("down", "b1")
            assert "Welcome to the farm!" in coordinator.builder("b1")["reason"], coordinator.builder("b1")
            nix_build(localmachine, several(4))
        return

    with subtest("builds succeed all the same, since its daemon's socket is reached past the shell"):
        coordinator.wait_for_health("healthy", "b1")
        assert {ran_on(path, [b1, b2]) for path in nix_build(localmachine, several(4))} <= {"b1", "b2"}


def ssh_version(machine: Machine) -> tuple[int, int]:
    found = re.search(r"OpenSSH_(\d+)\.(\d+)", machine.succeed("ssh -V 2>&1"))
    assert found
    return int(found[1]), int(found[2])
