"""Who builds what, with --max-jobs 0 and more, with --builders '', and for root without a daemon?"""

from __future__ import annotations

from lib import HERE, Coordinator, Machine, derivation, nix_build, nix_build_fails, ran_on, several, start_all, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}}


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    coordinator.start(builders=[{"uri": uri("b1"), "slots": 2}])
    coordinator.wait_for_health("healthy", "b1")

    def where(options: str, user: str = "alice", count: int = 1) -> set[str]:
        paths = nix_build(localmachine, several(count, script=HERE if count == 1 else f"{HERE}; sleep 1"), user, options)
        return {localmachine.succeed(f"cat {path}").strip() for path in paths}

    for user, options in (("alice", ""), ("root", ""), ("root", "--store local")):
        with subtest(f"{user} {options}"):
            assert where(f"--max-jobs 0 {options}", user) == {"b1"}
            assert where(f"--max-jobs 2 {options}", user) == {"b1"}, "a free builder comes first"
            assert where(f"--max-jobs 2 --builders '' {options}", user) == {"localmachine"}

    with subtest("what is more than the slots is built here, if that is allowed"):
        assert where("--max-jobs 2", count=4) == {"b1", "localmachine"}
        assert where("--max-jobs 0", count=2) == {"b1"}

    with subtest("preferLocalBuild is kept, and goes to the builder where nothing may be built here"):
        local = derivation("local").replace("salt =", "preferLocalBuild = true; salt =")
        assert localmachine.succeed(f"cat {nix_build(localmachine, local, options='-j1')[0]}").strip() == "localmachine"
        local = derivation("local").replace("salt =", "preferLocalBuild = true; salt =")
        assert ran_on(nix_build(localmachine, local)[0], [b1]) == "b1"

    with subtest("with neither a builder nor a job nothing is built"):
        nix_build_fails(localmachine, derivation("nowhere"), options="-j0 --builders ''")
