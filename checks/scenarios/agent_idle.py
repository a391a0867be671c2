"""Does a builder that nobody claims end after its idle time, by what `--on-idle` says, and one that is claimed live on?"""

from __future__ import annotations

import time

from lib import Agent, Coordinator, Machine, start_all, subtest, uri, wait_for

needs = ("command:builder",)
not_over = {"stdio-only": "a key that starts one command claims no builder"}
nodes = {
    "localmachine": {"role": "coordinator"},
    "fails": {"role": "builder"},
    "passes": {"role": "builder"},
    "claimed": {"role": "builder"},
}
IDLE = 4


def script(localmachine: Machine, fails: Machine, passes: Machine, claimed: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    coordinator.start(builders=[uri("claimed")])
    coordinator.wait_for_health("healthy", "claimed")
    agents = {machine.name: Agent(machine) for machine in (fails, passes, claimed)}
    common = f"--ephemeral --idle-timeout {IDLE}s --release-command 'touch /run/released'"
    # The coordinator sees its agent with its next probe.
    agents["claimed"].start("--ephemeral --idle-timeout 20s")
    claimed.succeed("pkill -x sshd; sleep 0.5; /usr/sbin/sshd -D >/dev/null 2>&1 & sleep 1")
    agents["fails"].start(f"{common} --on-idle fail")
    agents["passes"].start(f"{common} --on-idle pass")

    with subtest("nobody comes: each ends, and its command is run"):
        for name, machine, code in (("fails", fails, 3), ("passes", passes, 0)):
            wait_for(agents[name].has_ended, f"{name} ends", IDLE + 10)
            assert agents[name].code() == code, agents[name].log()
            machine.succeed("test -e /run/released")
        assert "nobody claimed this builder within 4s" in agents["fails"].log()

    with subtest("the one that is held lives on, longer than its idle time and its lease"):
        agents["claimed"].wait_for_claims(1)
        time.sleep(IDLE + 2)
        assert not agents["claimed"].has_ended(), agents["claimed"].log()

    with subtest("its lifetime ends it all the same"):
        agents["passes"].start("--ephemeral --max-lifetime 2s")
        wait_for(agents["passes"].has_ended, "it is old", 10)
        assert agents["passes"].code() == 0 and "its lifetime is over" in agents["passes"].log()
