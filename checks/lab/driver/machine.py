"""One machine: a shell, a power switch and a cable."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Sequence

from .cgroup import Cgroup
from .log import Log
from .network import Network
from .nodes import Node
from .shell import PATH, Shell, child_of

BOOT = Path(__file__).with_name("boot")
UNSHARE = "unshare --mount --propagation private --pid --fork --kill-child --uts --ipc --net --".split()
BOOT_SECONDS = 30


class Machine(Shell):
    """A machine that can be started, used, broken and started again.

    `directory` holds what it has written over `root`; `shown` are files of the outside and where they appear.
    """

    def __init__(self, node: Node, root: Path, directory: Path, network: Network, log: Log, run: str, shown: Sequence[tuple[Path, str]]) -> None:
        super().__init__(node.name, (directory / "console").open("ab"), Cgroup(run, node.name), log)
        self.node, self._directory, self._network = node, directory, network
        self._boot = [str(word) for word in (BOOT, root, directory, run, node.name, *(word for pair in shown for word in pair))]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, keep_store: bool = True) -> None:
        """Starts it and waits until its services answer."""
        self.begin_start(keep_store)
        self.end_start()

    def begin_start(self, keep_store: bool = True) -> None:
        """The first half of a start, so that several machines can start side by side."""
        if self._process is not None:
            return
        self._log.say(f"{self.name}: start{'' if keep_store else ' with an empty store'}")
        if not keep_store:
            shutil.rmtree(self.upper / "nix", ignore_errors=True)
        self._process = subprocess.Popen(
            self.cgroup.joining(UNSHARE + self._boot),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._console,
            env={"PATH": PATH, "LANG": "C.UTF-8"},
        )

    def end_start(self) -> None:
        process = self._process
        if process is None or self._init:
            return
        assert process.stdin
        self._hear("unshared")
        self._network.plug(self.node, process.pid)
        process.stdin.write(f"{self.node.address} {self.node.address6}\n".encode())
        process.stdin.close()
        self._hear("up")
        self._init = child_of(process.pid)

    def crash(self) -> None:
        """Power failure: the link goes first, so that nobody hears a last word."""
        self._log.say(f"{self.name}: crash")
        self._end()

    def shutdown(self) -> None:
        """The processes are asked to end, and their connections are closed."""
        self._log.say(f"{self.name}: shutdown")
        self.execute("kill -TERM -1", timeout=5)
        time.sleep(0.3)
        self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if self._init:
            self._network.unplug(self.node)
        os.kill(self._init or process.pid, signal.SIGKILL)
        self._init = 0
        process.wait(10)

    def _hear(self, word: str) -> None:
        assert self._process and self._process.stdout
        stdout = self._process.stdout
        heard = stdout.readline().decode().strip() if select.select([stdout], [], [], BOOT_SECONDS)[0] else "nothing"
        if heard != word:
            raise RuntimeError(f"{self.name} does not start: {heard!r} instead of {word!r}; its console:\n{self.console()}")

    @property
    def upper(self) -> Path:
        """What it has written, seen from outside."""
        return self._directory / "upper"

    @property
    def is_up(self) -> bool:
        return self._process is not None

    def console(self) -> str:
        return (self._directory / "console").read_text(errors="replace")

    def limit_cpu(self, cores: float | None) -> bool:
        """From now on all that runs on it has so many cores at most; none: no limit. False where that can't be done."""
        self._log.say(f"{self.name}: {cores} cores")
        return self.cgroup.limit_cpu(cores)

    def block(self, drop: bool = False) -> None:
        """Pulls the cable; with `drop` packets vanish on their way instead, and the machine's carrier stays."""
        self._log.say(f"{self.name}: block{' by dropping packets' if drop else ''}")
        if drop:
            self._network.forward(self.node, on=False)
        else:
            self._network.link(self.node, up=False)

    def unblock(self) -> None:
        self._log.say(f"{self.name}: unblock")
        self._network.link(self.node, up=True)
        self._network.forward(self.node, on=True)
