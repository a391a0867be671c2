"""Do the example workflow and the reusable one, acted out on machines of a tailnet, build on their builders, report, and leave nothing behind?"""

from __future__ import annotations

import time

from lib import Machine, start_all, subtest, wait_for
from lib_tailnet import Tailnet
from lib_workflow import NEEDS, NODES, Cluster, policy, recommended

needs = NEEDS
limit_seconds = 540
nodes = NODES


def script(control: Machine, hub: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    Tailnet(control)
    policy(control, recommended())
    builders = [b1, b2]

    with subtest("a builder that cannot build says what is broken, and never joins"):
        cluster = Cluster(control, hub, builders, 7)
        cluster.builders[1].overrides = {**cluster.overrides(), "extra_nix_config": "build-users-group = nobody-has-it"}
        try:
            cluster.builders[1].run(cluster.workflow["builder"]["steps"])
        except AssertionError as failure:
            said = str(failure)
        else:
            said = "it serves"
        assert "muster action probe" in said and "cannot build anything" in said and "nobody-has-it" in said, said
        assert "::error title=muster::" in said, said
        cluster.builders[1].finish()
        assert "nix-builder" not in control.succeed("headscale nodes list")

    with subtest("it builds on its builders, and all that was built is here afterwards"):
        cluster = Cluster(control, hub, builders, 1)
        cluster.joined(cluster.start())
        cluster.step("Execute")
        assert cluster.parts() == {"b1", "b2"}

    with subtest("the builders end green when they are released, and the outputs can be pushed"):
        cluster.step("Teardown")
        for serving in cluster.serving.values():
            serving.succeed(60)
        result = hub.succeed(f"readlink {cluster.coordinator.temp}/checkout/result").strip()
        hub.succeed(f"nix --extra-experimental-features nix-command copy --to file:///srv/cache {result}")

    with subtest("the summary tells of it, and the tailnet is left"):
        cluster.finish()
        summary = cluster.coordinator.read("GITHUB_STEP_SUMMARY")
        assert "5 built on 2 builders" in summary and "```mermaid\ngantt" in summary, summary
        wait_for(lambda: "nix-builder" not in control.succeed("headscale nodes list"), "all nodes are gone", 60)
        hub.fail("pgrep -f '[m]uster coordinator'")
        cluster.no_secret()

    with subtest("the reusable workflow does the same by what its caller says, also when a later step rewrites nix.conf"):
        cluster = Cluster(control, hub, builders, 6, ".github/workflows/cluster.yml")
        cluster.joined(cluster.start())
        # As a cache's step may do it: nothing of ours is left there, and the daemon is another one.
        hub.succeed("sed -i '/^# muster/,$d' /etc/nix/nix.conf && echo 'experimental-features = nix-command flakes' >>/etc/nix/nix.conf")
        assert hub.systemctl("restart nix-daemon")[0] == 0
        for part in ("Build", "Release", "Afterwards"):
            cluster.step(part)
        assert cluster.parts() == {"b1", "b2"}
        for serving in cluster.serving.values():
            serving.succeed(60)
        cluster.finish()

    with subtest("a builder that never comes is named, and `min_builders` goes on without it"):
        cluster = Cluster(control, hub, builders, 2)
        cluster.joined(cluster.start(absent=1, min_builders="1", wait="20"))
        warned = [line for line in cluster.coordinator.log.splitlines() if line.startswith("::warning") and "the cluster is without" in line]
        assert len(warned) == 1 and cluster.matrix[1]["id"] in warned[0], cluster.coordinator.log
        cluster.step("Execute")
        assert cluster.parts() == {"b1"}
        cluster.step("Teardown")
        cluster.serving["b1"].succeed(60)
        cluster.finish()

    with subtest("without `min_builders` it is an error that says what is known of it"):
        cluster = Cluster(control, hub, builders, 3)
        thread = cluster.start(absent=1, wait="15")
        thread.join(120)
        said = str(cluster.failure)
        assert "::error title=muster::" in said and cluster.matrix[1]["id"] in said and "min_builders: 1" in said, said
        cluster.finish()
        cluster.serving["b1"].succeed(60)

    with subtest("a builder that is lost in a build costs no build"):
        cluster = Cluster(control, hub, builders, 4)
        cluster.joined(cluster.start())
        build = cluster.begin_build()
        wait_for(lambda: int(b2.succeed("pgrep -fc '[s]leep 3' || true")) > 0, "b2 builds", 60)
        b2.crash()
        build.succeed(180)
        assert cluster.parts() == {"b1"} or "b2" in cluster.parts()
        hub.succeed(f"truncate -s 0 {cluster.coordinator.temp}/GITHUB_STEP_SUMMARY")
        cluster.step("Teardown")
        cluster.coordinator.finish()
        summary = cluster.coordinator.read("GITHUB_STEP_SUMMARY")
        assert "LOST :crit" in summary and "What went wrong" in summary, summary
        cluster.serving["b1"].succeed(60)
        cluster.builders[0].finish()
        b2.start()
        b2.wait_for_unit("tailscaled")

    with subtest("a coordinator that is killed keeps no builder for more than a minute"):
        cluster = Cluster(control, hub, builders, 5)
        cluster.joined(cluster.start())
        cluster.step("Execute")
        hub.succeed("kill -KILL $(cat /srv/runner/muster-action/coordinator.pid)")
        killed = time.monotonic()
        for serving in cluster.serving.values():
            serving.succeed(75)
        assert time.monotonic() - killed < 60, time.monotonic() - killed
        hub.succeed(f"truncate -s 0 {cluster.coordinator.temp}/GITHUB_STEP_SUMMARY")
        cluster.finish()
        # What the last seconds brought may be missing.
        summary = cluster.coordinator.read("GITHUB_STEP_SUMMARY")
        assert "on 2 builders" in summary and "```mermaid" in summary, summary + cluster.coordinator.log[-2000:]
