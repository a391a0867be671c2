"""Does a builder of a job refuse a coordinator that has not the tag it wants, whoever the policy lets in, and does that job say so?"""

from __future__ import annotations

from lib import Machine, start_all, subtest
from lib_tailnet import Tailnet
from lib_workflow import NEEDS, NODES, SEED, Cluster, policy

needs = NEEDS
limit_seconds = 200
nodes = NODES


def script(control: Machine, hub: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    Tailnet(control)
    policy(control, SEED)

    with subtest("the coordinator's job fails, and names the tag"):
        cluster = Cluster(control, hub, [b1, b2], 1, inputs={"coordinator_tags": "tag:nix-ci-other", "builder_timeout": "20"})
        cluster.start(wait="10").join(120)
        said = str(cluster.failure)
        assert "0 of 2 builders are ready" in said and "it has not the tag tag:nix-ci-other" in said, said
        assert "::error title=muster::muster wait failed with exit code 3" in said, said

    with subtest("nothing is built there, and the builders end as those that nobody came for"):
        status, said = cluster.serving["b1"].wait(60)
        assert status != 0 and "claims this builder" not in said, said
        assert "nobody claimed this builder within 20s" in said, said
        cluster.finish()

    with subtest("of the tag that the plan gives it is let in"):
        cluster = Cluster(control, hub, [b1, b2], 2)
        cluster.joined(cluster.start())
        cluster.step("Execute")
        assert cluster.parts() == {"b1", "b2"}
        assert all("claims this builder" in serving.output() for serving in cluster.serving.values())
        cluster.step("Teardown")
        for serving in cluster.serving.values():
            serving.succeed(60)
        cluster.finish()
