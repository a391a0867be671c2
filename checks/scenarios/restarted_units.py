"""Do running builds survive what a switch of the system does: restart the coordinator, the Nix daemon, and both?"""

from __future__ import annotations

from lib import QUICK, Background, Coordinator, Machine, processes, ran_on, several, start_all, start_build, subtest, uri, wait_for

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}}
COUNT = 4


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    # Two run, two are queued.
    coordinator.start(QUICK, builders=[{"uri": uri("b1"), "slots": COUNT // 2}])
    coordinator.wait_for_health("healthy", "b1")

    def running() -> Background:
        build = start_build(localmachine, several(COUNT, script="cat /labhost >$out; echo begun; sleep 2"))
        wait_for(lambda: build.output().count("begun") == COUNT // 2, "half of them run")
        return build

    def succeeds(build: Background, runs: int) -> str:
        said = build.succeed(40)
        assert {ran_on(path, [b1]) for path in said.split()[-COUNT:]} == {"b1"}, said
        assert said.count("begun") == runs, said
        return said

    with subtest("the Nix daemon restarts: nothing begins again"):
        build = running()
        localmachine.systemctl("restart nix-daemon")
        succeeds(build, COUNT)

    with subtest("the coordinator restarts: what ran begins again, and the user is told"):
        build = running()
        took = coordinator.stop()
        assert took < 2, took
        coordinator.launch()
        said = succeeds(build, COUNT + COUNT // 2)
        assert "coordinator" in said, said

    with subtest("both restart at the same time"):
        build = running()
        localmachine.systemctl("restart nix-daemon")
        coordinator.stop()
        localmachine.systemctl("stop nix-daemon")
        coordinator.launch(wait=False)
        localmachine.systemctl("start nix-daemon")
        succeeds(build, COUNT + COUNT // 2)

    with subtest("nothing is left of all this"):
        wait_for(lambda: processes(localmachine, "muster --stdio") == 0, "the clients' ends are gone", 5)
        assert processes(localmachine, "muster coordinator") == 1, localmachine.succeed("ps axf")
