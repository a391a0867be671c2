"""Jobs side by side, as many as the machine has room for; what fails beside others is run once more alone."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Sequence

from . import cgroup

Outcome = Literal["passed", "FAILED", "skipped"]


class Job(Protocol):
    """Its text is its name. It prints how it ended."""

    def run(self) -> Outcome: ...


# Most of a job is waiting, and its beginning is not. So one more begins where processors were idle for this share of this
# many seconds, which is longer than a job takes to show what it needs.
ROOM = 0.2
SECONDS = 1.0
# For each processor.
MOST = 5


@dataclass(frozen=True)
class Command:
    """Words for the shell. What it says is printed when it has ended, in any case."""

    words: str

    def __str__(self) -> str:
        return self.words

    def run(self) -> Outcome:
        began = time.monotonic()
        done = subprocess.run(["sh", "-c", self.words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        outcome: Outcome = "FAILED" if done.returncode else "passed"
        said = done.stdout.decode(errors="replace")
        print(f"{said}{outcome:8} {self.words} in {time.monotonic() - began:.1f} s", flush=True)
        return outcome


@dataclass(frozen=True)
class Sums:
    """How all ended."""

    outcomes: Counter[Outcome]
    # What failed beside others and passed alone.
    unsteady: Sequence[str]

    @property
    def failed(self) -> int:
        return self.outcomes["FAILED"]

    def __str__(self) -> str:
        counts = f"{self.outcomes['passed']} passed, {self.failed} failed, {self.outcomes['skipped']} skipped"
        return counts + (f"; failed beside others and passed alone: {', '.join(self.unsteady)}" if self.unsteady else "")


def mixed(some: Sequence[Job], others: Sequence[Job]) -> list[Job]:
    """All, each kind in its order and evenly spread over the whole."""
    places = [((number + 0.5) / len(kind), job) for kind in (some, others) for number, job in enumerate(kind)]
    return [job for _, job in sorted(places, key=lambda placed: placed[0])]


def run_all(jobs: Sequence[Job], side_by_side: int | None = None) -> Sums:
    """Runs all in this order: one to five jobs for each processor side by side, or just `side_by_side`.

    Bounds of time may break where the machine is too busy: what fails, if it is not many, is run once more alone.
    """
    side_by_side, most_again = side_by_side or number("MUSTER_TEST_JOBS"), number("MUSTER_TEST_AGAIN")
    least, most = (side_by_side, side_by_side) if side_by_side else (processors(), MOST * processors())
    cgroup.sweep()
    outcomes = together(jobs, least, most)
    again = [index for index, outcome in enumerate(outcomes) if outcome == "FAILED"] if most > 1 and len(jobs) > 1 else []
    most_again = max(5, len(jobs) // 20) if most_again is None else most_again
    for index in again if len(again) <= most_again else []:
        outcomes[index] = jobs[index].run()
    return Sums(Counter(outcomes), [str(jobs[index]) for index in again if outcomes[index] == "passed"])


def number(name: str) -> int | None:
    """What the environment says."""
    return int(os.environ[name]) if name in os.environ else None


def together(jobs: Sequence[Job], least: int, most: int) -> list[Outcome]:
    with ThreadPoolExecutor(most) as pool:
        begun: list[Future[Outcome]] = []
        for job in jobs:
            wait_for_room(begun, least, most)
            begun.append(pool.submit(job.run))
        return [future.result() for future in begun]


def wait_for_room(begun: Sequence[Future[Outcome]], least: int, most: int) -> None:
    began, before = time.monotonic(), processor_times()
    while len(running := [future for future in begun if not future.done()]) >= least:
        wait(running, max(began + SECONDS - time.monotonic(), 0), FIRST_COMPLETED)
        if time.monotonic() < began + SECONDS:
            continue
        began, now = time.monotonic(), processor_times()
        idle, whole = (new - old for new, old in zip(now, before))
        before = now
        if len(running) < most and idle > ROOM * whole:
            return


def taken(began: float, run_id: str) -> str:
    """What a job has taken that began then, and whose control groups are of this run; they are removed."""
    report = f"{time.monotonic() - began:.1f} s"
    if (spent := cgroup.spent(run_id)) is not None:
        report += f", {spent:.1f} s of a processor"
    cgroup.sweep(run_id)
    return report


def processors() -> int:
    return len(os.sched_getaffinity(0))


def processor_times() -> tuple[int, int]:
    """Of all processors since the machine is up: how long they were idle, and the whole time."""
    times = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return times[3] + times[4], sum(times)
