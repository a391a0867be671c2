"""Does a builder that bears more get more builds at once, and fewer when its memory is short, with nobody having said how many?

What the kernel says of processors and memory is laid over /proc, as containers do it, so that a busy machine can be an idle one here.
"""

from __future__ import annotations

from lib import AT_GATE, GATE, HERE, Agent, Coordinator, Machine, close_gate, open_gate, several, start_all, start_build, subtest, uri, wait_for

needs = ("command:builder",)
not_over = {"stdio-only": "a key that starts one command claims no builder"}
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder", "nix_conf": GATE}}
limit_seconds = 180
CORES, GIB = 4, 16


def lay_over(machine: Machine) -> None:
    """A machine whose processors do nothing."""
    machine.succeed("mkdir -p /run/idle && cp /proc/stat /proc/meminfo /run/idle/")
    lines = "; ".join(f'echo "cpu{number} 0 0 0 $n 0 0 0 0 0 0"' for number in range(CORES))
    loop = f'n=1000; while :; do n=$((n+50)); {{ echo "cpu  0 0 0 $(({CORES}*n)) 0 0 0 0 0 0"; {lines}; }} >/run/idle/stat; sleep 0.5; done'
    machine.succeed(f"setsid sh -c '{loop}' >/dev/null 2>&1 &")
    has_free(machine, GIB - 2)
    machine.succeed("for file in stat meminfo; do mount --bind /run/idle/$file /proc/$file; done")


def has_free(machine: Machine, gib: int) -> None:
    lines = [f"MemTotal: {GIB << 20} kB", f"MemFree: {gib << 20} kB", f"MemAvailable: {gib << 20} kB", "SwapTotal: 0 kB", "SwapFree: 0 kB"]
    machine.succeed(f"printf '%s\\n' {' '.join(repr(line) for line in lines)} >/run/idle/meminfo")


def accepted(machine: Machine) -> int:
    """What all lines together let Nix ask for at once."""
    return sum(int(line.split()[3]) for line in machine.succeed("grep -v '^#' /run/muster/machines").splitlines() if line)


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    lay_over(b1)
    close_gate(b1)
    agent = Agent(b1)
    agent.start()
    coordinator = Coordinator(localmachine)
    coordinator.start('[endpoint]\nlocal = "never"\n', builders=[uri("b1")])
    coordinator.wait_for_health("healthy", "b1")
    agent.wait_for_claims(1)
    first, before = coordinator.builder("b1")["slots"], accepted(localmachine)
    assert first == 1, first

    with subtest("all slots in use, more wanted, and room: one more, which Nix is offered as well"):
        build = start_build(localmachine, several(4, script=f"{HERE}; {AT_GATE}"))
        wait_for(lambda: agent.status()["slots"] == 2, "the agent lets a second one in", 90)
        wait_for(lambda: len([claim for claim in agent.claims() if claim["running"] == 2]) == 1, "it runs", 10)
        row = coordinator.builder("b1")
        assert (row["slots"], row["measured"]["slots"]) == (2, 1), row
        assert accepted(localmachine) > before, localmachine.succeed("cat /run/muster/machines")
        assert "2 slots (learned; 1 at first)" in b1.succeed("muster builder status")

    with subtest("memory is short: fewer, and what runs goes on"):
        has_free(b1, 1)
        wait_for(lambda: agent.status()["slots"] == 1, "the agent takes it back", 60)
        assert agent.claims()[0]["running"] == 2, agent.claims()
        has_free(b1, GIB - 2)

    open_gate(b1)
    assert len(build.succeed(90).split()[-4:]) == 4
