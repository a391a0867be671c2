"""The integration tests named e2e_*: each program in each root file system, with its Nix."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import Sequence

from . import cgroup, pool
from .driver import REPOSITORY, ROOTS
from .plan import SUITES

LOGS = REPOSITORY / "target/logs"
TARGET = REPOSITORY / os.environ.get("CARGO_TARGET_DIR", "target")
CARGO = ["cargo", "--locked", "--quiet"]
MINUTES = os.environ.get("MUSTER_TEST_MINUTES", "10")
# Those that take longest begin first, so that none runs alone at the end.
LONG = ["e2e_loss", "e2e_coordinator", "e2e_control", "e2e_load", "e2e_ssh", "e2e_logs", "e2e_local", "e2e_doctor"]


class NoSuchTest(Exception):
    """No name begins so."""


@dataclass(frozen=True)
class Run:
    """One program of tests in one root file system."""

    test: str
    program: str
    suite: str

    def __str__(self) -> str:
        return f"{self.test}-{self.suite}"

    def run(self) -> pool.Outcome:
        root = ROOTS / self.suite
        if os.getuid() != 0 or not root.is_symlink():
            print(f"skipped  {self.test} on {self.suite}: takes root and a root file system", flush=True)
            return "skipped"
        version = root.readlink().name
        run_id = f"{os.getpid()}-{self.test}-{version}".replace(".", "_")
        words = ["timeout", "--kill-after=10", f"{MINUTES}m", "checks/lab/enter", version, "--", self.program, "--include-ignored"]
        began, log = time.monotonic(), LOGS / f"{self.test}-{version}"
        LOGS.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as said:
            command = cgroup.Cgroup(run_id, "tests").joining(words)
            status = subprocess.run(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=said, stderr=said).returncode
        outcome: pool.Outcome = "FAILED" if status else "passed"
        report = f"{outcome:8} {self.test} on Nix {version} in {pool.taken(began, run_id)}"
        if status:
            lines = log.read_text(errors="replace").splitlines()
            report += "\n".join([f" with status {status}; output:", *(f"    {line}" for line in lines)])
        print(report, flush=True)
        return outcome


def runs(wanted: str = "e2e_", suites: Sequence[str] = SUITES) -> list[Run]:
    """All of the tests whose names begin so, compiled; the longest first."""
    if "e2e_upgrade".startswith(wanted):
        make_next_program()
    tests = programs()
    chosen = sorted((test for test in tests if test.startswith(wanted)), key=lambda test: LONG.index(test) if test in LONG else len(LONG))
    if not chosen:
        raise NoSuchTest(f"no test's name begins with '{wanted}'; there are: {' '.join(tests)}")
    return [Run(test, tests[test], suite) for test in chosen for suite in suites]


def make_next_program() -> None:
    """target/next/muster: as ours, with our own protocols one version ahead. What is built next has its usual place again."""
    subprocess.run([*CARGO, "build", "--features", "next-protocol"], cwd=REPOSITORY, check=True)
    later = REPOSITORY / "target/next"
    later.mkdir(exist_ok=True)
    shutil.copy2(TARGET / "debug/muster", later / "muster")


def programs() -> dict[str, str]:
    """The path of each by its name, from cargo's machine-readable messages."""
    words = ["test", "--no-run", "--message-format=json-render-diagnostics"]
    said = subprocess.run([*CARGO, *words], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in said.splitlines()]
    made = {message["target"]["name"]: message["executable"] for message in messages if message.get("target", {}).get("kind") == ["test"]}
    return {name: path for name, path in made.items() if name.startswith("e2e_")}
