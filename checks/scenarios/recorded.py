"""Does muster record write down the graph of a run on three builders, and who built what?

Where RECORDINGS names a directory, the recordings are put there: tests/data/recordings was made so.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

from lib import QUICK, Coordinator, Machine, build_command, derivation, graph, start_all, subtest, uri

needs = ("command:record",)
BUILDERS = ["b1", "b2", "b3"]
nodes = {"localmachine": {"role": "coordinator"}, **{name: {"role": "builder"} for name in BUILDERS}}
limit_seconds = 300
KILOBYTES = 64

Graph = dict[str, list[str]]


def wide(chance: random.Random) -> Graph:
    """Thirty beside each other, and one that needs them all."""
    leaves: Graph = {f"leaf{number}": [] for number in range(30)}
    return {**leaves, "top": list(leaves)}


def deep(chance: random.Random) -> Graph:
    """A chain of ten, and beside each link two that only the end needs."""
    links: Graph = {f"link{number}": [f"link{number - 1}"] if number else [] for number in range(10)}
    beside: Graph = {f"beside{number}": [f"link{number // 2}"] for number in range(20)}
    return {**links, **beside, "end": ["link9", *beside]}


def layered(chance: random.Random) -> Graph:
    """Layers as a distribution has them: each build needs some of the layers below, the lowest most often."""
    all_: Graph = {}
    for layer, size in enumerate([2, 6, 12, 12, 6]):
        below = list(all_)
        for number in range(size):
            needs = {chance.choice(below[: max(2, len(below) // 2)]), chance.choice(below)} if below else set()
            all_[f"pkg{layer}x{number}"] = sorted(needs)
    needed = {name for needs in all_.values() for name in needs}
    return {**all_, "system": [name for name in all_ if name not in needed]}


def script(localmachine: Machine, b1: Machine, b2: Machine, b3: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    for at, shape in enumerate([wide, deep, layered]):
        with subtest(f"{shape.__name__}: every build with what it needs, how long it took and where"):
            coordinator.start(QUICK, builders=[{"uri": uri(name), "slots": 3} for name in BUILDERS])
            coordinator.wait_for_health("healthy", *BUILDERS)
            run(localmachine, shape.__name__, shape(random.Random(at)), random.Random(at + 10))
            coordinator.stop()


def run(localmachine: Machine, name: str, needs: Graph, chance: random.Random) -> None:
    work = {drv: f"sleep {chance.choice([0.1, 0.2, 0.4, 0.8, 1.6])}; head -c {KILOBYTES * chance.randint(1, 8)}k /dev/urandom >$out" for drv in needs}
    derivations = {drv: derivation(f"{name}-{drv}", work[drv], inputs=inputs) for drv, inputs in needs.items()}
    localmachine.succeed(build_command(localmachine, graph(derivations, [list(needs)[-1]])), timeout=120)
    lines = localmachine.succeed("muster record").splitlines()
    assert json.loads(lines[0]) == {"recording": "muster", "version": 1}, lines[0]
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines[1:]]
    assert {row["builder"]["name"] for row in rows if "builder" in row} == set(BUILDERS), lines
    builds = {row["build"]["drv"].partition(f"-{name}-")[2].removesuffix(".drv"): row["build"] for row in rows if "build" in row}
    found = {drv: sorted(need.partition(f"-{name}-")[2].removesuffix(".drv") for need in build["needs"]) for drv, build in builds.items()}
    assert found == {drv: sorted(inputs) for drv, inputs in needs.items()}, found
    assert all(build["seconds"] > 0 and build["output_bytes"] >= KILOBYTES * 1024 and build["attempts"] for build in builds.values())
    assert {attempt["builder"] for build in builds.values() for attempt in build["attempts"]} == set(BUILDERS)
    if directory := os.environ.get("RECORDINGS"):
        (Path(directory) / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
