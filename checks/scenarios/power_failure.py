"""Does a build succeed elsewhere when its builder loses power?"""

from __future__ import annotations

import time

from lib import Coordinator, Machine, Wiretap, derivation, ran_on, start_all, start_build, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}, "b2": {"role": "builder"}}
LENGTH = 8


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    coordinator.start(builders=[uri("b1"), uri("b2")])
    coordinator.wait_for_health("healthy", "b1", "b2")

    with subtest("a build runs on one of them"):
        build = start_build(localmachine, derivation("long", f"cat /labhost >$out; sleep {LENGTH}"))
        coordinator.wait_for(lambda rows: any(row["busy"] for row in rows.values()), "a build")
        busy = next(row["name"] for row in coordinator.status()["builders"] if row["busy"])
        time.sleep(2)

    with subtest("that one loses power; the build succeeds, at most 12 s after a full rerun begun at the loss"):
        lost, other = (b1, b2) if busy == "b1" else (b2, b1)
        wiretap = Wiretap(localmachine)
        lost.crash()
        began = time.monotonic()
        said = build.succeed(60)
        assert time.monotonic() - began <= LENGTH + 12
        assert wiretap.goodbyes(lost) == 0, "the builder said goodbye: that was no power failure"
        assert ran_on(said.split()[-1], [other]) == other.name

    with subtest("the user was told, and the builder gets nothing more"):
        assert f"{lost.name} does not answer" in said, said
        row = coordinator.builder(lost.name)
        assert row["health"] in ("suspect", "probing", "down"), row
