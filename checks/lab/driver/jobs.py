"""Runs scenarios, each in a box of its own, some side by side; one line for each, and the logs of those that fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from . import cgroup, pool, tailnet
from .driver import REPOSITORY
from .plan import Job, load
from .pool import Outcome

LOGS = REPOSITORY / "target/logs/scenarios"
# Should the runner's thread die, the box dies, and with the box all that is in it.
BOX = "setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child --mount-proc --net --".split()
# The control group of the box itself; no machine has such a name.
DRIVER = "the-driver"
TAIL = 40


@dataclass(frozen=True)
class Options:
    """How the jobs are run."""

    muster: Path
    side_by_side: int | None = None
    loud: bool = False
    keep: bool = False


def run_all(jobs: list[Job], options: Options, missing: Callable[[str], str | None], passes: Callable[[Job], None] | None = None) -> pool.Sums:
    """Runs all. `missing` says what a scenario needs and muster does not have; `passes` hears of each that passes, at once.
    The longest begin first, so that none runs alone at the end."""

    def noted(job: Job) -> Outcome:
        outcome = run(job, options, missing)
        if passes and outcome == "passed":
            passes(job)
        return outcome

    cgroup.sweep()
    return pool.run_all(sorted(jobs, key=limit, reverse=True), noted, options.side_by_side)


def run(job: Job, options: Options, missing: Callable[[str], str | None]) -> Outcome:
    lacks = [reason for need in getattr(load(job.scenario), "needs", ()) if (reason := missing(need))]
    lacks += tailnet.lacking(load(job.scenario).nodes)
    if lacks:
        print(f"skipped  {job}: {'; '.join(lacks)}", flush=True)
        return "skipped"
    logs = LOGS / f"{job.scenario}-{job.versions}"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    began = time.monotonic()
    run_id = f"{os.getpid()}-{job.scenario}-{job.versions}".replace(".", "_")
    status = in_box(job, run_id, logs, options)
    outcome: Outcome = "FAILED" if status else "passed"
    report = f"{outcome:8} {job} in {pool.taken(began, run_id)}"
    print(report + (f"; logs in {logs}:\n{tails(logs)}" if status else ""), flush=True)
    return outcome


def limit(job: Job) -> int:
    """Seconds that a scenario may take."""
    return int(getattr(load(job.scenario), "limit_seconds", 120))


def in_box(job: Job, run_id: str, logs: Path, options: Options) -> int:
    words = [*BOX, sys.executable, "-m", "driver", job.scenario, "--run", run_id, "--logs", logs, "--muster", options.muster]
    words += ["--versions", job.versions.coordinator, job.versions.builder, job.versions.access]
    words += ["--loud"] * options.loud + ["--keep"] * options.keep
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY / "checks/lab"), "PYTHONDONTWRITEBYTECODE": "1"}
    with (logs / "box.log").open("wb") as said:
        stderr = None if options.loud or options.keep else said
        box = subprocess.Popen(cgroup.Cgroup(run_id, DRIVER).joining([str(word) for word in words]), env=env, stdout=said, stderr=stderr, stdin=None if options.keep else subprocess.DEVNULL)
        try:
            return box.wait(None if options.keep else 60 + limit(job))
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
