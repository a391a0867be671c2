"""Is a build lost, or a builder blamed, when our own cable is pulled again and again?"""

from __future__ import annotations

from lib import AT_GATE, GATE, HERE, Coordinator, Machine, close_gate, derivation, open_gate, start_all, start_build, subtest, uri, wait_for

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder", "nix_conf": GATE}, "b2": {"role": "builder", "nix_conf": GATE}}
PULLS = 2
CONFIG = """
[timeouts]
probe_timeout = "4s"
connect_timeout = "4s"
ping_every = "500ms"
silent_after = "1500ms"
lost_after = "3s"
retry_min = "200ms"
retry_max = "500ms"
"""


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    for builder in (b1, b2):
        close_gate(builder)
    coordinator = Coordinator(localmachine)
    coordinator.start(CONFIG, builders=[uri("b1"), uri("b2")])
    coordinator.wait_for_health("healthy", "b1", "b2")
    build = start_build(localmachine, derivation("ours", f"{HERE}; echo begun; {AT_GATE}"))

    for pull in range(1, PULLS + 1):
        with subtest(f"the cable is out for longer than lost_after: {pull} of {PULLS}"):
            wait_for(lambda: build.output().count("begun") >= pull, f"run {pull}")
            coordinator.wait_for_health("healthy", "b1", "b2")
            localmachine.block()
            coordinator.wait_for(lambda rows: all(row["health"] in ("probing", "down") for row in rows.values()), "both are missed")
            localmachine.unblock()

    with subtest("the build succeeds, and both builders are healthy"):
        for builder in (b1, b2):
            open_gate(builder)
        build.succeed(30)
        coordinator.wait_for_health("healthy", "b1", "b2")
        rows = coordinator.status()["builders"]
        assert all(row["lost"] == 0 for row in rows), rows

    with subtest("so it is where there is but one builder, and nobody to fall silent with it"):
        coordinator.stop()
        close_gate(b1)
        coordinator.start(CONFIG, builders=[uri("b1")])
        coordinator.wait_for_health("healthy", "b1")
        alone = start_build(localmachine, derivation("alone", f"{HERE}; echo begun; {AT_GATE}"))
        wait_for(lambda: "begun" in alone.output(), "it begins")
        localmachine.block()
        coordinator.wait_for(lambda rows: rows["b1"]["health"] in ("probing", "down"), "it is missed")
        localmachine.unblock()
        wait_for(lambda: alone.output().count("begun") >= 2, "it begins anew")
        open_gate(b1)
        alone.succeed(30)
        row = coordinator.status()["builders"][0]
        assert row["lost"] == 0, row
        assert "no network interface of this machine has a carrier" in coordinator.log()
