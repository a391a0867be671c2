"""Does work go on when a tailnet builder loses power, and when it comes back as another machine of the same name?"""

from __future__ import annotations

import time

from lib import Coordinator, Machine, derivation, nix_build, ran_on, several, start_all, start_build, subtest
from lib_tailnet import Tailnet, by_tag, peers

BUILDER = {"role": "builder", "tailscale": True, "authorized": False, "access": "ssh"}
limit_seconds = 200
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
    tailnet.join(hub, b1, b2, tags={"hub": "tag:ci"})
    coordinator.start(by_tag() + TIMEOUTS)
    coordinator.wait_for_health("healthy", "b1", "b2")

    with subtest("one loses power during a build, which succeeds on the other"):
        build = start_build(hub, derivation("long", f"cat /labhost >$out; sleep {LENGTH}"))
        coordinator.wait_for(lambda rows: any(row["busy"] for row in rows.values()), "a build")
        lost, other = (b1, b2) if coordinator.builder("b1")["busy"] else (b2, b1)
        lost.crash()
        began = time.monotonic()
        assert ran_on(build.succeed(60).split()[-1], [other]) == other.name
        assert time.monotonic() - began <= LENGTH + 12

    with subtest("the tailnet takes it for online all the while; muster does not"):
        assert {peer["HostName"]: peer["Online"] for peer in peers(hub)}[lost.name]
        coordinator.wait_for_health("down", lost.name)

    with subtest("it comes back as a new machine of the same name, and builds under the name that it got"):
        lost.start()
        lost.succeed("/run/lab/service stop tailscaled", "rm -r /var/lib/tailscale", "/run/lab/service start tailscaled")
        tailnet.join(lost)
        (label,) = {peer["DNSName"].split(".")[0] for peer in peers(hub) if peer["HostName"] == lost.name} - {lost.name}
        coordinator.wait_for_health("healthy", label)
        paths = nix_build(hub, several(6, script="cat /labhost >$out; sleep 1"))
        assert {ran_on(path, [b1, b2]) for path in paths} == {"b1", "b2"}
