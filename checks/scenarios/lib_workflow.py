"""One run of a workflow of this repository: its plan, its builders' jobs and its coordinator's, each on a machine of a scenario."""

from __future__ import annotations

import json
import re
import threading
from typing import Any, Mapping

from lib import Background, Machine, write
from lib_action import REPOSITORY, Job, load
from lib_tailnet import POLICY

NEEDS = ("command:wait", "command:builder", "command:join", "python:yaml")
RUNNER = {"role": "builder", "tailscale": True, "authorized": False, "access": "ssh"}
NODES = {"control": {"role": "control"}, "hub": {"role": "coordinator", "tailscale": True}, "b1": RUNNER, "b2": RUNNER}
EXAMPLE = "action/examples/nix-build.yml"
COUNTS = '{"ubuntu-24.04": 2}'
FLAKE = """{ outputs = _: { packages.x86_64-linux.my-package = let
  part = name: derivation { inherit name; system = "x86_64-linux"; builder = "/bin/sh"; salt = "%s";
    args = [ "-c" "read h </labhost; echo $h >$out; sleep 3" ]; };
  in derivation { name = "whole"; system = "x86_64-linux"; builder = "/bin/sh"; salt = "%s";
    parts = map part [ "part-1" "part-2" "part-3" "part-4" ]; args = [ "-c" "read h </labhost; echo $h $parts >$out" ]; }; }; }"""


# The policy of setup-distributed-nix-builds, as its README has it.
SEED = """{
  "grants": [
    {
      "src": ["tag:nix-ci-builder", "tag:nix-ci-coordinator"],
      "dst": ["tag:nix-ci-builder", "tag:nix-ci-coordinator"],
      "ip": ["*"]
    }
  ],
  "ssh": [
    {
      "src": ["tag:nix-ci-coordinator"],
      "dst": ["tag:nix-ci-builder"],
      "users": ["autogroup:nonroot", "root"],
      "action": "accept"
    }
  ],
  "tagOwners": {
    "tag:nix-ci-coordinator": ["autogroup:admin", "tag:nix-ci-coordinator"],
    "tag:nix-ci-builder": ["autogroup:admin", "tag:nix-ci-builder"]
  }
}"""


def recommended() -> str:
    """The policy of action/README.md."""
    return str(re.findall(r"```json\n(.*?)```", (REPOSITORY / "action/README.md").read_text(), re.S)[0])


def policy(control: Machine, text: str) -> None:
    """As far as the control server of the lab understands it: it has no admins and no tests."""
    said = json.loads(text)
    said["tagOwners"] = {tag: ["ci@", *(owner for owner in owners if owner != "autogroup:admin")] for tag, owners in said["tagOwners"].items()}
    said.pop("sshTests", None)
    write(control, POLICY, json.dumps(said))
    control.succeed(f"headscale policy check --file {POLICY}", "kill -HUP $(cat /run/headscale.lab)")


class Cluster:
    """One run of the workflow."""

    def __init__(self, control: Machine, hub: Machine, builders: list[Machine], run: int, path: str = EXAMPLE, user: str = "root", inputs: Mapping[str, str] = {}, one_key: bool = False) -> None:
        self.workflow = load(path)["jobs"]
        self.hub, self.run, self.user, self.given = hub, run, user, inputs
        # What a caller of the reusable one says; the example says it itself.
        self.inputs = {"counts": COUNTS, "run": "nix build -L --max-jobs 0 .#my-package", "after": "nix-store --check-validity $(readlink result)"}
        self.url = hub.succeed("cat /etc/lab/tailnet-url").strip()
        roles = ("builder", "coordinator")
        tags = {role: f"tag:nix-ci-{role}" for role in roles}
        create = "headscale preauthkeys create --ephemeral --reusable --tags"
        both = control.succeed(f"{create} {','.join(tags.values())}").strip()
        self.key = {role: both if one_key else control.succeed(f"{create} {tags[role]}").strip() for role in roles}
        plan = Job(hub, {"env": {"BUILDER_COUNTS": COUNTS}, "inputs": self.inputs}, self.overrides(), self.env(), user)
        outputs: dict[str, Any] = {}
        (step,) = self.workflow["config"]["steps"]
        plan.step(step, plan.context, outputs)
        (planned,) = outputs.values()
        self.plan = planned["outputs"]
        self.matrix = json.loads(self.plan["builder_matrix"])
        assert [row["id"] for row in self.matrix] == ["ubuntu-24.04-1", "ubuntu-24.04-2"], self.matrix
        self.builders = [Job(machine, self.context("builder", row), self.overrides(), self.env(), user) for machine, row in zip(builders, self.matrix)]
        self.coordinator = Job(hub, self.context("coordinator"), self.overrides(), self.env(), user)
        self.serving: dict[str, Background] = {}

    def env(self) -> dict[str, str]:
        return {"GITHUB_RUN_ID": str(4700 + self.run)}

    def overrides(self) -> dict[str, str]:
        """The lab's own programs, and its tailnet in place of Tailscale's."""
        return {"binary": "/usr/local/bin/muster", "login_server": self.url, "install_nix": "never", "cache": "none", **self.given}

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
