"""Do machines lines that are not muster's survive its direct attach: start, stop and SIGKILL?"""

from __future__ import annotations

from lib import Coordinator, Machine, nix_build, ran_on, several, start_all, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1", "option:coordinator --attach")
FOREIGN = ("# by hand", "ssh-ng://somebody@elsewhere riscv64-linux /root/.ssh/other 0")
FILE = "/etc/nix/machines"
nodes = {
    "localmachine": {"role": "coordinator", "nix_conf": {"builders": f"@{FILE}"}, "machines": FOREIGN},
    "b1": {"role": "builder"},
}


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    before = localmachine.succeed(f"cat {FILE}")
    coordinator.configure(builders=[uri("b1")])

    with subtest("the builder has a line of its own beside them"):
        coordinator.launch(options="--attach direct")
        localmachine.wait_until_succeeds(f"grep remotebuild@b1 {FILE}")
        lines = localmachine.succeed(f"cat {FILE}")
        assert before.strip() in lines, lines

    with subtest("stock Nix builds by it"):
        assert {ran_on(path, [b1]) for path in nix_build(localmachine, several(2))} == {"b1"}

    with subtest("after SIGKILL they are all there"):
        coordinator.kill()
        assert before.strip() in localmachine.succeed(f"cat {FILE}")

    with subtest("after another start and a stop as well"):
        coordinator.launch(options="--attach direct")
        localmachine.wait_until_succeeds(f"grep remotebuild@b1 {FILE}")
        coordinator.stop()
        assert before.strip() in localmachine.succeed(f"cat {FILE}")
