"""Is a derivation that is not deterministic caught by `nix-build --check` and `nix build --rebuild`, wherever Nix has it built?"""

from __future__ import annotations

from lib import Coordinator, Machine, build_command, derivation, line, start_all, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}}
SCRIPTS = {"same": "echo >$out", "dice": "head -c 20 /dev/urandom >$out"}


def script(localmachine: Machine, b1: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    coordinator.start(builders=[{"uri": uri("b1"), "slots": 2}])
    coordinator.wait_for_health("healthy", "b1")
    # From 2.34 on Nix hands no such build to anybody.
    hands_out = not localmachine.succeed("nix --version").rstrip().split()[-1].startswith("2.34")
    commands = {name: build_command(localmachine, derivation(name, text), "root", "{}") for name, text in SCRIPTS.items()}
    paths = [localmachine.succeed(command.format("-j0")).strip() for command in commands.values()]
    # The builder's own copies are not what is compared with. A channel's roots end with it.
    coordinator.restart()
    b1.wait_until_succeeds(f"nix-store --delete {' '.join(paths)}", timeout=5)
    coordinator.wait_for_health("healthy", "b1")

    def check(name: str, options: str) -> tuple[bool, str]:
        status, said = localmachine.execute(commands[name].format("--check " + options) + " 2>&1")
        return status == 0, said

    with subtest("a builder builds it, where nothing may be built here"):
        good, said = check("same", "-j0")
        caught = not check("dice", "-j0")[0]
        again = not check("dice", "-j0")[0]
        if hands_out:
            assert good and caught and again, said
            assert "may not be deterministic" in check("dice", "-j0")[1]
        else:
            assert not good and "local builds are disabled" in said, said

    with subtest("the same by nix build --rebuild"):
        rebuild = commands["dice"].replace("nix-build --no-out-link {}", "nix build --no-link -j0 --rebuild -f")
        said = localmachine.fail(rebuild + " 2>&1")
        assert ("may not be deterministic" if hands_out else "local builds are disabled") in said, said

    with subtest("Nix builds it here, where it may"):
        assert check("same", "-j1")[0]
        good, said = check("dice", "-j1")
        assert not good and "may not be deterministic" in said, said

    with subtest("stock Nix has nothing built by its builders, and catches nothing"):
        good, said = check("dice", f"-j0 --builders '{line('b1')}'")
        assert good == hands_out, said
