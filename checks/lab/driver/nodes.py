"""What a scenario declares. It is plain data, so that NixOS nodes can be made of it as well."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal, Mapping

# What every scenario can run over, unless its nodes say otherwise.
ACCESS = ("ssh", "stdio-only", "serve")

# How a key that is locked to one program is written, by access.
FORCED = {
    "stdio-only": 'restrict,command="nix-daemon --stdio" ',
    "serve-only": 'restrict,command="nix-store --serve --write" ',
    "serve": 'restrict,command="muster builder serve" ',
}


@dataclass(frozen=True)
class Node:
    """One machine. Every field has a default; the name and the number follow from its place in the declaration."""

    name: str
    number: int
    # A coordinator has keys and known hosts; a builder has the user `remotebuild`, as nix.dev's tutorial makes it. The
    # control server of a tailnet (headscale) is neither.
    role: Literal["coordinator", "builder", "both", "control"] = "builder"
    # The version of Nix; none: what the run says for this role.
    nix: str = ""
    # What the coordinators' key may do here; none: what the run says.
    access: str = ""
    # Further lines of nix.conf, or other values for those that are there.
    nix_conf: Mapping[str, str] = field(default_factory=dict)
    # Lines of /etc/nix/machines, for stock Nix.
    machines: tuple[str, ...] = ()
    # The coordinator's private key.
    key: str = "/root/.ssh/remotebuild"
    # Whether this builder lets the coordinators' key in, whether Nix trusts its user, whether the coordinators know it.
    authorized: bool = True
    trusted: bool = True
    known: bool = True
    # sshd's port and its banner; what the login shell says on stdout before each command.
    port: int = 22
    banner: str = ""
    noise: str = ""
    # Whether tailscaled runs here. The node is in no tailnet before it joins.
    tailscale: bool = False
    # False: Nix is where a multi-user installation puts it, which is not on the PATH of ssh's commands.
    nix_on_path: bool = True
    # Whether it has /dev/kvm, as far as the machine outside has it.
    kvm: bool = False
    # Further files: path -> text.
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_coordinator(self) -> bool:
        return self.role in ("coordinator", "both")

    @property
    def is_builder(self) -> bool:
        return self.role in ("builder", "both")

    @property
    def is_control(self) -> bool:
        return self.role == "control"

    @property
    def address(self) -> str:
        return f"10.42.0.{self.number}"

    @property
    def address6(self) -> str:
        return f"fd42::{self.number}"

    @property
    def mac(self) -> str:
        return f"02:00:00:00:42:{self.number:02x}"


@dataclass(frozen=True)
class Versions:
    """What this run says where a node says nothing."""

    coordinator: str
    builder: str
    access: str = "ssh"

    def __str__(self) -> str:
        return f"{self.coordinator}-{self.builder}" + ("" if self.access == "ssh" else f"-{self.access}")


def declared(nodes: Mapping[str, Mapping[str, Any]], versions: Versions) -> list[Node]:
    """The nodes of a scenario, with nothing left open."""
    return [parsed(name, number, spec, versions) for number, (name, spec) in enumerate(nodes.items(), start=10)]


def parsed(name: str, number: int, spec: Mapping[str, Any], versions: Versions) -> Node:
    known = {f.name for f in fields(Node)} - {"name", "number"}
    if wrong := set(spec) - known:
        raise ValueError(f"node {name}: no such option: {', '.join(sorted(wrong))}; there are {', '.join(sorted(known))}")
    chosen = dict(spec)
    chosen["nix"] = spec.get("nix") or (versions.builder if spec.get("role", "builder") == "builder" else versions.coordinator)
    chosen["access"] = spec.get("access") or versions.access
    if chosen["access"] not in ("ssh", *FORCED):
        raise ValueError(f"node {name}: access is one of ssh, {', '.join(FORCED)}, not {chosen['access']!r}")
    return Node(name=name, number=number, **chosen)
