"""Is a builder that is throttled to a twentieth measured as such, and does it hold nobody up?"""

from __future__ import annotations

import time

from lib import Coordinator, Machine, ran_on, several, start_all, start_build, subtest, uri, wait_for

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "slow": {"role": "builder"}, "twin": {"role": "builder"}}
limit_seconds = 240
# About a quarter of a second of one core.
WORK = "i=0; while [ $i -lt 150000 ]; do i=$((i+1)); done; cat /labhost >$out"


def script(localmachine: Machine, slow: Machine, twin: Machine) -> None:
    start_all()
    limited = slow.limit_cpu(0.05)
    coordinator = Coordinator(localmachine)
    patient = '[endpoint]\nlocal = "never"\n[timeouts]\nprobe_timeout = "60s"\nconnect_timeout = "60s"\n'
    coordinator.start(patient, builders=[{"uri": uri(name), "slots": 4, "speed_factor": None} for name in ("slow", "twin")])
    coordinator.wait_for_health("healthy", "slow", "twin", timeout=90)
    if not limited:
        return

    with subtest("it measures under a tenth of its twin"):
        # Whatever else this machine does slows the twin down, and not the one that has so little anyway: several tries.
        for attempt in range(1, 5):
            wait_for(lambda: all(coordinator.log().count(f"measured builder={name}") >= attempt for name in ("slow", "twin")), "both are measured", 90)
            speeds = {name: coordinator.builder(name)["speed_factor"] for name in ("slow", "twin")}
            if 0 < speeds["slow"] < speeds["twin"] / 10:
                break
            coordinator.restart()
            coordinator.wait_for_health("healthy", "slow", "twin", timeout=90)
        else:
            raise AssertionError(speeds)

    with subtest("builds wait for the twin rather than start there"):
        began = time.monotonic()
        build = start_build(localmachine, several(24, script=WORK))
        said = build.succeed(120)
        took = time.monotonic() - began
        where = [ran_on(path, [slow, twin]) for path in said.split()[-24:]]
        assert where.count("slow") == 0, where
        assert took < 60, took
