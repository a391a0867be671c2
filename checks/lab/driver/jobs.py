"""Runs scenarios, each in a box of its own: one line for each, and the logs of those that fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from . import cgroup, pool, tailnet
from .driver import REPOSITORY
from .passed import Passed
from .plan import Job, limit_seconds, load
from .pool import Outcome

LOGS = REPOSITORY / "target/logs/scenarios"
# Should the runner's thread die, the box dies, and with the box all that is in it.
BOX = "setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child --mount-proc --net --".split()
# The control group of the box itself; no machine has such a name.
DRIVER = "the-driver"
TAIL = 40


@dataclass(frozen=True)
class Options:
    """How scenarios are run; `passed` hears of each that passes, at once."""

    muster: Path
    loud: bool = False
    keep: bool = False
    passed: Passed | None = None


@dataclass(frozen=True)
class Run:
    """One job, in a box of its own."""

    job: Job
    options: Options

    def __str__(self) -> str:
        return str(self.job)

    def run(self) -> Outcome:
        scenario, missing = load(self.job.scenario), load("lib").missing
        lacks = [reason for need in getattr(scenario, "needs", ()) if (reason := missing(need, self.options.muster))]
        lacks += tailnet.lacking(scenario.nodes)
        if lacks:
            print(f"skipped  {self.job}: {'; '.join(lacks)}", flush=True)
            return "skipped"
        logs = LOGS / f"{self.job.scenario}-{self.job.versions}"
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir(parents=True)
        began = time.monotonic()
        run_id = f"{os.getpid()}-{self.job.scenario}-{self.job.versions}".replace(".", "_")
        status = in_box(self.job, run_id, logs, self.options)
        outcome: Outcome = "FAILED" if status else "passed"
        report = f"{outcome:8} {self.job} in {pool.taken(began, run_id)}"
        print(report + (f"; logs in {logs}:\n{tails(logs)}" if status else ""), flush=True)
        if self.options.passed and outcome == "passed":
            self.options.passed.add(self.job)
        return outcome


def why_not(versions: Sequence[str]) -> str | None:
    """Why no scenario can run here."""
    if os.getuid() != 0:
        return "making machines takes root"
    return None if versions else "no root file system: make them by checks/lab/root"


def in_box(job: Job, run_id: str, logs: Path, options: Options) -> int:
    words = [*BOX, sys.executable, "-m", "driver", job.scenario, "--run", run_id, "--logs", logs, "--muster", options.muster]
    words += ["--versions", job.versions.coordinator, job.versions.builder, job.versions.access]
    words += ["--loud"] * options.loud + ["--keep"] * options.keep
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY / "checks/lab"), "PYTHONDONTWRITEBYTECODE": "1"}
    with (logs / "box.log").open("wb") as said:
        stderr = None if options.loud or options.keep else said
        box = subprocess.Popen(cgroup.Cgroup(run_id, DRIVER).joining([str(word) for word in words]), env=env, stdout=said, stderr=stderr, stdin=None if options.keep else subprocess.DEVNULL)
        try:
            return box.wait(None if options.keep else 60 + limit_seconds(job.scenario))
        except subprocess.TimeoutExpired:
            box.kill()
            return box.wait()


def tails(logs: Path) -> str:
    """The driver's whole log and the end of all others."""
    parts = []
    for path in sorted(logs.glob("*.log"), key=lambda path: (path.name != "driver.log", path.name)):
        lines = path.read_text(errors="replace").splitlines()
        shown = lines if path.name == "driver.log" else lines[-TAIL:]
        if shown:
            parts.append("\n".join([f"  --- {path.name}", *(f"    {line}" for line in shown)]))
    return "\n".join(parts)
