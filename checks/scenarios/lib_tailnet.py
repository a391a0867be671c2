"""A tailnet of a scenario: headscale on a machine of role `control`, tailscaled on those with `tailscale`."""

from __future__ import annotations

import json
from typing import Any, Iterable, Mapping, Sequence

from lib import Background, Machine, write

POLICY = "/etc/headscale/policy.json"


class Tailnet:
    """What its administrator does at the control server, and what each machine's does there."""

    def __init__(self, control: Machine) -> None:
        self.control = control
        control.wait_for_unit("headscale")
        control.succeed("headscale users create ci")

    def join(self, *machines: Machine, tag: str = "tag:nix-builder", tags: Mapping[str, str] = {}, without_ssh: Sequence[str] = (), wait: bool = True) -> list[Background]:
        """Brings machines into it side by side; `tags` are of those that have another one than all."""
        joining = [self._begin(machine, tags.get(machine.name, tag), machine.name not in without_ssh) for machine in machines]
        if wait:
            for one in joining:
                one.succeed(30)
        return joining

    def _begin(self, machine: Machine, tag: str, ssh: bool) -> Background:
        key = f"/tmp/key-{machine.name}"
        write(machine, key, self.control.succeed(f"headscale preauthkeys create --ephemeral --tags {tag}").strip())
        return machine.spawn(
            f"tailscale up --login-server $(cat /etc/lab/tailnet-url) --auth-key file:{key} --hostname {machine.name} {'--ssh' if ssh else ''} "
            "--accept-dns=false --netfilter-mode=off --timeout 20s"
        )

    def allow_ssh(self, rules: Iterable[Mapping[str, Any]]) -> None:
        """From now on these rules say who may log in where. There must be one: an empty list leaves the old ones in force."""
        policy = json.loads(self.control.succeed(f"cat {POLICY}"))
        write(self.control, POLICY, json.dumps({**policy, "ssh": list(rules)}))
        self.control.succeed("kill -HUP $(cat /run/headscale.lab)")


def peers(machine: Machine) -> list[dict[str, Any]]:
    """The others, as the machine's tailscaled sees them."""
    return list((json.loads(machine.succeed("tailscale status --json"))["Peer"] or {}).values())


def received_from(machine: Machine, other: str) -> int:
    """Bytes that the machine has got from the other one by the tailnet."""
    return sum(peer["RxBytes"] for peer in peers(machine) if peer["HostName"] == other)


def by_tag(tag: str = "tag:nix-builder") -> str:
    """A configuration whose builders are the machines with that tag, and where builds wait here, not in Nix."""
    return f'[[source]]\ntailscale = {{ tag = "{tag}" }}\n[endpoint]\nlocal = "never"\n'
