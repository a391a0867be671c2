"""The measurements over ssh, seen from outside: starts `over_ssh.py` in the lab and makes its table."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "checks/lab"), str(REPOSITORY / "checks/scenarios"), str(REPOSITORY / "checks/bench.d")]

from driver import cgroup, jobs, plan  # noqa: E402

USUAL = ["one_build", "lost_builder", "dead_builder"]
LONG = ["many_builds", "long_builds", "chain_bytes", "slow_builder", "idle", "uploads"]
# Those that the targets are for.
VERSIONS = ["2.26.3", "2.34.8"]
WAYS = ["stock", "tuned", "muster"]


def versions():
    """The versions of Nix that this machine can be measured with."""
    return [version for version in VERSIONS if os.geteuid() == 0 and version in plan.available_versions()]


def measure(version, sections, rounds, muster):
    """The rows that over_ssh.py prints."""
    cgroup.sweep()
    logs = jobs.LOGS / f"bench-{version}"
    logs.mkdir(parents=True, exist_ok=True)
    run = f"{os.getpid()}-bench-{version}".replace(".", "_")
    words = [*jobs.BOX, sys.executable, "-m", "driver", "over_ssh", "--run", run, "--logs", logs, "--muster", muster,
             "--versions", version, version, "ssh"]
    env = {**os.environ, "PYTHONPATH": f"{REPOSITORY}/checks/lab:{REPOSITORY}/checks/bench.d", "PYTHONDONTWRITEBYTECODE": "1",
           "BENCH_SECTIONS": " ".join(sections), "BENCH_ROUNDS": str(rounds)}
    done = subprocess.run([str(word) for word in words], env=env, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    cgroup.sweep(run)
    if done.returncode != 0:
        print((logs / "driver.log").read_text()[-3000:], file=sys.stderr)
        done.check_returncode()
    return ast.literal_eval(done.stdout.splitlines()[-1])


def table(version, rows):
    lines = [f"### Over ssh, 32 ms away, Nix {version}", "",
             "| measured | stock | tuned stock | muster | muster / stock | target |", "|---|---:|---:|---:|---:|---|"]
    lines += ["| " + " | ".join([f"{row['name']}, {row['unit']}", *(cell(row, way) for way in WAYS), ratio_text(row), target(row)]) + " |"
              for row in rows]
    return "\n".join(lines) + "\n"


def missed(version, rows):
    return [f"over ssh, Nix {version}: {row['name']}" for row in rows if verdict(row) is False]


def cell(row, way):
    """The median, and the smallest and the largest where there are several."""
    values = row["taken"].get(way)
    if not values:
        return row.get("notes", {}).get(way, "")
    spread = f" ({min(values):.3g} to {max(values):.3g})" if len(values) > 1 else ""
    return f"{median(values):.3g}{spread}"


def ratio(row):
    stock, ours = row["taken"].get("stock"), row["taken"].get("muster")
    return median(ours) / median(stock) if stock and ours else None


def ratio_text(row):
    return f"{ratio(row):.2f}" if ratio(row) is not None else ""


def verdict(row):
    """Whether the target is met; none without a target."""
    if not ("ratio_max" in row or "muster_max" in row):
        return None
    ours = row["taken"].get("muster")
    if not ours:
        return False
    return median(ours) <= row["muster_max"] if "muster_max" in row else (ratio(row) or 1) <= row["ratio_max"]


def target(row):
    texts = {"ratio_max": "at most {} x stock", "muster_max": "at most {} {unit}"}
    for key, text in texts.items():
        if key in row:
            return text.format(row[key], unit=row["unit"]) + (": met" if verdict(row) else ": **missed**")
    return ""
