"""Do twelve running builds succeed although the coordinator is killed and restarted under them?"""

from __future__ import annotations

from lib import Coordinator, Machine, processes, ran_on, several, start_all, start_build, subtest, uri, wait_for

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}, "b2": {"role": "builder"}, "b3": {"role": "builder"}}
COUNT = 12


def script(localmachine: Machine, b1: Machine, b2: Machine, b3: Machine) -> None:
    start_all()
    builders = [b1, b2, b3]
    coordinator = Coordinator(localmachine)
    coordinator.start(builders=[{"uri": uri(builder.name), "slots": 4} for builder in builders])
    coordinator.wait_for_health("healthy", "b1", "b2", "b3")

    with subtest("twelve builds run"):
        build = start_build(localmachine, several(COUNT, script="cat /labhost >$out; echo begun; sleep 3.25"))
        wait_for(lambda: build.output().count("begun") == COUNT, "all run")

    with subtest("the coordinator is killed: the remote builds end, and no ssh is left"):
        coordinator.kill()
        wait_for(lambda: sum(processes(builder, "sleep 3.25") for builder in builders) == 0, "the remote builds end", 2)
        wait_for(lambda: processes(localmachine, "ssh -") == 0, "no ssh is left", 2)
        assert build.is_running()

    with subtest("the next one builds them all"):
        coordinator.launch()
        said = build.succeed(60)
        assert {ran_on(path, builders) for path in said.split()[-COUNT:]} == {"b1", "b2", "b3"}, said
        assert said.count("begun") == 2 * COUNT, said.count("begun")
