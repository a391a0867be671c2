"""Do builds wait, visibly, while all builders are gone, and go on with the first that returns, however it flaps?"""

from __future__ import annotations

import time

from lib import QUICK, Coordinator, Machine, ran_on, several, start_all, start_build, subtest, uri, wait_for

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}, "b2": {"role": "builder"}}


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    coordinator.start(QUICK, builders=[uri("b1"), uri("b2")])
    coordinator.wait_for_health("healthy", "b1", "b2")

    with subtest("both lose power under two builds, which wait and say for whom"):
        build = start_build(localmachine, several(2, script="cat /labhost >$out; echo begun; sleep 2"))
        wait_for(lambda: build.output().count("begun") == 2, "both builds have begun")
        b1.crash()
        b2.crash()
        coordinator.wait_for_health("down", "b1", "b2")
        wait_for(lambda: "waits for a builder of x86_64-linux" in build.output(), "the user is told")
        assert build.is_running()

    with subtest("one returns, and both are built there"):
        b2.start()
        said = build.succeed(30)
        paths = said.split()[-2:]
        assert {ran_on(path, [b2]) for path in paths} == {"b2"}, said

    with subtest("one that comes and goes costs time, but no build"):
        b1.start()
        coordinator.wait_for_health("healthy", "b1", "b2")
        build = start_build(localmachine, several(8, script="cat /labhost >$out; sleep 1"))
        for _ in range(3):
            time.sleep(1)
            b1.succeed("pkill -KILL -f 'sshd.*[r]emotebuild' || true")
            b1.block()
            time.sleep(1)
            b1.unblock()
        for path in build.succeed(60).split()[-8:]:
            ran_on(path, [b1, b2])
