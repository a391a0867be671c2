"""Does whoever types docs/tutorial.md, line by line, get from the nix.dev tutorial to a working cluster?"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from lib import Machine, start_all, subtest

needs = ("uri:ssh-ng://remotebuild@b1", "command:setup")
DOCUMENT = Path(__file__).parents[2] / "docs/tutorial.md"
nodes = {
    "localmachine": {"role": "coordinator", "nix_conf": {"builders": ""}},
    "remotemachine": {"role": "builder", "access": "ssh"},
    # Plain Debian: nobody has prepared it.
    "othermachine": {"role": "builder", "access": "ssh", "known": False, "trusted": False, "authorized": False},
}
PATIENCE = 40


@dataclass
class Step:
    """A command of the document, where and by whom it is typed, and the lines that it shows."""

    user: str
    machine: str
    command: str
    shown: list[str] = field(default_factory=list)


def steps(text: str) -> list[Step]:
    found: list[Step] = []
    for block in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL):
        is_input = False
        for line in block.splitlines():
            prompt = re.match(r"(\w+)@(\w+)[#$] (.*)", line)
            if is_input:
                found[-1].command += "\n" + line
                is_input = line != "EOF"
            elif prompt:
                found.append(Step(prompt[1], prompt[2], prompt[3]))
                is_input = "<< EOF" in prompt[3]
            else:
                found[-1].shown.append(line)
    return found


def script(localmachine: Machine, remotemachine: Machine, othermachine: Machine) -> None:
    start_all()
    machines = {machine.name: machine for machine in (localmachine, remotemachine, othermachine)}
    blanks = {
        "ssh-ed25519 AAAA...": localmachine.succeed("cat /root/.ssh/remotebuild.pub").strip(),
        "SHA256:...": othermachine.succeed("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1],
    }
    everything = steps(DOCUMENT.read_text())
    assert len(everything) > 20, everything
    for step in everything:
        with subtest(f"{step.user}@{step.machine}: {step.command.splitlines()[0]}"):
            type_it(machines[step.machine], step, blanks)


def type_it(machine: Machine, step: Step, blanks: dict[str, str]) -> None:
    """Types it; `muster status` until it shows what the document shows, for a person looks again as well."""
    command = step.command
    for blank, value in blanks.items():
        command = command.replace(blank, value)
    if step.user != "root":
        command = f"cd /tmp && runuser -u {step.user} -- env HOME=/home/{step.user} {command}"
    ends = time.monotonic() + PATIENCE
    while True:
        status, said = machine.execute("{ " + command + "\n} 2>&1", timeout=PATIENCE)
        missing = [line for line in step.shown if not shows(said, line)]
        as_told = status == 0 or any("FAIL" in line for line in step.shown)
        if as_told and not missing:
            return
        assert "status" in command and time.monotonic() < ends, f"status {status}, not shown: {missing}, but:\n{said}"
        time.sleep(0.5)


def shows(said: str, line: str) -> bool:
    """Whether one of the lines that were said is that one; `...` stands for anything, and spaces for any spaces."""
    words = [r"\s+".join(map(re.escape, part.split())) for part in line.split("...")]
    return any(re.search(".*".join(words), one) for one in said.splitlines())
