"""Are all kinds of derivations built, by the builders that can?"""

from __future__ import annotations

import hashlib
import re

from lib import HERE, Coordinator, Machine, derivation, nix_build, nix_build_fails, ran_on, start_all, subtest, uri

needs = ("uri:ssh-ng://remotebuild@b1",)
CA = {"experimental-features": "nix-command ca-derivations"}
nodes = {
    "localmachine": {"role": "coordinator", "nix_conf": CA},
    "b1": {"role": "builder", "nix_conf": CA},
    "b2": {"role": "builder", "nix_conf": {**CA, "system-features": "special benchmark big-parallel ca-derivations"}},
}


def special(name: str, attributes: str, script: str = HERE, **others: object) -> str:
    """A derivation with further attributes."""
    return derivation(name, script, **others).replace("salt =", f"{attributes} salt =")  # type: ignore[arg-type]


def fixed(name: str, script: str, text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return special(name, f'outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = "{digest}";', script)


def fetch(name: str, url: str, text: str) -> str:
    """What Nix's own builder fetches."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'(import <nix/fetchurl.nix> {{ name = "{name}"; url = "{url}"; sha256 = "{digest}"; }})'


def script(localmachine: Machine, b1: Machine, b2: Machine) -> None:
    start_all()
    coordinator = Coordinator(localmachine)
    coordinator.start('[endpoint]\nlocal = "never"\n', builders=[{"uri": uri(name), "slots": 2} for name in ("b1", "b2")])
    coordinator.wait_for_health("healthy", "b1", "b2")

    with subtest("requiredSystemFeatures: on the one that has it"):
        paths = nix_build(localmachine, f"[ {' '.join(derivation(f'needs{number}', features=['special']) for number in range(3))} ]")
        assert {ran_on(path, [b1, b2]) for path in paths} == {"b2"}
        # The other one was not even asked.
        assert not re.search("builder=b1 drv=.*-needs", coordinator.log()), coordinator.log()

    with subtest("a feature that nobody has: refused by Nix, as ever"):
        nix_build_fails(localmachine, derivation("nobody", features=["unheard-of"]))

    with subtest("a fixed output, and one whose hash is wrong"):
        [path] = nix_build(localmachine, fixed("right", "echo right >$out", "right\n"))
        assert localmachine.succeed(f"cat {path}") == "right\n"
        said = nix_build_fails(localmachine, fixed("wrong", "echo wrong >$out", "another\n"))
        assert "hash mismatch" in said, said

    with subtest("several outputs, of which one refers to the other"):
        text = special("several", 'outputs = [ "out" "dev" ];', "cat /labhost >$out; mkdir $dev; echo $out >$dev/refers")
        [out] = nix_build(localmachine, text)
        [dev] = nix_build(localmachine, f"{text}.dev")
        assert localmachine.succeed(f"cat {dev}/refers").strip() == out
        assert out in localmachine.succeed(f"nix-store --query --references {dev}")

    with subtest("structured attributes"):
        text = "out=$(sed 's/.*\"out\":\"\\([^\"]*\\)\".*/\\1/' .attrs.json); grep -o 'list.:[^]]*' .attrs.json >$out"
        [path] = nix_build(localmachine, special("structured", '__structuredAttrs = true; list = [ 1 "two" ];', text))
        assert localmachine.succeed(f"cat {path}").strip() == 'list":[1,"two"'

    with subtest("what Nix's own builder fetches: by http, on a builder"):
        for builder in (b1, b2):
            builder.succeed("mkdir -p /srv/www; echo fetched >/srv/www/file")
            builder.spawn("cd /srv/www; exec busybox httpd -f -p 127.0.0.1:8080")
            builder.wait_for_open_port(8080, "127.0.0.1")
        [path] = nix_build(localmachine, fetch("file", "http://127.0.0.1:8080/file", "fetched\n"))
        assert localmachine.succeed(f"cat {path}") == "fetched\n"

    with subtest("a floating content-addressed output"):
        ca = '__contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256";'
        outputs = [special("floating", ca, "echo always the same >$out") for _ in range(2)]
        [path] = nix_build(localmachine, derivation("user", "cat $inputs >$out", inputs=outputs[:1]))
        assert localmachine.succeed(f"cat {path}") == "always the same\n"
        first, second = nix_build(localmachine, f"[ {' '.join(outputs)} ]")
        assert first == second, "equal contents have equal paths"
        assert coordinator.log().count("-floating.drv") >= 2, coordinator.log()
