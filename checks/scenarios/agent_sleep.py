"""Is a coordinator that sleeps longer than its lease, and returns, welcome where a builder is kept, and too late where not?"""

from __future__ import annotations

from lib import PID, Agent, Coordinator, Machine, nix_build, ran_on, several, start_all, subtest, uri, wait_for

needs = ("command:builder",)
not_over = {"stdio-only": "a key that starts one command claims no builder"}
nodes = {"localmachine": {"role": "coordinator"}, "kept": {"role": "builder"}, "ephemeral": {"role": "builder"}}
LEASE = 4


def script(localmachine: Machine, kept: Machine, ephemeral: Machine) -> None:
    start_all()
    agents = {"kept": Agent(kept), "ephemeral": Agent(ephemeral)}
    agents["kept"].start(f"--lease-timeout {LEASE}s")
    agents["ephemeral"].start(f"--lease-timeout {LEASE}s --ephemeral")
    coordinator = Coordinator(localmachine)
    coordinator.start('[endpoint]\nlocal = "never"\n', builders=[uri(name) for name in agents])
    coordinator.wait_for_health("healthy", *agents)
    for agent in agents.values():
        agent.wait_for_claims(1)

    with subtest("it sleeps, its connections stand, and its claims lapse"):
        localmachine.succeed(f"kill -STOP $(cat {PID})")
        wait_for(agents["ephemeral"].has_ended, "the ephemeral one is released", LEASE + 10)
        agents["kept"].wait_for_claims(0)

    with subtest("it wakes up, holds the one that was kept, and builds there"):
        localmachine.succeed(f"kill -CONT $(cat {PID})")
        agents["kept"].wait_for_claims(1)
        ephemeral.shutdown()
        assert {ran_on(path, [kept]) for path in nix_build(localmachine, several(2))} == {"kept"}
