"""Does work go on when a tailnet builder loses power, and when it comes back as another machine of the same name?"""

from __future__ import annotations

import time

from lib import Coordinator, Machine, derivation, nix_build, ran_on, several, start_all, start_build, subtest
from lib_tailnet import Tailnet, by_tag, peers

BUILDER = {"role": "builder", "tailscale": True, "authorized": False, "access": "ssh"}
nodes = {
    "control": {"role": "control"},
    "hub": {"role": "coordinator", "tailscale": True},
    "b1": BUILDER,
    "b2": BUILDER,
}
LENGTH = 5
TIMEOUTS = '[timeouts]\nping_every = "1s"\nsilent_after = "3s"\nlost_after = "5s"\nretry_max = "1s"\n'


def script(control: Machine, hub: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    tailnet = Tailnet(control)
    coordinator = Coordinator(hub)
    tailnet.join(hub, tag="tag:ci")
    tailnet.join(b1)
    coordinator.start(by_tag() + TIMEOUTS)
    coordinator.wait_for_health("healthy", "b1")

    with subtest("it loses power during a build, which succeeds elsewhere"):
        build = start_build(hub, derivation("long", f"cat /labhost >$out; sleep {LENGTH}"))
        coordinator.wait_for(lambda rows: rows["b1"]["busy"] > 0, "a build")
        tailnet.join(b2)
        coordinator.wait_for_health("healthy", "b2")
        b1.crash()
        began = time.monotonic()
        assert ran_on(build.succeed(60).split()[-1], [b2]) == "b2"
        assert time.monotonic() - began <= LENGTH + 12

    with subtest("the tailnet takes it for online all the while; muster does not"):
        assert {peer["HostName"]: peer["Online"] for peer in peers(hub)}["b1"]
        coordinator.wait_for_health("down", "b1")

    with subtest("it comes back as a new machine of the same name, and builds under the name that it got"):
        b1.start()
        b1.succeed("/run/lab/service stop tailscaled", "rm -r /var/lib/tailscale", "/run/lab/service start tailscaled")
        tailnet.join(b1)
        (label,) = {peer["DNSName"].split(".")[0] for peer in peers(hub) if peer["HostName"] == "b1"} - {"b1"}
        coordinator.wait_for_health("healthy", label)
        assert {ran_on(path, [b1, b2]) for path in nix_build(hub, several(8, script="cat /labhost >$out; sleep 1"))} == {"b1", "b2"}
