"""Does a lone big build see all cores of its builder, and beside three others a share, whatever way its options go?"""

from __future__ import annotations

from typing import Any

from lib import AT_GATE, GATE, Coordinator, Machine, close_gate, derivation, open_gate, several, start_all, start_build, subtest, uri, wait_for

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder", "nix_conf": {"cores": "16", **GATE}}}
not_over = {"stdio-only": "a key that starts one command takes no cores; what it does is nix.conf's business"}
SAY = 'echo "cores: $NIX_BUILD_CORES"; '


def said(output: str) -> list[int]:
    return sorted(int(line.rpartition("cores: ")[2]) for line in output.splitlines() if "cores: " in line and "echo" not in line)


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    close_gate(b1)
    coordinator = Coordinator(localmachine)
    table: dict[str, Any] = {"uri": uri("b1"), "slots": 4, "cores": 16, "speed_factor": None}
    coordinator.start('[endpoint]\nlocal = "never"\n', builders=[table])
    coordinator.wait_for_health("healthy", "b1")
    wait_for(lambda: "measured builder=b1" in coordinator.log(), "it is tried out")

    with subtest("alone it sees all"):
        build = start_build(localmachine, derivation("alone", SAY + "echo >$out", features=["big-parallel"]))
        assert said(build.wait(60)[1]) == [16], build.output()

    with subtest("beside three others it sees a share, and so do they"):
        others = start_build(localmachine, several(3, script=SAY + AT_GATE + "; echo >$out"))
        wait_for(lambda: len(said(others.output())) == 3, "three run")
        big = start_build(localmachine, derivation("big", SAY + "echo >$out", features=["big-parallel"]))
        [cores] = said(big.wait(60)[1])
        assert cores <= 5 and sum(said(others.output())) + cores <= 36, (cores, others.output())
        assert max(said(others.output())) <= 16 and min(said(others.output())) >= 4, others.output()
        open_gate(b1)
        others.succeed(60)

    with subtest("alone again, it sees all again"):
        build = start_build(localmachine, derivation("again", SAY + "echo >$out", features=["big-parallel"]))
        assert said(build.wait(60)[1]) == [16], build.output()
