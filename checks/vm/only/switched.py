"""Does a build go on while `nixos-rebuild switch` changes the machine that asked for it, or the one that builds it?"""

from __future__ import annotations

from lib import Background, Coordinator, Machine, ran_on, several, start_all, start_build, subtest, wait_for

# The modules make all of both; switched.nix says what they switch to.
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}}
COUNT = 4
SLOTS = 2


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    coordinator.wait_for_health("healthy", "b1", timeout=120)

    def running() -> Background:
        """Some run, and as many wait for a slot."""
        build = start_build(localmachine, several(COUNT, script="cat /labhost >$out; echo begun; sleep 40"))
        wait_for(lambda: build.output().count("begun") == SLOTS, "half of them run", 120)
        return build

    def succeeds(build: Background, runs: int) -> None:
        said = build.succeed(400)
        assert {ran_on(path, [b1]) for path in said.split()[-COUNT:]} == {"b1"}, said
        assert said.count("begun") == runs, said

    with subtest("another setting: the coordinator reads it as it runs, and nothing begins again"):
        before = process(localmachine, "muster")
        build = running()
        switch(localmachine, "setting")
        succeeds(build, COUNT)
        assert process(localmachine, "muster") == before
        assert "lost_after" in localmachine.succeed("cat /etc/muster/config.toml")

    with subtest("another muster: the coordinator restarts, what ran begins again, and none fails"):
        before = process(localmachine, "muster")
        build = running()
        switch(localmachine, "muster")
        succeeds(build, COUNT + SLOTS)
        assert process(localmachine, "muster") != before

    with subtest("and back, with nothing running"):
        switch(localmachine, None)
        coordinator.wait_for_health("healthy", "b1")

    with subtest("another nix.conf: the Nix daemon restarts, and nothing begins again"):
        build = running()
        switch(localmachine, "nix")
        succeeds(build, COUNT)

    with subtest("back to where it booted: the same"):
        build = running()
        switch(localmachine, None)
        succeeds(build, COUNT)

    with subtest("the builder is switched"):
        build = running()
        switch(b1, "nix")
        build.succeed(400)
        coordinator.wait_for_health("healthy", "b1")


def switch(machine: Machine, to: str | None) -> None:
    """What `nixos-rebuild test` runs, and `switch` too once it has told the boot loader."""
    system = "/run/booted-system" + (f"/specialisation/{to}" if to else "")
    machine.succeed(f"{system}/bin/switch-to-configuration test", timeout=300)


def process(machine: Machine, service: str) -> str:
    return machine.succeed(f"systemctl show --property=MainPID --value {service}").strip()
