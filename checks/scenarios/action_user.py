"""Does a job whose user is not root do by sudo what it must, and leave nothing behind, also when it is cancelled?"""

from __future__ import annotations

import time

from lib import Machine, start_all, subtest, wait_for
from lib_tailnet import Tailnet
from lib_workflow import NEEDS, NODES, SEED, Cluster, policy

needs = NEEDS
limit_seconds = 300
nodes = NODES
# Not the coordinator's ssh processes, which are gone with it.
LEFT = "pgrep -af '[m]uster(-action/bin/muster)? (coordinator|builder|action|wait)'"


def script(control: Machine, hub: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    Tailnet(control)
    # It lets coordinators log in as anybody.
    policy(control, SEED)
    machines, builders = [hub, b1, b2], [b1, b2]
    for machine in machines:
        # By this the lab's sudo becomes root.
        machine.succeed("install -m 4755 $(command -v setpriv) /usr/local/bin/become-root")
        assert machine.succeed("runuser -u alice -- sudo -n id -u").strip() == "0"

    with subtest("it joins, builds and ends by sudo, and its user stops the builders without"):
        cluster = Cluster(control, hub, builders, 1, user="alice")
        cluster.joined(cluster.start())
        cluster.step("Execute")
        assert cluster.parts() == {"b1", "b2"}
        hub.succeed("mv /usr/local/bin/sudo /usr/local/bin/no-sudo")
        cluster.step("Teardown")
        hub.succeed("mv /usr/local/bin/no-sudo /usr/local/bin/sudo")
        for serving in cluster.serving.values():
            serving.succeed(60)
        cluster.finish()
        left(control, machines)
        cluster.no_secret()

    with subtest("the coordinator logs in as that user too, where the inputs say so; one key does for both roles"):
        cluster = Cluster(control, hub, builders, 2, user="alice", inputs={"user": "alice"}, one_key=True)
        cluster.joined(cluster.start())
        assert hub.succeed("cat /srv/runner/muster-action/config.toml").count('user = "alice"') == 1
        cluster.step("Execute")
        assert cluster.parts() == {"b1", "b2"}
        hub.succeed("muster status >&2")

    with subtest("cancelled in the middle of a build, every job tears down and leaves nothing"):
        hub.succeed(f"sed -i s/part-/other-/g {cluster.coordinator.temp}/checkout/flake.nix")
        build = cluster.begin_build()
        wait_for(lambda: all(machine.execute("pgrep -f '[s]leep 3'")[0] == 0 for machine in builders), "both build", 60)
        began = time.monotonic()
        cluster.coordinator.cancel(build)
        assert build.wait(1)[0] != 0, build.output()
        # Here the shell alone hears of it, there the step's own program.
        cluster.builders[0].cancel(cluster.serving["b1"])
        b2.succeed("pkill -INT -f '[m]uster action serve'")
        assert cluster.serving["b2"].wait(20)[0] == 130, cluster.serving["b2"].output()
        b2.fail("pgrep -f '[m]uster builder'")
        cluster.finish()
        assert time.monotonic() - began < 60, time.monotonic() - began
        left(control, machines)
        cluster.no_secret()

    with subtest("cancelled while its coordinator still waits, too"):
        cluster = Cluster(control, hub, builders, 3, user="alice")
        cluster.start(absent=1)
        wait_for(lambda: hub.execute("pgrep -f '[m]uster wait'")[0] == 0, "the coordinator waits", 60)
        hub.succeed("pkill -INT -f '[m]uster action start'")
        wait_for(lambda: cluster.failure is not None, "the step has ended", 20)
        assert "status 130" in str(cluster.failure), cluster.failure
        cluster.builders[0].cancel(cluster.serving["b1"])
        cluster.finish()
        left(control, machines)


def left(control: Machine, machines: list[Machine]) -> None:
    """Nobody of the cluster is in the tailnet, and nothing of it runs."""
    wait_for(lambda: "nix-" not in control.succeed("headscale nodes list"), "all nodes are gone", 60)
    for machine in machines:
        wait_for(lambda: machine.execute(LEFT)[0] != 0, f"nothing is left on {machine.name}", 10)
        machine.fail("test -e /srv/runner/muster-action/tailscale")
