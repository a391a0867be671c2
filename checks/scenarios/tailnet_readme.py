"""Do the lines of the README make a cluster of three machines in a tailnet, typed word for word?"""

from __future__ import annotations

import re
from pathlib import Path

from lib import Background, Coordinator, Machine, derivation, ran_on, start_all, subtest, write
from lib_tailnet import Tailnet

needs = ("command:join", "command:setup")
README = Path(__file__).parents[2] / "README.md"
BUILDER = {"role": "builder", "tailscale": True, "authorized": False, "access": "ssh"}
nodes = {
    "control": {"role": "control"},
    "hub": {"role": "coordinator", "tailscale": True, "nix_conf": {"builders": "", "experimental-features": "nix-command flakes"}},
    "b1": BUILDER,
    "b2": BUILDER,
}
# This tailnet's control server is not Tailscale's own.
JOIN = 'muster() { if [ "$1" = join ]; then set -- "$@" --login-server "$(cat /etc/lab/tailnet-url)"; fi; command muster "$@"; }'
FLAKE = '{ outputs = _: { packages.x86_64-linux.something = EXPRESSION; }; }'


def lines() -> list[tuple[str, str]]:
    """Where each is typed, and what."""
    (block,) = [block for block in re.findall(r"```console\n(.*?)```", README.read_text(), re.DOTALL) if "muster join" in block]
    typed = [re.fullmatch(r"(\w*)\$ (.*)", line) for line in block.splitlines()]
    assert all(typed), block
    return [(line[1] or "hub", line[2]) for line in typed if line]


def script(control: Machine, hub: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    Tailnet(control)
    machines = {"hub": hub, "b1": b1, "b2": b2}
    # What the README takes for granted: a key each in the file KEY.
    for machine in machines.values():
        tag = "tag:ci" if machine is hub else "tag:nix-builder"
        write(machine, "/root/KEY", control.succeed(f"headscale preauthkeys create --tags {tag}").strip())
        machine.succeed("chmod 600 /root/KEY")
    hub.succeed("mkdir /root/flake")
    write(hub, "/root/flake/flake.nix", FLAKE.replace("EXPRESSION", derivation("something")))
    everything = lines()
    assert len(everything) == 7, everything
    running: list[Background] = []
    path = ""
    for name, command in everything:
        machine = machines[name]
        with subtest(f"{name}$ {command}"):
            if command.endswith(" &"):
                running.append(machine.spawn(f"cd /root && {command.removesuffix(' &')} >/var/log/muster.log 2>&1"))
                machine.wait_until_succeeds("muster status", timeout=20)
                Coordinator(machine).wait_for_health("healthy", "b1", "b2")
            elif command.startswith("nix build"):
                path = machine.succeed(f"PATH=$PATH:/nix/var/nix/profiles/default/bin; cd /root/flake && {command} && readlink result", timeout=60).strip()
            else:
                machine.succeed(f"{JOIN}\ncd /root && {command}", timeout=60)
    assert ran_on(path, [b1, b2]) in ("b1", "b2")
