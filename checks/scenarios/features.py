"""Is every feature that a builder is said to offer proven, and does a build that asks for it run there?"""

from __future__ import annotations

from lib import Coordinator, Machine, derivation, nix_build, ran_on, start_all, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
PLAIN = {"benchmark", "big-parallel", "nixos-test"}
nodes = {
    "localmachine": {"role": "coordinator"},
    # It has /dev/kvm, where the machine that the lab runs on has it.
    "b1": {"role": "builder", "access": "ssh", "kvm": True},
    # It only says so.
    "b2": {"role": "builder", "access": "ssh", "nix_conf": {"system-features": "benchmark big-parallel nixos-test kvm special"}},
}


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    coordinator.start('[endpoint]\nlocal = "never"\n', builders=[uri("b1"), uri("b2")])
    coordinator.wait_for_health("healthy", "b1", "b2")
    opens = b1.execute(": <>/dev/kvm")[0] == 0

    with subtest("a builder offers what its daemon says, without the kvm that does not open"):
        offered = set(coordinator.builder("b2")["features"])
        assert offered == PLAIN | {"special"}, offered
        offered = set(coordinator.builder("b1")["features"])
        assert PLAIN <= offered and ("kvm" in offered) == opens, offered

    for feature in sorted(PLAIN):
        with subtest(f"a build that asks for {feature}"):
            [path] = nix_build(localmachine, derivation(feature, features=[feature]))
            assert ran_on(path, [b1, b2]) in ("b1", "b2")

    with subtest("a build that asks for a feature of the daemon's own configuration goes where it is"):
        [path] = nix_build(localmachine, derivation("special", features=["special"]))
        assert ran_on(path, [b1, b2]) == "b2"

    if not opens:
        with subtest("skipped: a build that asks for kvm, since /dev/kvm does not open on this machine"):
            return
    with subtest("a build that asks for kvm can open it"):
        [path] = nix_build(localmachine, derivation("kvm", "cat /labhost >$out; : <>/dev/kvm", features=["kvm"]))
        assert ran_on(path, [b1, b2]) == "b1"
