"""Can two machines each be builder and coordinator of the other?"""

from __future__ import annotations

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, start_build, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"here": {"role": "both"}, "there": {"role": "both"}}
SLOW = "cat /labhost >$out; sleep 1"


def script(here: Machine, there: Machine) -> None:
    start_all()
    pairs = [(Coordinator(here), here, there), (Coordinator(there), there, here)]
    for coordinator, _, other in pairs:
        coordinator.start(builders=[uri(other.name)])
    for coordinator, _, other in pairs:
        coordinator.wait_for_health("healthy", other.name)

    with subtest("each builds on the other"):
        for _, machine, other in pairs:
            assert {ran_on(path, [other]) for path in nix_build(machine, several(2))} == {other.name}

    with subtest("also at the same time, and nothing goes round in circles"):
        builds = [start_build(machine, several(3, script=SLOW)) for _, machine, _ in pairs]
        for build in builds:
            build.succeed(60)
        for coordinator, _, other in pairs:
            assert coordinator.status()["totals"]["built_by"] == {other.name: 5}
