"""Does a tailnet builder that does not let us in say what to change?"""

from __future__ import annotations

import json

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, subtest
from lib_tailnet import Tailnet, by_tag

nodes = {
    "control": {"role": "control"},
    "hub": {"role": "coordinator", "tailscale": True},
    "b1": {"role": "builder", "tailscale": True, "authorized": False, "access": "ssh"},
}
KEYS = "rsa ecdsa ed25519".split()


def script(control: Machine, hub: Machine, b1: Machine) -> None:
    start_all()
    tailnet = Tailnet(control)
    coordinator = Coordinator(hub)
    # In force before anybody joins: a connection that stands is not closed by a new policy.
    tailnet.allow_ssh([{"action": "accept", "src": ["tag:nix-builder"], "dst": ["tag:ci"], "users": ["root"]}])
    tailnet.join(hub, tag="tag:ci")
    tailnet.join(b1)

    def why(part: str) -> str:
        coordinator.wait_for(lambda rows: part in (rows.get("b1", {}).get("reason") or ""), f"a reason with {part!r}")
        reason: str = coordinator.builder("b1")["reason"]
        return reason

    with subtest("no rule lets us in: the reason has the rule"):
        coordinator.start(by_tag() + '[timeouts]\nretry_max = "1s"\n')
        reason = why("policy does not permit")
        rule = json.loads(reason[reason.index("{") :])
        assert rule["src"] == ["tag:ci"] and rule["dst"] == ["tag:nix-builder"], reason

    with subtest("a rule that asks for a browser: the reason says so"):
        tailnet.allow_ssh([{**rule, "action": "check"}])
        assert "browser" in why("https://") and '"accept"' in why("https://")

    with subtest("with the rule it builds"):
        tailnet.allow_ssh([rule])
        coordinator.wait_for_health("healthy", "b1")
        assert {ran_on(path, [b1]) for path in nix_build(hub, several(2))} == {"b1"}

    with subtest("another host key than the tailnet knows: refused, with both"):
        b1.succeed(*(f"ssh-keygen -q -t {kind} -N '' -f /tmp/{kind}; cp /tmp/{kind} /etc/ssh/ssh_host_{kind}_key" for kind in KEYS))
        coordinator.restart()
        reason = why("host key has changed")
        prints = [b1.succeed(f"ssh-keygen -lf /tmp/{kind}.pub").split()[1] for kind in KEYS]
        assert any(one in reason for one in prints) and "should be SHA256:" in reason, reason
