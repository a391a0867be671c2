"""Commands inside a machine, and waiting for what they say. Every command is bounded in time."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Callable, IO

from .cgroup import Cgroup
from .log import Log

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
POLL_SECONDS = 0.1


class CommandFailed(Exception):
    """A command did not do what the scenario says it must."""


class Background:
    """A command that runs while the scenario goes on."""

    def __init__(self, title: str, process: subprocess.Popen[bytes], stdout: IO[bytes]) -> None:
        self._title, self._process, self._stdout = title, process, stdout

    def is_running(self) -> bool:
        return self._process.poll() is None

    def output(self) -> str:
        """What it has said so far, on stdout and stderr."""
        return read_again(self._stdout)

    def interrupt(self) -> None:
        """Ctrl-C, for its whole process group."""
        os.kill(child_of(self._process.pid), signal.SIGINT)

    def wait(self, timeout: float = 120) -> tuple[int, str]:
        """Its status and what it said."""
        try:
            return self._process.wait(timeout), self.output()
        except subprocess.TimeoutExpired:
            raise CommandFailed(f"still running after {timeout} s: {self._title}\n{self.output()}") from None

    def succeed(self, timeout: float = 120) -> str:
        status, output = self.wait(timeout)
        if status != 0:
            raise CommandFailed(f"status {status} of: {self._title}\n{output}")
        return output


class Shell:
    """Runs commands in the namespaces of the process `self._init`."""

    def __init__(self, name: str, console: IO[bytes], cgroup: Cgroup, log: Log) -> None:
        self.name, self.cgroup = name, cgroup
        self._console, self._log = console, log
        self._init = 0

    def execute(self, command: str, timeout: float = 120) -> tuple[int, str]:
        """Runs it by bash as root; its status and what it said on stdout. stderr goes to the console."""
        return self._execute(command, timeout, None)

    def spawn(self, command: str, timeout: float = 600) -> Background:
        """Runs it in the background."""
        self._log.say(f"{self.name}: in the background: {command}")
        stdout = tempfile.TemporaryFile()
        return Background(f"{self.name}: {command}", self._enter(command, timeout, None, stdout, stdout), stdout)

    def copy_from_host(self, source: str, target: str) -> None:
        """Copies a file of the machine that the lab runs on."""
        mode = Path(source).stat().st_mode & 0o777
        with open(source, "rb") as stdin:
            status, _ = self._execute(f"install -D -m {mode:o} /dev/stdin {shlex.quote(target)}", 120, stdin)
        if status != 0:
            raise CommandFailed(f"{self.name}: cannot write {target}")

    # stdout is a file, so that what stays behind in the background holds nobody up.
    def _execute(self, command: str, timeout: float, stdin: IO[bytes] | None) -> tuple[int, str]:
        with tempfile.TemporaryFile() as stdout:
            process = self._enter(command, timeout, stdin, stdout, self._console)
            try:
                status = process.wait(timeout + 10)
            except subprocess.TimeoutExpired:
                process.kill()
                status = 124
            return status, read_again(stdout)

    def _enter(self, command: str, timeout: float, stdin: IO[bytes] | None, stdout: IO[bytes], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        if not self._init:
            raise CommandFailed(f"{self.name} is off: {command}")
        words = ["nsenter", f"--target={self._init}", "--mount", "--uts", "--ipc", "--net", "--pid", "--"]
        words += ["timeout", "--kill-after=3", str(timeout), "bash", "-c", "set -euo pipefail; cd /root; " + command]
        env = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/root", "USER": "root"}
        return subprocess.Popen(self.cgroup.joining(words), stdin=stdin or subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=env)

    def succeed(self, *commands: str, timeout: float = 120) -> str:
        """All must succeed; their stdout."""
        return "".join(self._must(command, timeout, succeeded) for command in commands)

    def fail(self, *commands: str, timeout: float = 120) -> str:
        """All must fail; their stdout."""
        return "".join(self._must(command, timeout, failed) for command in commands)

    def _must(self, command: str, timeout: float, holds: Callable[[int], bool]) -> str:
        began = time.monotonic()
        status, output = self.execute(command, timeout)
        self._log.say(f"{self.name}: {command} -> {status} in {time.monotonic() - began:.2f} s")
        if not holds(status):
            raise CommandFailed(f"{self.name}: status {status} of: {command}\n{output}")
        return output

    def wait_until_succeeds(self, command: str, timeout: float = 60) -> str:
        return self._poll(command, timeout, succeeded)

    def wait_until_fails(self, command: str, timeout: float = 60) -> str:
        return self._poll(command, timeout, failed)

    def _poll(self, command: str, timeout: float, holds: Callable[[int], bool]) -> str:
        began = time.monotonic()
        while True:
            status, output = self.execute(command, max(began + timeout - time.monotonic(), 1))
            waited = time.monotonic() - began
            if holds(status):
                self._log.say(f"{self.name}: {command} -> {status} after {waited:.2f} s")
                return output
            if waited > timeout:
                raise CommandFailed(f"{self.name}: still status {status} after {timeout} s of: {command}\n{output}")
            time.sleep(POLL_SECONDS)

    def wait_for_open_port(self, port: int, addr: str = "localhost", timeout: float = 60) -> None:
        self.wait_until_succeeds(f": </dev/tcp/{addr}/{port}", timeout)

    def wait_for_closed_port(self, port: int, addr: str = "localhost", timeout: float = 60) -> None:
        self.wait_until_fails(f": </dev/tcp/{addr}/{port}", timeout)

    def wait_for_file(self, path: str, timeout: float = 60) -> None:
        self.wait_until_succeeds(f"test -e {shlex.quote(path)}", timeout)

    def wait_for_unit(self, unit: str, timeout: float = 60) -> None:
        """The lab's services go by systemd's names for them; everything else is up when the machine is."""
        if unit.split(".")[0] in ("ssh", "sshd", "nix-daemon", "headscale", "tailscaled"):
            self.wait_until_succeeds(f"/run/lab/service is-active {unit}", timeout)

    def systemctl(self, command: str) -> tuple[int, str]:
        """start, stop, restart and is-active, for sshd, nix-daemon, headscale and tailscaled."""
        self._log.say(f"{self.name}: systemctl {command}")
        return self.execute(f"/run/lab/service {command}")


def succeeded(status: int) -> bool:
    return status == 0


def failed(status: int) -> bool:
    return status != 0


def read_again(file: IO[bytes]) -> str:
    """All of a file that somebody else appends to by the same descriptor: its position must stay."""
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), size, 0).decode(errors="replace")


def child_of(pid: int) -> int:
    """The process that `unshare --fork` or `nsenter --pid` has become the parent of."""
    for _ in range(100):
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = stat.read_text().rpartition(")")[2].split()[1]
            except OSError:  # ended meanwhile
                continue
            if parent == str(pid):
                return int(stat.parent.name)
        time.sleep(0.01)
    raise RuntimeError(f"process {pid} has no child")
