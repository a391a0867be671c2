"""Do builds survive that a builder's sshd or nix-daemon is killed or restarted under them?"""

from __future__ import annotations

from typing import Callable

from lib import QUICK, Coordinator, Machine, derivation, ran_on, start_all, start_build, subtest, uri, wait_for

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}, "b2": {"role": "builder"}}


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    coordinator.start(QUICK, builders=[uri("b1"), uri("b2")])

    def survives(fault: Callable[[Machine], object], repair: Callable[[Machine], object], runs: int) -> None:
        """A build whose builder suffers the fault succeeds after so many runs, and the builder works again once repaired."""
        coordinator.wait_for_health("healthy", "b1", "b2")
        build = start_build(localmachine, derivation("victim", "cat /labhost >$out; echo begun; sleep 2"))
        wait_for(lambda: "begun" in build.output(), "the build has begun")
        victim = coordinator.wait_for_work([b1, b2])
        fault(victim)
        said = build.succeed(30)
        assert said.count("begun") == runs, said
        assert runs == 1 or f"{victim.name}" in said, said
        others = [machine for machine in (b1, b2) if machine is not victim or runs == 1]
        ran_on(said.split()[-1], others)
        repair(victim)
        coordinator.wait_for_health("healthy", "b1", "b2")

    def stop_sshd(victim: Machine) -> None:
        victim.systemctl("stop sshd")
        victim.succeed("pkill -KILL sshd || true")

    with subtest("sshd is gone, its port closed and its connections too"):
        survives(stop_sshd, lambda victim: victim.systemctl("start sshd"), runs=2)

    with subtest("sshd restarts, which leaves its connections alone"):
        survives(lambda victim: victim.succeed("/run/lab/service restart sshd"), lambda _: None, runs=1)

    with subtest("nix-daemon and all its workers are killed"):
        survives(
            lambda victim: victim.succeed("pkill -KILL nix-daemon; rm -f /nix/var/nix/daemon-socket/socket"),
            lambda victim: victim.systemctl("start nix-daemon"),
            runs=2,
        )

    with subtest("nix-daemon restarts, which leaves its workers alone"):
        survives(lambda victim: victim.succeed("/run/lab/service restart nix-daemon"), lambda _: None, runs=1)
