"""Runs scenarios, each in a box of its own, some side by side; one line for each, and the logs of those that fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Literal

from . import cgroup, tailnet
from .driver import REPOSITORY
from .plan import Job, load

LOGS = REPOSITORY / "target/logs/scenarios"
# Should the runner's thread die, the box dies, and with the box all that is in it.
BOX = "setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child --mount-proc --net --".split()
TAIL = 40
MOST_AGAIN = 5

Outcome = Literal["passed", "FAILED", "skipped"]


@dataclass(frozen=True)
class Options:
    """How the jobs are run."""

    muster: Path
    side_by_side: int = 2
    loud: bool = False
    keep: bool = False


def run_all(jobs: list[Job], options: Options, missing: Callable[[str], str | None]) -> Counter[Outcome]:
    """The number of jobs by outcome. `missing` says what a scenario needs and muster does not have.

    The longest begin first, so that none runs alone at the end. What fails beside others, if it is not many, is run once more
    alone: bounds of time may break where the machine is too busy.
    """
    cgroup.sweep()
    jobs = sorted(jobs, key=limit, reverse=True)
    with ThreadPoolExecutor(options.side_by_side) as pool:
        outcomes = list(pool.map(lambda job: run(job, options, missing), jobs))
    if options.side_by_side > 1 and outcomes.count("FAILED") <= MOST_AGAIN:
        outcomes = [run(job, options, missing) if outcome == "FAILED" else outcome for job, outcome in zip(jobs, outcomes)]
    return Counter(outcomes)


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
    status = in_box(job, logs, options)
    outcome: Outcome = "FAILED" if status else "passed"
    report = f"{outcome:8} {job} in {time.monotonic() - began:.1f} s"
    print(report + (f"; logs in {logs}:\n{tails(logs)}" if status else ""), flush=True)
    return outcome


def limit(job: Job) -> int:
    """Seconds that a scenario may take."""
    return int(getattr(load(job.scenario), "limit_seconds", 120))


def in_box(job: Job, logs: Path, options: Options) -> int:
    run_id = f"{os.getpid()}-{job.scenario}-{job.versions}".replace(".", "_")
    words = [*BOX, sys.executable, "-m", "driver", job.scenario, "--run", run_id, "--logs", logs, "--muster", options.muster]
    words += ["--versions", job.versions.coordinator, job.versions.builder, job.versions.access]
    words += ["--loud"] * options.loud + ["--keep"] * options.keep
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY / "checks/lab"), "PYTHONDONTWRITEBYTECODE": "1"}
    with (logs / "box.log").open("wb") as said:
        stderr = None if options.loud or options.keep else said
        box = subprocess.Popen([str(word) for word in words], env=env, stdout=said, stderr=stderr, stdin=None if options.keep else subprocess.DEVNULL)
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
