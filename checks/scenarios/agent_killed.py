"""Is every ephemeral builder released, and its command run, when the coordinator that holds it dies without a word?"""

from __future__ import annotations

from lib import Agent, Coordinator, Machine, nix_build, ran_on, several, start_all, subtest, uri, wait_for

needs = ("command:builder",)
not_over = {"stdio-only": "a key that starts one command claims no builder"}
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}, "b2": {"role": "builder"}, "kept": {"role": "builder"}}
LEASE = 6


def script(localmachine: Machine, b1: Machine, b2: Machine, kept: Machine) -> None:
    start_all()
    agents = {machine.name: Agent(machine) for machine in (b1, b2, kept)}
    for name in ("b1", "b2"):
        agents[name].start(f"--lease-timeout {LEASE}s --ephemeral --release-command 'touch /run/released'")
    agents["kept"].start(f"--lease-timeout {LEASE}s")
    coordinator = Coordinator(localmachine)
    coordinator.start('[endpoint]\nlocal = "never"\n', builders=[{"uri": uri(name), "slots": 2} for name in agents])
    coordinator.wait_for_health("healthy", *agents)

    with subtest("all are held, and build"):
        for agent in agents.values():
            agent.wait_for_claims(1)
        assert {ran_on(path, [b1, b2, kept]) for path in nix_build(localmachine, several(6, script="cat /labhost >$out; sleep 1"))} == set(agents)

    with subtest("a claim that is renewed outlives its lease"):
        claims = agents["b1"].claims()
        assert claims[0]["coordinator"] == "localmachine" and claims[0]["lasts_ms"] <= LEASE * 1000, claims

    with subtest("the coordinator is killed: the ephemeral ones go when the lease is over, and not before"):
        coordinator.kill()
        took = [wait_for(agents[name].has_ended, f"{name} is released", LEASE + 10) for name in ("b1", "b2")]
        assert max(took) > 1, took
        for name, machine in (("b1", b1), ("b2", b2)):
            assert agents[name].code() == 0, agents[name].log()
            machine.succeed("test -e /run/released")

    with subtest("the other one stays, and nobody holds it"):
        agents["kept"].wait_for_claims(0)
