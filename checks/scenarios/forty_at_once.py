"""Does one builder whose sshd allows ten sessions run forty builds at once?"""

from __future__ import annotations

from lib import AT_GATE, GATE, HERE, Coordinator, Machine, close_gate, open_gate, several, start_all, start_build, subtest, uri, wait_for

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder", "nix_conf": {**GATE, "build-users-group": ""}}}
COUNT = 40


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    close_gate(b1)
    coordinator = Coordinator(localmachine)
    coordinator.start('[endpoint]\nlook_ahead = 1\n', builders=[{"uri": uri("b1"), "slots": COUNT}])
    coordinator.wait_for_health("healthy", "b1")

    with subtest("all run at the same time"):
        build = start_build(localmachine, several(COUNT, script=f"{HERE}; echo begun; {AT_GATE}"))
        wait_for(lambda: build.output().count("begun") == COUNT, f"{COUNT} builds at once", 40)

    with subtest("over a few connections, and all succeed"):
        connections = int(localmachine.succeed("ss -Htn state established dst 10.42.0.11 | wc -l"))
        assert connections <= 8, connections
        open_gate(b1)
        assert len(set(build.succeed(60).split()[-COUNT:])) == COUNT
        assert coordinator.builder("b1")["lost"] == 0, coordinator.log()
