"""What does a cable cost that leads nowhere for a moment, and for long?"""

from __future__ import annotations

from lib import QUICK, Coordinator, Machine, derivation, processes, ran_on, start_all, start_build, subtest, uri, wait_for

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}, "b2": {"role": "builder"}}


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    localmachine.start()
    b1.start()
    coordinator = Coordinator(localmachine)
    coordinator.start(QUICK, builders=[uri("b1"), uri("b2")])
    coordinator.wait_for_health("healthy", "b1")

    with subtest("packets vanish for less than lost_after: the same build goes on"):
        build = start_build(localmachine, derivation("brief", "cat /labhost >$out; echo begun; sleep 5"))
        wait_for(lambda: "begun" in build.output(), "the build has begun")
        b1.block(drop=True)
        coordinator.wait_for_health("suspect", "b1")
        b1.unblock()
        said = build.succeed(30)
        assert said.count("begun") == 1, said
        coordinator.wait_for_health("healthy", "b1")

    with subtest("packets vanish for longer: it begins again elsewhere"):
        build = start_build(localmachine, derivation("long", "cat /labhost >$out; echo begun; grep -q b2 /labhost || sleep 4711"))
        wait_for(lambda: "begun" in build.output(), "the build has begun")
        start_all()
        coordinator.wait_for_health("healthy", "b1", "b2")
        b1.block(drop=True)
        said = build.succeed(30)
        assert said.count("begun") == 2 and "b1 does not answer" in said, said
        assert ran_on(said.split()[-1], [b2]) == "b2"
        coordinator.wait_for_health("down", "b1")

    with subtest("the first one comes back by itself, and what ran there has ended"):
        assert processes(b1, "sleep 4711") > 0
        b1.unblock()
        coordinator.wait_for_health("healthy", "b1")
        wait_for(lambda: processes(b1, "sleep 4711") == 0, "the forgotten build ends", 20)
