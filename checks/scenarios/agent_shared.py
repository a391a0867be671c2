"""Do two coordinators share a builder's slots, never more than there are, and does one have them all when the other wants none?"""

from __future__ import annotations

from lib import Agent, Coordinator, Machine, processes, ran_on, several, start_all, start_build, subtest, uri, wait_for

needs = ("command:builder",)
not_over = {"stdio-only": "a key that starts one command claims no builder"}
nodes = {"one": {"role": "coordinator"}, "two": {"role": "coordinator"}, "b1": {"role": "builder"}}
SLOTS = 4


def script(one: Machine, two: Machine, b1: Machine) -> None:
    start_all()
    agent = Agent(b1)
    agent.start(f"--slots {SLOTS}")
    coordinators = [Coordinator(one), Coordinator(two)]
    for coordinator in coordinators:
        coordinator.start('[endpoint]\nlocal = "never"\n', builders=[{"uri": uri("b1"), "slots": SLOTS}])
        coordinator.wait_for_health("healthy", "b1")
    agent.wait_for_claims(2)

    with subtest("both want all: each has half, and together they never run more than there are slots"):
        builds = [start_build(machine, several(6, script="cat /labhost >$out; sleep 2.25")) for machine in (one, two)]
        most = [0]

        def fair() -> bool:
            most[0] = max(most[0], processes(b1, "sleep 2.25"))
            return {claim["running"] for claim in agent.claims()} == {SLOTS // 2}

        wait_for(fair, "each runs half")
        while any(build.is_running() for build in builds):
            fair()
        assert 2 <= most[0] <= SLOTS, most
        for build in builds:
            assert {ran_on(path, [b1]) for path in build.succeed(60).split()[-6:]} == {"b1"}

    with subtest("one alone has all"):
        build = start_build(one, several(SLOTS, script="cat /labhost >$out; sleep 3.5"))
        wait_for(lambda: processes(b1, "sleep 3.5") == SLOTS, "all run at once", 10)
        build.succeed(30)

    with subtest("what the builder's owner drains gets nothing new, and says by whom"):
        b1.succeed("muster builder drain")
        coordinators[0].wait_for(lambda rows: rows["b1"]["drained"] == "root", "drained")
        build = start_build(one, several(1))
        wait_for(lambda: "drained by root" in one.succeed("muster status"), "it says so")
        assert build.is_running()
        b1.succeed("muster builder undrain")
        build.succeed(30)

    with subtest("whose login is not allowed has no claim, and hears why"):
        b1.succeed("muster builder release")
        wait_for(agent.has_ended, "it ends", 10)
        # An agent that knows nobody but root.
        b1.succeed("setsid muster builder </dev/null >>/var/log/muster-builder.log 2>&1 &")
        coordinators[0].restart()
        wait_for(lambda: "wants --allow-user remotebuild" in coordinators[0].log(), "it is refused")
