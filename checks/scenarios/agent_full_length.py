"""Is an ephemeral builder released within a minute of its coordinator's death, with nothing scaled?"""

from __future__ import annotations

from lib import Agent, Coordinator, Machine, start_all, subtest, uri, wait_for

needs = ("command:builder",)
not_over = {"stdio-only": "a key that starts one command claims no builder"}
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}}
matrix_only = True
limit_seconds = 240


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    agent = Agent(b1)
    agent.start("--ephemeral --release-command 'touch /run/released'")
    coordinator = Coordinator(localmachine)
    coordinator.start(builders=[uri("b1")])
    coordinator.wait_for_health("healthy", "b1")
    agent.wait_for_claims(1)

    with subtest("held for longer than its lease"):
        b1.succeed("sleep 60", timeout=90)
        assert not agent.has_ended(), agent.log()

    with subtest("released within a minute"):
        coordinator.kill()
        took = wait_for(agent.has_ended, "it is released", 60)
        assert took > 30, took
        b1.succeed("test -e /run/released")
