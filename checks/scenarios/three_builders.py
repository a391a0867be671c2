"""Do three builders with nothing configured but their names share the work?"""

from __future__ import annotations

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, subtest

needs = ("uri:remotebuild@b1",)
nodes = {
    # The key is where ssh looks by itself.
    "localmachine": {"role": "coordinator", "key": "/root/.ssh/id_ed25519"},
    "b1": {"role": "builder"},
    "b2": {"role": "builder"},
    "b3": {"role": "builder"},
}


def script(localmachine: Machine, b1: Machine, b2: Machine, b3: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    builders = [b1, b2, b3]

    with subtest("all three become healthy"):
        coordinator.start(builders=[f"remotebuild@{builder.name}" for builder in builders])
        coordinator.wait_for(lambda rows: [row["health"] for row in rows.values()] == ["healthy"] * 3, "three healthy builders")

    with subtest("each gets some of the builds"):
        paths = nix_build(localmachine, several(9, script="cat /labhost >$out; sleep 1"))
        assert {ran_on(path, builders) for path in paths} == {"b1", "b2", "b3"}
