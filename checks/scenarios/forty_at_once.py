"""Does one builder whose sshd allows ten sessions run forty builds at once?"""

from __future__ import annotations

from lib import Coordinator, Machine, processes, several, start_all, start_build, subtest, uri, wait_for

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder", "nix_conf": {"build-users-group": ""}}}
COUNT = 40


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    coordinator.start('[endpoint]\nlook_ahead = 1\n', builders=[{"uri": uri("b1"), "slots": COUNT}])
    coordinator.wait_for_health("healthy", "b1")

    with subtest("all run at the same time"):
        meet = "cat /labhost >$out; sleep 8.25"
        build = start_build(localmachine, several(COUNT, script=meet))
        wait_for(lambda: processes(b1, "sleep 8.25") >= COUNT, f"{COUNT} builds at once", 30)

    with subtest("and succeed, with a few connections"):
        connections = int(localmachine.succeed("ss -Htn state established dst 10.42.0.11 | wc -l"))
        assert connections <= 6, connections
        assert len(build.succeed(60).split()[-COUNT:]) == COUNT
        assert coordinator.builder("b1")["lost"] == 0, coordinator.log()
