"""Does `nix build -j0` of a system that nobody has yet run on the machine that joins the tailnet with it?"""

from __future__ import annotations

import time

from lib import Coordinator, Machine, derivation, ran_on, start_all, start_build, subtest, wait_for
from lib_tailnet import Tailnet, by_tag, peers

BUILDER = {"role": "builder", "tailscale": True, "authorized": False, "access": "ssh"}
ARM = {"extra-platforms": "aarch64-linux"}
nodes = {
    "control": {"role": "control"},
    "hub": {"role": "coordinator", "tailscale": True},
    "b1": BUILDER,
    "b2": {**BUILDER, "nix_conf": ARM},
}
EXPECT = '[[expect]]\nsystems = ["aarch64-linux"]\n'


def script(control: Machine, hub: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    tailnet = Tailnet(control)
    coordinator = Coordinator(hub)
    tailnet.join(hub, b1, tags={"hub": "tag:ci"})
    coordinator.start(by_tag() + EXPECT)
    coordinator.wait_for_health("healthy", "b1")

    with subtest("the build waits, and says for what"):
        build = start_build(hub, derivation("strange", system="aarch64-linux"))
        wait_for(lambda: "waits for a builder of aarch64-linux" in build.output(), "the user is told")
        assert build.is_running()

    with subtest("the machine with that system joins, and builds at once"):
        (joining,) = tailnet.join(b2, wait=False)
        joining.succeed(30)
        wait_for(lambda: any(peer["HostName"] == "b2" and peer["Online"] for peer in peers(hub)), "b2 is online")
        online = time.monotonic()
        path = build.succeed(30).split()[-1]
        took = time.monotonic() - online
        assert ran_on(path, [b1, b2]) == "b2"
        hub.succeed(f"echo built {took:.1f} s after b2 was online")
        # A busy machine takes longer for everything; how much, the scenario tailnet_join measures.
        assert took < 10, took

    with subtest("it leaves: the next build of that system waits again, and nothing fails"):
        b2.succeed("muster leave")
        coordinator.wait_for(lambda rows: "b2" not in rows, "b2 is gone")
        build = start_build(hub, derivation("strange-again", system="aarch64-linux"))
        wait_for(lambda: "waits for a builder of aarch64-linux" in build.output(), "the user is told")
        tailnet.join(b2)
        assert ran_on(build.succeed(60).split()[-1], [b1, b2]) == "b2"
