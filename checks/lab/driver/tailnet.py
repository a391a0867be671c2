"""The files and programs of machines that are in a tailnet, and of the one that controls it.

The programs are Tailscale's own and headscale, compiled by checks/lab/tailnet/build. The control server has a
certificate of a private CA, a relay (DERP) of its own, and nothing that would look for the world outside.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

from .nodes import Node

REPOSITORY = Path(__file__).resolve().parents[3]
PROGRAMS = REPOSITORY / "target/tailnet"
PORT = 8443

# Its configuration, and who may what unless the scenario says otherwise: `ci` is the user that owns all tags. checks/vm has the same.
HEADSCALE = Path(__file__).with_name("headscale.yaml")
POLICY = Path(__file__).with_name("policy.json")


def lacking(nodes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Why these nodes can't be made; nothing: they can."""
    wanted = any(node.get("tailscale") or node.get("role") == "control" for node in nodes.values())
    if not wanted or (PROGRAMS / "made-by").exists():
        return []
    return ["no tailnet: checks/lab/tailnet/build makes its programs, and takes Go"]


def programs(node: Node) -> list[tuple[Path, str]]:
    """What is shown in the machine, and where."""
    names = ["headscale"] * node.is_control + ["tailscale", "tailscaled"] * node.tailscale
    return [(PROGRAMS / name, f"/usr/local/bin/{name}") for name in names]


def make_certificates(nodes: Sequence[Node], keys: Path) -> None:
    """A certificate for the control server, which is its own CA."""
    for node in (node for node in nodes if node.is_control):
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=control".split()
        command += ["-addext", f"subjectAltName=IP:{node.address}", "-keyout", str(keys / "tailnet.key"), "-out", str(keys / "tailnet.pem")]
        subprocess.run(command, check=True, capture_output=True, timeout=20)


def files(node: Node, everybody: Sequence[Node], keys: Path) -> Iterator[tuple[str, str]]:
    control = next((other for other in everybody if other.is_control), None)
    if node.is_control:
        yield "/etc/headscale/config.yaml", HEADSCALE.read_text().replace("ADDRESS", node.address).replace("PORT", str(PORT))
        yield "/etc/headscale/policy.json", POLICY.read_text()
        yield "/etc/headscale/cert.pem", (keys / "tailnet.pem").read_text()
        yield "/etc/headscale/key.pem", (keys / "tailnet.key").read_text()
        yield "/var/lib/headscale/.made", ""
        yield "/etc/lab/services", "headscale\n"
    if node.tailscale and control:
        yield "/etc/lab/tailnet-ca.pem", (keys / "tailnet.pem").read_text()
        yield "/etc/lab/tailnet-url", f"https://{control.address}:{PORT}\n"
        yield "/etc/lab/services", "tailscaled\n"
        yield "/etc/resolv.conf", ""
