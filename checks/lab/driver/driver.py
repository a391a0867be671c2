"""All machines of one scenario, and what the NixOS test driver has beside machines."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Mapping

from . import files, keys, tailnet
from .log import Log
from .machine import Machine
from .network import Network
from .nodes import Node, Versions, declared

REPOSITORY = Path(__file__).resolve().parents[3]
ROOTS = REPOSITORY / "target/roots"
# An empty directory shared by all boxes: each mounts on it, seen by itself alone.
SCRATCH = ROOTS / ".view"
MUSTER_INSIDE = "/usr/local/bin/muster"


class Driver:
    """Makes the machines; none is started yet."""

    def __init__(self, nodes: Mapping[str, Mapping[str, Any]], versions: Versions, run: str, logs: Path, muster: Path, loud: bool) -> None:
        self.log = Log(logs / "driver.log", loud)
        self._logs, self._run = logs, run
        self.nodes = declared(nodes, versions)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", SCRATCH], check=True)
        self._network = Network()
        self._keys = SCRATCH / "keys"
        names = [f"host-{node.name}" for node in self.nodes] + [f"user-{node.name}" for node in self.nodes if node.is_coordinator]
        keys.make(self._root(self.nodes[0]), self._keys, names)
        tailnet.make_certificates(self.nodes, self._keys)
        shown = [(muster, MUSTER_INSIDE)] if muster.exists() else []
        self.machines = {node.name: self._machine(node, shown + tailnet.programs(node)) for node in self.nodes}

    def _root(self, node: Node) -> Path:
        root = (ROOTS / node.nix).resolve()
        if not (root / "usr/bin/nix").exists():
            raise RuntimeError(f"no root file system with Nix {node.nix}: make it by checks/lab/root")
        return root

    def _machine(self, node: Node, shown: list[tuple[Path, str]]) -> Machine:
        root, directory = self._root(node), SCRATCH / node.name
        directory.mkdir()
        files.write(files.of(node, self.nodes, root, self._keys), directory / "upper")
        return Machine(node, root, directory, self._network, self.log, self._run, shown)

    def start_all(self) -> None:
        """Starts all machines side by side."""
        for machine in self.machines.values():
            machine.begin_start()
        for machine in self.machines.values():
            machine.end_start()

    def subtest(self, name: str) -> AbstractContextManager[None]:
        return self.log.step(f"subtest: {name}")

    def delay(self, rtt_ms: float) -> None:
        """From now on a round trip between a coordinator and any other machine takes `rtt_ms`."""
        self.log.say(f"delay: {rtt_ms} ms")
        self._network.delay(rtt_ms, *(node for node in self.nodes if node.role == "coordinator"))

    def end(self) -> None:
        """Keeps what the machines wrote, and ends them."""
        for machine in self.machines.values():
            shutil.copyfile(SCRATCH / machine.name / "console", self._logs / f"{machine.name}.console.log")
            for path in sorted((machine.upper / "var/log").glob("*.log")):
                if path.stat().st_size:
                    shutil.copyfile(path, self._logs / f"{machine.name}.{path.name}")
            if machine.is_up:
                machine.crash()
