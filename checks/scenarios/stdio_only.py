"""Does a builder build whose key is locked to `nix-daemon --stdio`, with systems and features from the configuration?"""

from __future__ import annotations

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder", "access": "stdio-only"}}


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)

    with subtest("it is healthy, with what the configuration says"):
        table = {"uri": uri("b1"), "systems": ["x86_64-linux"], "features": ["big-parallel"], "slots": 2}
        coordinator.start(builders=[table])
        coordinator.wait_for_health("healthy", "b1")
        row = coordinator.builder("b1")
        assert row["systems"] == ["x86_64-linux"] and row["slots"] == 2 and "big-parallel" in row["features"], row

    with subtest("it builds"):
        assert {ran_on(path, [b1]) for path in nix_build(localmachine, several(4))} == {"b1"}
