"""Do machines of a tailnet become builders by their tag alone, without a key anywhere, and leave again without harm?"""

from __future__ import annotations

import time

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, start_build, subtest
from lib_tailnet import Tailnet, by_tag, received_from

# There are no keys: nobody is let in by one, and the builders' own sshd is off.
BUILDER = {"role": "builder", "tailscale": True, "authorized": False, "access": "ssh"}
limit_seconds = 200
nodes = {
    "control": {"role": "control"},
    "hub": {"role": "coordinator", "tailscale": True},
    "b1": BUILDER,
    "b2": BUILDER,
    "b3": BUILDER,
    "stranger": BUILDER,
}


def script(control: Machine, hub: Machine, b1: Machine, b2: Machine, b3: Machine, stranger: Machine) -> None:
    start_all()
    tailnet = Tailnet(control)
    coordinator = Coordinator(hub)
    for builder in (b1, b2, b3):
        builder.systemctl("stop sshd")
    hub.succeed("rm -r /root/.ssh")

    with subtest("two machines with the tag are builders"):
        tailnet.join(hub, tag="tag:ci")
        tailnet.join(b1, b2, stranger, tags={"stranger": "tag:other"})
        coordinator.start(by_tag())
        coordinator.wait_for_health("healthy", "b1", "b2")
        assert {ran_on(path, [b1, b2]) for path in nix_build(hub, several(4, script="cat /labhost >$out; sleep 1"))} == {"b1", "b2"}

    with subtest("the third joins during a build, and gets work at once"):
        began = time.monotonic()
        nix_build(hub, several(1))
        one = time.monotonic() - began
        build = start_build(hub, several(16, script="cat /labhost >$out; sleep 2"))
        coordinator.wait_for(lambda rows: rows["b1"]["busy"] > 0, "a build")
        (joining,) = tailnet.join(b3, wait=False)
        joining.succeed(30)
        joined = time.monotonic()
        coordinator.wait_for(lambda rows: rows.get("b3", {}).get("busy", 0) > 0, "work for b3")
        took = time.monotonic() - joined
        hub.succeed(f"echo first build on b3 after {took:.1f} s, where one build takes {one:.1f} s")
        # A busy machine takes longer for everything.
        assert took <= max(3, 6 * one), f"{took:.1f} s from `tailscale up` to the first build"

    with subtest("it leaves, and nothing fails"):
        b3.succeed("tailscale logout")
        coordinator.wait_for(lambda rows: "b3" not in rows, "b3 is gone")
        build.succeed(60)

    with subtest("packets go there directly, and nobody without the tag ever gets one"):
        coordinator.wait_for(lambda rows: rows["b1"]["path"] == "direct", "a direct path")
        assert received_from(b1, "hub") > 0
        assert received_from(stranger, "hub") == 0
