"""Does `muster stop` release all builders within two seconds, dead ones or not, and leave Nix to build by itself?"""

from __future__ import annotations

import time

from lib import Agent, Coordinator, Machine, derivation, nix_build, start_all, subtest, uri, wait_for

needs = ("command:builder",)
not_over = {"stdio-only": "a key that starts one command claims no builder"}
nodes = {
    "localmachine": {"role": "coordinator"},
    "b1": {"role": "builder"},
    "b2": {"role": "builder"},
    "dead": {"role": "builder"},
}


def script(localmachine: Machine, b1: Machine, b2: Machine, dead: Machine) -> None:
    start_all()
    agents = {machine.name: Agent(machine) for machine in (b1, b2, dead)}
    for agent in agents.values():
        agent.start("--ephemeral --release-command 'touch /run/released'")
    coordinator = Coordinator(localmachine)
    coordinator.start("[control]\ngroup = \"users\"\n", builders=[uri(name) for name in agents])
    coordinator.wait_for_health("healthy", *agents)
    for agent in agents.values():
        agent.wait_for_claims(1)

    with subtest("somebody in the group stops it, without sudo, by the name that the seed's workflow has"):
        localmachine.succeed("usermod -aG users alice; ln -sf $(command -v muster) /usr/local/bin/stop-nix-builders")
        began = time.monotonic()
        localmachine.succeed("runuser -u alice -- stop-nix-builders", timeout=10)
        took = time.monotonic() - began
        assert took < 2, took
        for name in ("b1", "b2", "dead"):
            wait_for(agents[name].has_ended, f"{name} is released", 5)
            assert agents[name].code() == 0, agents[name].log()
        b1.succeed("test -e /run/released")

    with subtest("it has ended for good, and once more is no error"):
        assert not coordinator.is_running()
        localmachine.succeed("runuser -u alice -- stop-nix-builders", timeout=10)

    with subtest("no line is left, and Nix builds here"):
        assert "ssh-ng://" not in localmachine.succeed("cat /run/muster/machines || true")
        [path] = nix_build(localmachine, derivation("here"), options="-j1")
        assert localmachine.succeed(f"cat {path}").strip() == "localmachine"

    with subtest("one that has lost its power holds nobody up for more than five seconds"):
        for agent in agents.values():
            agent.start("--ephemeral")
        coordinator.launch()
        for agent in agents.values():
            agent.wait_for_claims(1)
        dead.block(drop=True)
        began = time.monotonic()
        localmachine.succeed("muster stop", timeout=20)
        took = time.monotonic() - began
        assert took < 5.5, took
        for name in ("b1", "b2"):
            wait_for(agents[name].has_ended, f"{name} is released", 5)
