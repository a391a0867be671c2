"""Does a build survive the power failure of its builder while inputs travel, and in the middle of 500 MB of output?"""

from __future__ import annotations

from lib import QUICK, Background, Coordinator, Machine, Wiretap, derivation, ran_on, start_all, start_build, subtest, travelled, uri, wait_for

needs = ("uri:ssh-ng://remotebuild@b1",)
nodes = {"localmachine": {"role": "coordinator"}, "b1": {"role": "builder"}, "b2": {"role": "builder"}}
MB = 1_000_000


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    coordinator.start(QUICK, builders=[uri("b1"), uri("b2")])
    wiretap = Wiretap(localmachine)

    def survives(build: Background, victim: Machine) -> str:
        """Takes the power from the builder at work; the output path."""
        other = b2 if victim is b1 else b1
        before = wiretap.goodbyes(victim)
        victim.crash()
        said = build.succeed(60)
        assert wiretap.goodbyes(victim) == before, "the builder said goodbye: that was no power failure"
        assert f"{victim.name} does not answer" in said, said
        path = said.split()[-1]
        assert ran_on(path, [other]) == other.name
        victim.start()
        coordinator.wait_for_health("healthy", "b1", "b2")
        return path

    coordinator.wait_for_health("healthy", "b1", "b2")
    with subtest("while inputs travel"):
        localmachine.succeed("head -c 150M /dev/urandom >/tmp/source; chmod 644 /tmp/source")
        before = travelled(localmachine, "tx")
        build = start_build(localmachine, derivation("uploaded", "cat /labhost >$out; wc -c <$inputs >>$out", inputs=["/tmp/source"]))
        victim = coordinator.wait_for_work([b1, b2])
        wait_for(lambda: travelled(localmachine, "tx") - before > 20 * MB, "20 MB of the input have left")
        path = survives(build, victim)
        assert localmachine.succeed(f"tail -n 1 {path}").strip() == str(150 << 20)

    with subtest("in the middle of 500 MB of output"):
        before = travelled(localmachine, "rx")
        build = start_build(localmachine, derivation("fetched", "cat /labhost >$out; head -c 500000000 /dev/zero >>$out"))
        victim = coordinator.wait_for_work([b1, b2])
        wait_for(lambda: travelled(localmachine, "rx") - before > 200 * MB, "200 MB of the output are here")
        path = survives(build, victim)
        assert int(localmachine.succeed(f"wc -c <{path}")) == 500_000_000 + len("bN\n")

    with subtest("a process that is killed does say goodbye, and the wiretap hears it"):
        before = wiretap.goodbyes(b1)
        b1.succeed("pkill -KILL -f 'sshd.*[r]emotebuild'")
        wait_for(lambda: wiretap.goodbyes(b1) > before, "a goodbye", 5)
