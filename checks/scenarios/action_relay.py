"""Is a builder that only a relay reaches named when the job begins, and with its speed in the summary?"""

from __future__ import annotations

import re

from lib import Machine, start_all, subtest, write
from lib_tailnet import Tailnet
from lib_workflow import NEEDS, NODES, Cluster, policy, recommended

needs = NEEDS
limit_seconds = 200
nodes = NODES
# Each part reads what comes along with it, so that it has to travel.
FLAKE = """{ outputs = { self }: { packages.x86_64-linux.my-package = let
  part = name: derivation { inherit name; system = "x86_64-linux"; builder = "/bin/sh"; source = self;
    args = [ "-c" "read h </labhost; read first <$source/large; echo $h >$out; sleep 3" ]; };
  in derivation { name = "whole"; system = "x86_64-linux"; builder = "/bin/sh";
    parts = builtins.genList (number: part "part-${toString number}") 8; args = [ "-c" "read h </labhost; echo $h $parts >$out" ]; }; }; }"""


def script(control: Machine, hub: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    Tailnet(control)
    policy(control, recommended())
    # A network that passes no UDP: what one of them sends to the coordinator goes through the control server's relay.
    b1.succeed("ip rule add pref 10 ipproto 17 prohibit", "ip -6 rule add pref 10 ipproto 17 prohibit")

    with subtest("it is named, and the other is not"):
        cluster = Cluster(control, hub, [b1, b2], 1)
        cluster.joined(cluster.start())
        warned = [line for line in cluster.coordinator.log.splitlines() if line.startswith("::warning") and "copies will be slow" in line]
        assert len(warned) == 1 and cluster.matrix[0]["id"].replace(".", "-") in warned[0].replace(".", "-") and "relayed by lab" in warned[0], warned

    with subtest("the summary has its speed"):
        write(hub, f"{cluster.coordinator.temp}/checkout/flake.nix", FLAKE)
        hub.succeed(f"head -c 20M /dev/urandom >{cluster.coordinator.temp}/checkout/large")
        cluster.step("Execute")
        assert "b2" in cluster.parts()
        cluster.step("Teardown")
        cluster.finish()
        summary = cluster.coordinator.read("GITHUB_STEP_SUMMARY")
        slow = re.findall(r"^> \*\*Slow:\*\* (.*)$", summary, re.M)
        assert len(slow) == 1 and re.search(r"relayed by lab, \d+\.\d MB/s", slow[0]), summary
        assert re.search(r"\| direct, \d+\.\d MB/s \|", summary), summary
