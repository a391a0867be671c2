"""Are twenty builders half a second away probed about as fast as one, also beside twenty that are off?"""

from __future__ import annotations

import time

from lib import Coordinator, Machine, delay, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
COUNT = 20
NAMES = [f"b{number}" for number in range(1, COUNT + 1)]
OFF = [f"off{number}" for number in range(1, COUNT + 1)]
nodes = {"localmachine": {"role": "coordinator"}, **{name: {"role": "builder"} for name in NAMES + OFF}}
CONFIG = '[timeouts]\nprobe_timeout = "30s"\nconnect_timeout = "30s"\n'
limit_seconds = 240


def probe(coordinator: Coordinator, names: list[str], off: list[str]) -> float:
    """The seconds from the coordinator's start until all of `names` are healthy."""
    began = time.monotonic()
    coordinator.start(CONFIG, builders=[uri(name) for name in off + names])
    coordinator.wait_for_health("healthy", *names, timeout=60)
    took = time.monotonic() - began
    coordinator.stop()
    return took


def script(localmachine: Machine, **machines: Machine) -> None:
    for name in ["localmachine", *NAMES]:
        (localmachine if name == "localmachine" else machines[name]).start()
    delay(500)
    coordinator = Coordinator(localmachine)

    with subtest("one"):
        one = probe(coordinator, NAMES[:1], [])
    with subtest("twenty"):
        twenty = probe(coordinator, NAMES, [])
    with subtest("twenty, and twenty that are off"):
        beside = probe(coordinator, NAMES, OFF)
    assert twenty <= 1.5 * one and beside <= 1.5 * one, f"one {one:.1f} s, twenty {twenty:.1f} s, beside unreachable ones {beside:.1f} s"
