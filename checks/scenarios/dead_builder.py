"""Does a builder that is off from the start cost the builds of the others nothing?"""

from __future__ import annotations

import time

from lib import Coordinator, Machine, derivation, graph, nix_build, ran_on, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}, "b2": {"role": "builder"}}
LENGTH = 8


def chain() -> str:
    steps = {f"s{number}": derivation(f"step{number}", inputs=[f"s{number - 1}"] if number else []) for number in range(LENGTH)}
    return graph(steps, goals=[f"s{LENGTH - 1}"])


def seconds(localmachine: Machine, b2: Machine) -> float:
    """How long a chain takes, of the best of two."""
    times = []
    for _ in range(2):
        began = time.monotonic()
        [path] = nix_build(localmachine, chain())
        times.append(time.monotonic() - began)
        assert ran_on(path, [b2]) == "b2"
    return min(times)


def script(localmachine: Machine, b2: Machine) -> None:
    localmachine.start()
    b2.start()
    coordinator = Coordinator(localmachine)

    with subtest("how long a chain of builds takes without it"):
        coordinator.start(builders=[uri("b2")])
        coordinator.wait_for_health("healthy", "b2")
        alone = seconds(localmachine, b2)
        coordinator.stop()

    with subtest("the same while the first builder named is off"):
        coordinator.start(builders=[uri("b1"), uri("b2")])
        coordinator.wait_for_health("healthy", "b2", timeout=8)
        beside = seconds(localmachine, b2)
        coordinator.wait_for_health("down", "b1")

    # 0.05 s for each build, and what a busy machine varies by. A connection tried in vain takes 3 s here.
    assert beside < alone + 0.05 * LENGTH + 0.5 * alone, f"{beside:.2f} s instead of {alone:.2f} s"
