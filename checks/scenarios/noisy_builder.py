"""Is a builder named whose shell talks on stdout, while a banner on stderr is no fault?"""

from __future__ import annotations

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

    with subtest("builds succeed all the same, since its daemon's socket is reached past the shell"):
        coordinator.wait_for_health("healthy", "b1")
        assert {ran_on(path, [b1, b2]) for path in nix_build(localmachine, several(4))} <= {"b1", "b2"}
