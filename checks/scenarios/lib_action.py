"""GitHub's runner, as far as the workflows of this repository use it: jobs whose steps are carried out on machines of a scenario.

Every `run:` is carried out as it is written, also those of the action itself. What stands in for what else is used:

| uses | stand-in |
|---|---|
| the action, and its `plan` | their own steps, one by one, from the files of this repository |
| `$/action/lifecycle` | its main does nothing; at the end of the job the command that its post.js runs (node runs it in checks/action) |
| `actions/checkout` | a directory with a flake |
| a cache | nothing |
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any, Mapping

from lib import Background, Machine, write

REPOSITORY = Path(__file__).resolve().parents[2]
STAND_INS = ("actions/checkout", "DeterminateSystems/magic-nix-cache-action", "Mic92/hestia", "$/action/lifecycle")
FILES = ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")
OURS = "your--name/muster/"
PLAIN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def load(path: str) -> Any:
    """A file of YAML in this repository; `needs` of a scenario says `python:yaml`."""
    sys.path.insert(0, str(REPOSITORY / "target/action/python/yaml"))
    import yaml  # type: ignore[import-untyped,unused-ignore]

    return yaml.safe_load((REPOSITORY / path).read_text())


def evaluate(text: str, context: Mapping[str, Any]) -> Any:
    """The expressions that our files use: paths, texts, ==, !=, &&, toJSON and fromJSON."""
    text = text.strip()
    if " && " in text:
        return all(evaluate(part, context) for part in text.split(" && "))
    for sign, equal in ((" == ", True), (" != ", False)):
        if sign in text:
            left, right = text.split(sign)
            return (evaluate(left, context) == evaluate(right, context)) is equal
    if call := re.fullmatch(r"(toJSON|fromJSON)\((.*)\)", text):
        inner = evaluate(call[2], context)
        return json.dumps(inner) if call[1] == "toJSON" else json.loads(inner)
    if text.startswith("'"):
        return text.strip("'")
    assert re.fullmatch(r"[\w.-]+", text), f"an expression that the lab does not know: {text}"
    value: Any = context
    for name in text.split("."):
        value = value.get(name, "") if isinstance(value, Mapping) else ""
    return value


def filled(text: Any, context: Mapping[str, Any]) -> str:
    """A text with its expressions replaced."""
    if isinstance(text, bool):
        return str(text).lower()
    return re.sub(r"\$\{\{(.*?)\}\}", lambda found: str(evaluate(found[1], context)), str(text))


class Job:
    """One job of a workflow on one machine."""

    def __init__(self, machine: Machine, context: Mapping[str, Any], overrides: Mapping[str, str], env: Mapping[str, str] = {}, user: str = "root") -> None:
        self.machine, self.overrides, self.user = machine, overrides, user
        self.context: dict[str, Any] = {"github": {"action_repository": "owner/muster"}, **context}
        self.temp = "/srv/runner"
        home = machine.succeed(f"getent passwd {user} | cut -d: -f6").strip()
        self.env = {"PATH": PLAIN, "HOME": home, "RUNNER_TEMP": self.temp, "RUNNER_OS": "Linux", "RUNNER_ARCH": "X64", "GITHUB_RUN_ID": "4711", "GITHUB_RUN_ATTEMPT": "1", **env}
        self.log, self.post = "", [dict[str, str]() for _ in ()]
        machine.succeed(f"mkdir -p {self.temp}/checkout && touch {' '.join(f'{self.temp}/{name}' for name in FILES)}")
        with tempfile.NamedTemporaryFile(suffix=".tar") as packed:
            with tarfile.open(fileobj=packed, mode="w") as archive:
                archive.add(REPOSITORY / "action", "action")
            packed.flush()
            machine.copy_from_host(packed.name, f"{self.temp}/action.tar")
        machine.succeed(f"mkdir -p {self.temp}/muster && tar -x --no-same-owner -f {self.temp}/action.tar -C {self.temp}/muster", f"chown -R {user}: {self.temp}")

    def run(self, steps: list[Mapping[str, Any]]) -> Background | None:
        """All steps in order; a builder's work goes on in the background, and is the last thing that its job does."""
        results: dict[str, Any] = {}
        context = {**self.context, "steps": results}
        for step in steps:
            if "if" in step and not evaluate(str(step["if"]), context):
                continue
            if serving := self.step(step, context, results):
                return serving
        return None

    def step(self, step: Mapping[str, Any], context: dict[str, Any], results: dict[str, Any]) -> Background | None:
        uses = str(step.get("uses", ""))
        outputs: dict[str, str] = {}
        serving = None
        if uses.startswith(OURS):
            inner = uses.removeprefix(OURS).split("@")[0]
            serving, outputs = self.composite(inner, {name: filled(value, context) for name, value in step.get("with", {}).items()})
        elif uses:
            assert uses.startswith(STAND_INS), f"nothing stands in for {uses}"
            if uses == "$/action/lifecycle":
                self.post.append({f"INPUT_{name.upper()}": filled(value, context) for name, value in step["with"].items()})
        else:
            env = {name: filled(value, context) for name, value in step.get("env", {}).items()}
            script = filled(step["run"], context)
            if script == "muster action serve":
                return self.machine.spawn(self.command(script, env), timeout=900)
            outputs = self.shell(script, env)
        if "id" in step:
            results[step["id"]] = {"outputs": outputs}
        return serving

    def composite(self, action: str, given: Mapping[str, str]) -> tuple[Background | None, dict[str, str]]:
        """The steps of one of our actions."""
        spec = load(f"{action}/action.yml")
        inputs = {name: str(entry.get("default", "")) for name, entry in spec["inputs"].items()}
        inputs.update(given)
        inputs.update({name: value for name, value in self.overrides.items() if name in inputs})
        outer = self.env.get("GITHUB_ACTION_PATH")
        self.env["GITHUB_ACTION_PATH"] = f"{self.temp}/muster/{action}"
        results: dict[str, Any] = {}
        context = {**self.context, "inputs": inputs, "steps": results}
        serving = None
        for step in spec["runs"]["steps"]:
            if serving is None and ("if" not in step or evaluate(str(step["if"]), context)):
                serving = self.step(step, context, results)
        if outer:
            self.env["GITHUB_ACTION_PATH"] = outer
        return serving, {name: filled(entry["value"], context) for name, entry in spec["outputs"].items()}

    def command(self, script: str, env: Mapping[str, str]) -> str:
        """A step's command line. Its environment comes by a file: nothing of it is an argument."""
        variables = {**self.env, **{name: f"{self.temp}/{name}" for name in FILES}, **env}
        lines = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
        write(self.machine, f"{self.temp}/step", f"{lines}echo $$ >{self.temp}/step.pid\ncd {self.temp}/checkout\n{script}")
        self.machine.succeed(f"chmod 600 {self.temp}/step && chown {self.user} {self.temp}/step")
        become = "" if self.user == "root" else f"runuser -u {self.user} -- "
        return f"{become}sh -e {self.temp}/step 2>&1"

    def cancel(self, running: Background) -> None:
        """What GitHub's runner does to the step that runs: signals for its shell alone, SIGKILL the last (ProcessInvoker)."""
        for sign, patience in (("INT", 7.5), ("TERM", 2.5), ("KILL", 5)):
            self.machine.execute(f"kill -{sign} $(cat {self.temp}/step.pid)")
            end = time.monotonic() + patience
            while running.is_running() and time.monotonic() < end:
                time.sleep(0.1)
            if not running.is_running():
                return
        raise AssertionError(f"still there after it was killed: {running.output()}")

    def shell(self, script: str, env: Mapping[str, str], fails: bool = False) -> dict[str, str]:
        """One command; what it wrote into GitHub's files."""
        self.machine.succeed(f"truncate -s 0 {self.temp}/GITHUB_OUTPUT")
        status, said = self.machine.execute(self.command(script, env), timeout=400)
        self.log += said
        assert (status != 0) is fails, f"status {status} of {script}:\n{said}"
        for line in self.read("GITHUB_PATH").split():
            if line not in self.env["PATH"].split(":"):
                self.env["PATH"] = f"{line}:{self.env['PATH']}"
        self.env.update(values(self.read("GITHUB_ENV")))
        return values(self.read("GITHUB_OUTPUT"))

    def read(self, name: str) -> str:
        return self.machine.succeed(f"cat {self.temp}/{name}")

    def finish(self) -> None:
        """What GitHub does at the end of the job, however it ended."""
        for inputs in reversed(self.post):
            self.shell(f"{self.temp}/muster-action/bin/muster action teardown", inputs)


def values(text: str) -> dict[str, str]:
    """GITHUB_OUTPUT and GITHUB_ENV: NAME=VALUE, or NAME<<END and lines."""
    found: dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        if heredoc := re.fullmatch(r"(.+?)<<(\S+)", line):
            value = []
            for inner in lines:
                if inner == heredoc[2]:
                    break
                value.append(inner)
            found[heredoc[1]] = "\n".join(value)
        elif "=" in line:
            name, _, value_of = line.partition("=")
            found[name] = value_of
    return found
