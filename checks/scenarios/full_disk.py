"""What does a full disk cost, on a builder and here?"""

from __future__ import annotations

from lib import HERE, QUICK, Coordinator, Machine, derivation, nix_build, nix_build_fails, ran_on, start_all, start_build, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}, "b2": {"role": "builder"}}


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    small_disk(b1, "/nix", 40)
    b1.systemctl("restart nix-daemon")
    coordinator = Coordinator(localmachine)
    coordinator.start(QUICK, builders=[{"uri": uri("b1"), "speed_factor": 9.0}, uri("b2")])
    coordinator.wait_for_health("healthy", "b1", "b2")

    with subtest("a build fills the builder's disk: it is built elsewhere"):
        said = start_build(localmachine, derivation("large", f"{HERE}; head -c 60000000 /dev/zero >>$out")).succeed(40)
        assert ran_on(said.split()[-1], [b2]) == "b2"
        assert "b1 could not build it" in said, said

    with subtest("inputs fill it: the same"):
        localmachine.succeed("head -c 60000000 /dev/urandom >/tmp/source; chmod 644 /tmp/source")
        said = start_build(localmachine, derivation("user", f"{HERE}; wc -c <$inputs >>$out", inputs=["/tmp/source"])).succeed(40)
        assert ran_on(said.split()[-1], [b2]) == "b2"
        assert "b1" in said, said

    with subtest("the builder goes on with what has room"):
        coordinator.wait_for_health("healthy", "b1")
        assert ran_on(nix_build(localmachine, derivation("small"))[0], [b1, b2]) in ("b1", "b2")

    with subtest("our own is full: that is said, and no builder is blamed"):
        coordinator.stop()
        localmachine.succeed("mkdir -p /srv/spool")
        small_disk(localmachine, "/srv/spool", 4)
        coordinator.start(QUICK + '\n[limits]\nspool_dir = "/srv/spool"\n', builders=[uri("b2")])
        coordinator.wait_for_health("healthy", "b2")
        said = nix_build_fails(localmachine, derivation("outgrown", f"{HERE}; head -c 20000000 /dev/zero >>$out"))
        assert "/srv/spool" in said and "No space left" in said, said
        assert coordinator.builder("b2")["health"] == "healthy"
        nix_build(localmachine, derivation("fits"))


def small_disk(machine: Machine, path: str, megabytes: int) -> None:
    """Puts a directory on a disk of its own, with what it holds."""
    machine.succeed(f"cp -a {path} /srv/moved; mount -t tmpfs -o mode=755,size={megabytes}m tmpfs {path}; cp -a /srv/moved/. {path}")
