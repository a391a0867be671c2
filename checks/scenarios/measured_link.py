"""Is a link that carries 50 MB/s measured by the inputs that travel over it, rather than assumed?"""

from __future__ import annotations

from lib import QUICK, Coordinator, Machine, delay, derivation, nix_build, start_all, subtest, uri, wait_for

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}}
# An assumed gigabit would be 125; the lab's slow line passes 50, and a machine that has other things to do less.
LEAST, MOST = 0.5, 70


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    delay(32)
    coordinator = Coordinator(localmachine)
    coordinator.start(QUICK, builders=[{"uri": uri("b1"), "slots": 1}])
    coordinator.wait_for_health("healthy", "b1")

    with subtest("nothing is claimed before anything has travelled"):
        assert coordinator.builder("b1")["measured"]["link_mb_s"] is None

    with subtest("an input of 20 MB says what the line carries, and status shows it"):
        localmachine.succeed("head -c 20M /dev/urandom >/tmp/input")
        path = localmachine.succeed("nix-store --add /tmp/input").strip()
        nix_build(localmachine, derivation("reader", inputs=[f"(builtins.storePath {path})"]), user="root")
        wait_for(lambda: coordinator.builder("b1")["measured"]["link_mb_s"] is not None, "the link is measured", 10)
        rate = coordinator.builder("b1")["measured"]["link_mb_s"]
        assert LEAST < rate < MOST, rate
        assert "MB/s" in localmachine.succeed("muster status")
