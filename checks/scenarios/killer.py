"""Is a derivation that kills its builders failed at its third victim, while the builders stay usable?"""

from __future__ import annotations

from lib import QUICK, Coordinator, Machine, derivation, nix_build, processes, ran_on, several, start_all, start_build, subtest, uri, wait_for

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}, "b2": {"role": "builder"}, "b3": {"role": "builder"}}


def script(localmachine: Machine, b1: Machine, b2: Machine, b3: Machine) -> None:
    start_all()
    builders = [b1, b2, b3]
    coordinator = Coordinator(localmachine)
    coordinator.start(QUICK, builders=[uri(builder.name) for builder in builders])
    coordinator.wait_for_health("healthy", "b1", "b2", "b3")

    with subtest("it takes the power from one builder after the other, and fails"):
        build = start_build(localmachine, derivation("killer", "echo begun; sleep 4711"))
        alive = list(builders)
        while alive:
            wait_for(lambda: any(processes(builder, "sleep 4711") for builder in alive), "it runs")
            victim = next(builder for builder in alive if processes(builder, "sleep 4711"))
            victim.crash()
            alive.remove(victim)
        status, said = build.wait(30)
        assert status != 0 and all(builder.name in said.rpartition("error:")[0] + said for builder in builders), said

    with subtest("the builders are used again as soon as they are back"):
        start_all()
        coordinator.wait_for_health("healthy", "b1", "b2", "b3")
        paths = nix_build(localmachine, several(6, script="cat /labhost >$out; sleep 1"))
        assert {ran_on(path, builders) for path in paths} == {"b1", "b2", "b3"}
