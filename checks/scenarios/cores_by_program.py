"""Does a build see the cores that it is given where every channel is a program of its own, which may not listen to options?"""

from __future__ import annotations

from typing import Any

from cores import SAY, said
from lib import AT_GATE, GATE, Coordinator, Machine, close_gate, derivation, open_gate, several, start_all, start_build, subtest, uri, wait_for

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder", "nix_conf": {"cores": "16", **GATE}}}
not_over = {"stdio-only": "a key that starts one command takes no cores; what it does is nix.conf's business"}


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    close_gate(b1)
    coordinator = Coordinator(localmachine)
    table: dict[str, Any] = {"uri": uri("b1") + "&remote-program=nix-daemon", "slots": 4, "cores": 16, "speed_factor": None}
    coordinator.start('[endpoint]\nlocal = "never"\n', builders=[table])
    coordinator.wait_for_health("healthy", "b1")
    wait_for(lambda: "measured builder=b1" in coordinator.log(), "it is tried out")

    with subtest("alone it sees all"):
        build = start_build(localmachine, derivation("alone", SAY + "echo >$out", features=["big-parallel"]))
        assert said(build.wait(60)[1]) == [16], build.output()

    with subtest("beside three others it sees a share"):
        others = start_build(localmachine, several(3, script=SAY + AT_GATE + "; echo >$out"))
        wait_for(lambda: len(said(others.output())) == 3, "three run")
        big = start_build(localmachine, derivation("big", SAY + "echo >$out", features=["big-parallel"]))
        [cores] = said(big.wait(60)[1])
        assert 1 <= cores <= 5, (cores, others.output())
        open_gate(b1)
        others.succeed(60)
