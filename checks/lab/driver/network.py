"""The bridge, the cables and their faults, all in the box's own network namespace.

A machine's cable is a pair of virtual interfaces: `eth0` inside, and a port of the bridge `lab`. A delayed machine's
port is in the bridge `far` instead, and the delay line joins the two bridges. `nowhere` is a bridge that joins nothing.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .nodes import Node

DELAY = Path(__file__).with_name("delay.py")


class Network:
    """The network that all machines of a scenario are on."""

    def __init__(self) -> None:
        for bridge in ("lab", "far", "nowhere"):
            ip(f"link add {bridge} type bridge", f"link set {bridge} up")
        self._line: subprocess.Popen[str] | None = None
        self._far: set[str] = set()

    def plug(self, node: Node, pid: int) -> None:
        """A cable from the bridge into the network namespace of `pid`."""
        port = port_of(node)
        ip(
            f"link add {port} type veth peer name eth0 address {node.mac} netns {pid}",
            f"link set {port} master {self._bridge(node)} up",
        )

    def unplug(self, node: Node) -> None:
        port = port_of(node)
        ip(f"link set {port} down", f"link del {port}")

    def link(self, node: Node, up: bool) -> None:
        """The port's link; the machine sees its carrier go."""
        ip(f"link set {port_of(node)} {'up' if up else 'down'}")

    def forward(self, node: Node, on: bool) -> None:
        """Whether its cable leads anywhere; the machine sees no difference."""
        ip(f"link set {port_of(node)} master {self._bridge(node) if on else 'nowhere'}")

    def delay(self, rtt_ms: float, *nodes: Node) -> None:
        """Round trips between these machines and all others take `rtt_ms` from now on."""
        if self._line is None:
            self._line = delay_line()
        assert self._line.stdin
        self._line.stdin.write(f"{rtt_ms}\n")
        self._line.stdin.flush()
        for node in nodes:
            self._far.add(node.name)
            ip(f"link set {port_of(node)} master far")

    def _bridge(self, node: Node) -> str:
        return "far" if node.name in self._far else "lab"


def delay_line() -> subprocess.Popen[str]:
    line = subprocess.Popen([sys.executable, DELAY, "near", "distant"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert line.stdout
    if line.stdout.readline() != "ready\n":
        raise RuntimeError("the delay line did not start: is there a /dev/net/tun?")
    ip("link set near master lab up", "link set distant master far up")
    return line


def port_of(node: Node) -> str:
    return f"port{node.number}"


def ip(*commands: str) -> None:
    result = subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, capture_output=True, timeout=20)
    if result.returncode != 0:
        raise RuntimeError(f"ip: {result.stderr.strip()} in: {'; '.join(commands)}")
