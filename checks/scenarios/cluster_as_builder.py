"""Is a whole cluster one builder for another machine's Nix?"""

from __future__ import annotations

import re

from lib import HERE, Coordinator, Machine, derivation, graph, nix_build, start_all, start_build, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
MUSTER = "/usr/local/bin/muster"
not_over = {"serve": "its machines log in at another coordinator, to muster itself"}
nodes = {
    # A machine with stock Nix only, for which the cluster's coordinator is the one line.
    "far": {
        "role": "coordinator",
        "machines": (f"ssh-ng://remotebuild@gate?remote-program={MUSTER} x86_64-linux /root/.ssh/remotebuild 4 1",),
        "nix_conf": {"builders": "@/etc/nix/machines"},
    },
    "gate": {"role": "both", "access": "ssh"},
    "b1": {"role": "builder"},
    "b2": {"role": "builder"},
}


def script(far: Machine, gate: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    coordinator = Coordinator(gate)
    coordinator.start('[endpoint]\nallow = ["remotebuild"]\nlocal = "never"\n', builders=[{"uri": uri(name), "slots": 2} for name in ("b1", "b2")])
    coordinator.wait_for_health("healthy", "b1", "b2")
    store = f"'ssh-ng://remotebuild@gate?ssh-key=/root/.ssh/remotebuild&remote-program={MUSTER}'"

    with subtest("it is a store to ask"):
        far.succeed(f"nix store ping --store {store} || nix store info --store {store}")

    with subtest("its builders build what the other machine asks for, with inputs from there"):
        parts = {f"p{number}": derivation(f"part{number}", f"{HERE}; sleep 1") for number in range(4)}
        whole = derivation("whole", "cat $inputs >$out", inputs=[*parts, "(builtins.toFile \"source\" \"from far\")"])
        [path] = nix_build(far, graph({**parts, "whole": whole}, goals=["whole"]))
        words = far.succeed(f"cat {path}").split()
        assert set(words) == {"b1", "b2", "from", "far"}, words

    with subtest("one derivation that both machines ask for at the same time is built once"):
        shared = derivation("shared", f"{HERE}; sleep 2")
        builds = [start_build(machine, shared) for machine in (far, gate)]
        assert len({build.succeed(30).split()[-1] for build in builds}) == 1
        assert len(re.findall("building attempt=.*-shared.drv", coordinator.log())) == 1, coordinator.log()

    with subtest("what one had built can be copied there and back"):
        far.succeed("echo brought >/tmp/brought")
        path = far.succeed("nix-store --add /tmp/brought").strip()
        far.succeed(f"nix copy --to {store} {path}")
        assert gate.succeed(f"cat {path}") == "brought\n"
        far.succeed(f"nix-store --delete {path}")
        far.succeed(f"nix copy --no-check-sigs --from {store} {path}")
        assert far.succeed(f"cat {path}") == "brought\n"

    with subtest("a user who is not allowed is told who is"):
        said = gate.fail(f"runuser -u alice -- nix-store --store 'ssh-ng://localhost?remote-program={MUSTER}' --check-validity {path} 2>&1")
        assert "user 1001 may not use this endpoint, only 0, 1002 may" in said, said
