"""Do machines that the modules bring into a tailnet become one cluster, with no key anywhere and port 22 shut?"""

from __future__ import annotations

from lib import Agent, Coordinator, Machine, nix_build, ran_on, several, start_all, subtest, write
from lib_tailnet import Tailnet

# The modules make all of them; joined.nix says how.
BUILDER = {"role": "builder", "tailscale": True, "authorized": False}
nodes = {"control": {"role": "control"}, "hub": {"role": "coordinator", "tailscale": True}, "b1": BUILDER, "b2": BUILDER}
RULE = {"action": "accept", "src": ["tag:ci"], "dst": ["tag:nix-builder"], "users": ["remotebuild"]}


def script(control: Machine, hub: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    tailnet = Tailnet(control)
    tailnet.allow_ssh([RULE])
    hub.succeed("rm -r /root/.ssh")
    coordinator = Coordinator(hub)

    with subtest("each joins as soon as it has something to join with, and the builders build"):
        for machine, tag in ((hub, "tag:ci"), (b1, "tag:nix-builder"), (b2, "tag:nix-builder")):
            write(machine, "/run/tailnet-key", control.succeed(f"headscale preauthkeys create --ephemeral --tags {tag}").strip())
        coordinator.wait_for_health("healthy", "b1", "b2", timeout=180)
        paths = nix_build(hub, several(4, script="cat /labhost >$out; sleep 2"), timeout=120)
        assert {ran_on(path, [b1, b2]) for path in paths} == {"b1", "b2"}

    with subtest("their agents are held by it"):
        for builder in (b1, b2):
            Agent(builder).wait_for_claims(1)

    with subtest("outside the tailnet port 22 is shut"):
        for builder in (b1, b2):
            hub.fail(f"timeout 5 bash -c '</dev/tcp/{builder.name}/22'")
            hub.succeed(f"timeout 5 bash -c '</dev/tcp/{builder.succeed('tailscale ip -4').strip()}/22'")

    with subtest("a builder that goes down is missed by nobody"):
        b2.shutdown()
        coordinator.wait_for(lambda rows: rows.get("b2", {}).get("health") != "healthy", "b2 is not there")
        assert ran_on(nix_build(hub, several(1), timeout=120)[0], [b1]) == "b1"
