"""Are twenty builders released within five seconds, although five of them do not answer?"""

from __future__ import annotations

import time

from lib import Agent, Coordinator, Machine, Nodes, start_all, subtest, uri, wait_for

needs = ("command:builder",)
not_over = {"stdio-only": "a key that starts one command claims no builder"}
COUNT, DEAD = 20, 5
nodes: Nodes = {"localmachine": {"role": "coordinator"}, **{f"b{number}": {"role": "builder"} for number in range(1, COUNT + 1)}}
limit_seconds = 240


def script(localmachine: Machine, **builders: Machine) -> None:
    start_all()
    agents = [Agent(builder) for builder in builders.values()]
    for agent in agents:
        agent.start("--ephemeral")
    coordinator = Coordinator(localmachine)
    coordinator.start(builders=[uri(name) for name in builders])
    coordinator.wait_for_health("healthy", *builders, timeout=90)
    for agent in agents:
        agent.wait_for_claims(1)

    with subtest("fifteen go at once, and nobody waits for the other five beyond the limit"):
        for agent in agents[:DEAD]:
            agent.machine.block(drop=True)
        began = time.monotonic()
        localmachine.succeed("muster stop", timeout=30)
        took = time.monotonic() - began
        assert took < 5.5, took
        for agent in agents[DEAD:]:
            wait_for(agent.has_ended, f"{agent.machine.name} is released", 5)
            assert agent.code() == 0, agent.log()
        assert not any(agent.has_ended() for agent in agents[:DEAD])
