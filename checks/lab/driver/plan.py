"""Which scenario runs on which versions of Nix, and which can't run yet."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Sequence

from .driver import REPOSITORY, ROOTS
from .nodes import ACCESS, Versions

SCENARIOS = REPOSITORY / "checks/scenarios"
SUITES = ("bookworm", "trixie", "sid")


@dataclass(frozen=True)
class Job:
    """One run of one scenario."""

    scenario: str
    versions: Versions

    def __str__(self) -> str:
        return f"{self.scenario} on Nix {self.versions}"


def load(name: str) -> ModuleType:
    if str(SCENARIOS) not in sys.path:
        sys.path.insert(0, str(SCENARIOS))
    return importlib.import_module(name)


def all_scenarios() -> list[str]:
    """All there are, found by listing the folder."""
    return sorted(path.stem for path in SCENARIOS.glob("*.py") if path.stem.split("_")[0] != "lib")


def available_versions() -> list[str]:
    """The versions of Nix that there are root file systems of, oldest first."""
    return [(ROOTS / suite).resolve().name for suite in SUITES if (ROOTS / suite / "usr/bin/nix").exists()]


def accesses(scenario: ModuleType) -> list[str]:
    """What the coordinators' key may be on its builders; `not_over` says why some is left out."""
    builders = [node for node in scenario.nodes.values() if node.get("role", "builder") == "builder"]
    if all("access" in node for node in builders):
        return [ACCESS[0]]
    return [access for access in ACCESS if access not in getattr(scenario, "not_over", {})]


def pairwise(scenarios: Sequence[str], versions: Sequence[str], access: str | None) -> list[Job]:
    """One run of each. Any nine neighbours in the folder see all pairs of coordinator and builder between them, and unless it
    is said what the key may be, every third run has a key that is bound to muster."""
    count, numbers = len(versions), {name: number for number, name in enumerate(all_scenarios())}
    jobs = []
    for name in scenarios:
        number, scenario = numbers[name], load(name)
        if len(scenarios) > 1 and getattr(scenario, "matrix_only", False):
            continue
        builder = versions[(number if hasattr(scenario, "one_nix") else number + number // count) % count]
        bound = number % 3 == 2 and "serve" in accesses(scenario)
        jobs.append(Job(name, Versions(versions[number % count], builder, access or ("serve" if bound else ACCESS[0]))))
    return sorted(jobs, key=lambda job: limit_seconds(job.scenario), reverse=True)


def limit_seconds(scenario: str) -> int:
    """How long it may take."""
    return int(getattr(load(scenario), "limit_seconds", 120))


def matrix(scenarios: Sequence[str], versions: Sequence[str]) -> list[Job]:
    """Each on all pairs of versions, with each access; what makes no difference to a scenario is run once. Neighbours are of
    different scenarios: many that need the same at the same time would not get it."""
    jobs: list[tuple[int, Job]] = []
    for name in scenarios:
        scenario = load(name)
        builders = [node for node in scenario.nodes.values() if node.get("role", "builder") == "builder"]
        differs = any("nix" not in node for node in builders)
        pairs = [(c, b) for c in versions for b in (versions if differs else versions[:1])]
        if hasattr(scenario, "one_nix"):
            pairs = [(version, version) for version in versions]
        jobs += enumerate(Job(name, Versions(c, b, a)) for c, b in pairs for a in accesses(scenario))
    return [job for _, job in sorted(jobs, key=lambda numbered: numbered[0])]
