"""Do the example workflow and the reusable one, acted out on machines of a tailnet, build on their builders, report, and leave nothing behind?"""

from __future__ import annotations

import json
import re
import threading
import time
from typing import Any

from lib import Background, Machine, start_all, subtest, wait_for, write
from lib_action import REPOSITORY, Job, load
from lib_tailnet import POLICY, Tailnet

needs = ("command:wait", "command:builder", "command:join", "python:yaml")
limit_seconds = 540
RUNNER = {"role": "builder", "tailscale": True, "authorized": False, "access": "ssh"}
nodes = {
    "control": {"role": "control"},
    "hub": {"role": "coordinator", "tailscale": True},
    "b1": RUNNER,
    "b2": RUNNER,
}
COUNTS = '{"ubuntu-24.04": 2}'
FLAKE = """{ outputs = _: { packages.x86_64-linux.my-package = let
  part = name: derivation { inherit name; system = "x86_64-linux"; builder = "/bin/sh"; salt = "%s";
    args = [ "-c" "read h </labhost; echo $h >$out; sleep 3" ]; };
  in derivation { name = "whole"; system = "x86_64-linux"; builder = "/bin/sh"; salt = "%s";
    parts = map part [ "part-1" "part-2" "part-3" "part-4" ]; args = [ "-c" "read h </labhost; echo $h $parts >$out" ]; }; }; }"""


def policy(control: Machine) -> None:
    """That of action/README.md, in a tailnet whose tags belong to the user of the control server."""
    text = (REPOSITORY / "action/README.md").read_text()
    said = json.loads(re.findall(r"```json\n(.*?)```", text, re.S)[0])
    said["tagOwners"] = {tag: ["ci@"] for tag in said["tagOwners"]}
    said.pop("sshTests", None)
    write(control, POLICY, json.dumps(said))
    control.succeed("kill -HUP $(cat /run/headscale.lab)")


class Cluster:
    """One run of the workflow."""

    def __init__(self, control: Machine, hub: Machine, builders: list[Machine], run: int, path: str = "action/examples/nix-build.yml") -> None:
        self.workflow = load(path)["jobs"]
        self.hub, self.run = hub, run
        # What a caller of the reusable one says; the example says it itself.
        self.inputs = {"counts": COUNTS, "run": "nix build -L --max-jobs 0 .#my-package", "after": "nix-store --check-validity $(readlink result)"}
        self.url = hub.succeed("cat /etc/lab/tailnet-url").strip()
        self.key = {role: control.succeed(f"headscale preauthkeys create --ephemeral --reusable --tags tag:nix-ci-{role}").strip() for role in ("builder", "coordinator")}
        plan = Job(hub, {"env": {"BUILDER_COUNTS": COUNTS}, "inputs": self.inputs}, self.overrides(), self.env())
        outputs: dict[str, Any] = {}
        (step,) = self.workflow["config"]["steps"]
        plan.step(step, plan.context, outputs)
        (planned,) = outputs.values()
        self.plan = planned["outputs"]
        self.matrix = json.loads(self.plan["builder_matrix"])
        assert [row["id"] for row in self.matrix] == ["ubuntu-24.04-1", "ubuntu-24.04-2"], self.matrix
        self.builders = [Job(machine, self.context("builder", row), self.overrides(), self.env()) for machine, row in zip(builders, self.matrix)]
        self.coordinator = Job(hub, self.context("coordinator"), self.overrides(), self.env())
        self.serving: dict[str, Background] = {}

    def env(self) -> dict[str, str]:
        return {"GITHUB_RUN_ID": str(4700 + self.run)}

    def overrides(self) -> dict[str, str]:
        """The lab's own programs, and its tailnet in place of Tailscale's."""
        return {"binary": "/usr/local/bin/muster", "login_server": self.url, "install_nix": "never", "cache": "none"}

    def context(self, role: str, row: Any = None) -> dict[str, Any]:
        return {"needs": {"config": {"outputs": self.plan}}, "matrix": {"builder": row}, "inputs": self.inputs, "secrets": dict.fromkeys(("TS_OAUTH_SECRET", "tailscale_authkey"), self.key[role])}

    def start(self, absent: int = 0, **inputs: str) -> threading.Thread:
        """The builders' jobs, without the last `absent`, and the first steps of the coordinator's beside them."""
        self.coordinator.overrides = {**self.overrides(), **inputs}
        coordinator = threading.Thread(target=self.begin)
        self.failure: BaseException | None = None
        coordinator.start()
        for job in self.builders[: len(self.builders) - absent]:
            serving = job.run(self.workflow["builder"]["steps"])
            assert serving, "a builder serves"
            self.serving[job.machine.name] = serving
        return coordinator

    def begin(self) -> None:
        """The coordinator's steps up to the first that builds."""
        steps = self.workflow["coordinator"]["steps"]
        try:
            write(self.hub, f"{self.coordinator.temp}/checkout/flake.nix", FLAKE % (self.run, self.run))
            self.coordinator.run([step for step in steps if "uses" in step])
        except BaseException as failure:
            self.failure = failure

    def joined(self, thread: threading.Thread) -> None:
        thread.join(300)
        if self.failure:
            raise self.failure

    def step(self, part: str) -> None:
        """A later step of the coordinator's job, by its name."""
        (step,) = [step for step in self.workflow["coordinator"]["steps"] if part in step.get("name", "")]
        self.coordinator.run([step])

    def begin_build(self) -> Background:
        """The step that builds, in the background."""
        (step,) = [step for step in self.workflow["coordinator"]["steps"] if "Execute" in step.get("name", "")]
        return self.hub.spawn(self.coordinator.command(step["run"], {}))

    def parts(self) -> set[str]:
        """Where the parts of what was built were built."""
        result = self.hub.succeed(f"readlink {self.coordinator.temp}/checkout/result").strip()
        paths = self.hub.succeed(f"cut -d' ' -f2- {result}").split()
        self.hub.succeed(f"nix-store --check-validity {result} {' '.join(paths)}")
        return {self.hub.succeed(f"head -n 1 {path}").strip() for path in paths}

    def finish(self) -> None:
        for job in [self.coordinator, *self.builders]:
            job.finish()

    def no_secret(self) -> None:
        said = self.coordinator.log + "".join(job.log for job in self.builders) + "".join(serving.output() for serving in self.serving.values())
        shown = "\n".join(line for line in said.splitlines() if not line.startswith("::add-mask::"))
        for key in self.key.values():
            assert key not in shown


def script(control: Machine, hub: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    Tailnet(control)
    policy(control)
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
