"""The scripts of the action, each with commands that only log how they were called."""

from __future__ import annotations

import io
import tarfile
import unittest

from stage import Stage

PROGRAM = b"#!/bin/sh\necho muster 9.9.9\n"


class Scripts(unittest.TestCase):
    def stage(self, system: str = "Linux", machine: str = "X64") -> Stage:
        stage = Stage(system, machine)
        self.addCleanup(stage.close)
        return stage

    def test_a_release_is_downloaded_checked_and_put_on_the_path(self) -> None:
        for system, machine, name in [("Linux", "X64", "x86_64-linux"), ("Linux", "ARM64", "aarch64-linux"), ("macOS", "ARM64", "aarch64-darwin"), ("macOS", "X64", "x86_64-darwin")]:
            stage = self.stage(system, machine)
            stage.offer(f"muster-{name}", PROGRAM)
            (stage.action / "checksums.txt").open("a").write("# muster 9.9.9\n")
            done = stage.script("muster", "release")
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn(f"https://github.com/owner/muster/releases/download/v9.9.9/muster-{name}", stage.said()[0])
            self.assertEqual(stage.file("GITHUB_PATH"), f"{stage.temp}/muster-action/bin\n")
            self.assertEqual(stage.file("GITHUB_OUTPUT"), "ready=true\n")
            self.assertEqual((stage.temp / "muster-action/bin/stop-nix-builders").readlink().name, "muster")

    def test_a_wrong_checksum_is_refused_and_nothing_is_left(self) -> None:
        stage = self.stage()
        stage.offer("muster-x86_64-linux", PROGRAM, wrong=True)
        done = stage.script("muster", "release")
        self.assertEqual(done.returncode, 1)
        self.assertIn("::error title=muster::", done.stdout)
        self.assertIn("is not what it must be", done.stdout)
        self.assertEqual(list((stage.temp / "muster-action/bin").iterdir()), [])
        self.assertEqual(stage.file("GITHUB_PATH"), "")

    def test_a_revision_that_is_no_release_is_built_from_itself(self) -> None:
        stage = self.stage()
        stage.mirror()
        done = stage.script("muster", "release")
        self.assertEqual((done.returncode, stage.file("GITHUB_OUTPUT")), (0, "ready=false\n"))
        self.assertIn("::warning", done.stdout)
        self.assertEqual(stage.said(), [], "nothing is downloaded that could not be checked")
        (stage.root / "built/bin").mkdir(parents=True)
        (stage.root / "built/bin/muster").write_bytes(PROGRAM)
        stage.fake("nix", f"echo {stage.root}/built")
        self.assertEqual(stage.script("muster", "nix").returncode, 0)
        self.assertIn(f"path:{stage.action}/..#muster", stage.said()[0])
        self.assertTrue(stage.file("GITHUB_OUTPUT").endswith("ready=true\n"))

    def test_the_input_chooses_between_release_and_revision(self) -> None:
        stage = self.stage()
        stage.offer("muster-x86_64-linux", PROGRAM)
        done = stage.script("muster", "release", env={"MUSTER_FROM": "nix"})
        self.assertEqual((done.returncode, stage.file("GITHUB_OUTPUT"), stage.said()), (0, "ready=false\n", []))

    def test_a_muster_that_is_there_is_taken(self) -> None:
        stage = self.stage()
        (stage.root / "own").write_bytes(PROGRAM)
        done = stage.script("muster", "release", env={"MUSTER_BINARY": str(stage.root / "own")})
        self.assertEqual((done.returncode, stage.said()), (0, []), done.stderr)
        self.assertEqual((stage.temp / "muster-action/bin/muster").read_bytes(), PROGRAM)

    def nix_tarball(self, stage: Stage) -> bytes:
        versions = dict(line.split("=") for line in (stage.action / "versions").read_text().split())
        installer = f'#!/bin/sh\necho "install $*" >>{stage.calls}\n'.encode()
        return tarball({f"nix-{versions['nix']}-x86_64-linux/install": installer})

    def test_nix_comes_by_its_own_installer_and_only_once(self) -> None:
        stage = self.stage()
        name = next(line for line in (stage.action / "versions").read_text().split() if line.startswith("nix=")).replace("nix=", "nix-") + "-x86_64-linux.tar.xz"
        stage.offer(name, self.nix_tarball(stage))
        done = stage.script("nix")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        calls = stage.said()
        self.assertIn("releases.nixos.org", calls[0])
        self.assertIn("--yes --no-channel-add --nix-extra-conf-file", calls[1])
        stage.fake("nix", "echo nix 2")
        done = stage.script("nix")
        self.assertEqual((done.returncode, stage.said()), (0, ["nix --version"]))
        self.assertIn("Nix is there", done.stdout)

    def test_a_nix_with_a_wrong_checksum_is_not_run(self) -> None:
        stage = self.stage()
        name = next(line for line in (stage.action / "versions").read_text().split() if line.startswith("nix=")).replace("nix=", "nix-") + "-x86_64-linux.tar.xz"
        stage.offer(name, self.nix_tarball(stage), checked=False, wrong=True)
        done = stage.script("nix")
        self.assertEqual(done.returncode, 1)
        self.assertFalse(any(call.startswith("install") for call in stage.said()))

    def test_tailscale_is_brought_once(self) -> None:
        stage = self.stage()
        stage.offer("tailscale_1.102.3_amd64.tgz", tarball({"tailscale_1.102.3_amd64/tailscale": PROGRAM, "tailscale_1.102.3_amd64/tailscaled": PROGRAM}, "gz"))
        done = stage.script("tailscale")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("pkgs.tailscale.com/stable/tailscale_1.102.3_amd64.tgz", stage.said()[0])
        self.assertEqual({path.name for path in (stage.temp / "muster-action/bin").iterdir()}, {"tailscale", "tailscaled"})
        stage.fake("tailscale", "echo 1.2.3")
        stage.fake("tailscaled")
        self.assertIn("Tailscale is there", stage.script("tailscale").stdout)
        self.assertEqual(stage.said(), ["tailscale version"])

    def test_on_a_mac_tailscale_comes_from_the_release_or_from_nixpkgs(self) -> None:
        stage = self.stage("macOS", "ARM64")
        stage.offer("tailscale-aarch64-darwin.tgz", tarball({"t/tailscale": PROGRAM, "t/tailscaled": PROGRAM}, "gz"))
        self.assertEqual(stage.script("tailscale").returncode, 0)
        stage = self.stage("macOS", "X64")
        stage.mirror()
        (stage.root / "built/bin").mkdir(parents=True)
        (stage.root / "built/bin/tailscale").write_bytes(PROGRAM)
        (stage.root / "built/bin/tailscale").chmod(0o755)
        stage.fake("nix", f"echo {stage.root}/built")
        done = stage.script("tailscale")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("nixpkgs-26.05-darwin#tailscale", stage.said()[0])

    def test_a_mirror_has_the_same_names_and_is_checked_all_the_same(self) -> None:
        stage = self.stage()
        stage.offer("muster-x86_64-linux", PROGRAM)
        self.assertEqual(stage.script("muster", "release", env={"MUSTER_MIRROR": "http://mirror.test/x"}).returncode, 0)
        self.assertIn("http://mirror.test/x/muster-x86_64-linux", stage.said()[0])

    def test_the_release_writes_the_checksums_of_all_that_is_downloaded(self) -> None:
        stage = self.stage()
        versions = dict(line.split("=") for line in (stage.action / "versions").read_text().split())
        for system in ("x86_64-linux", "aarch64-linux", "x86_64-darwin", "aarch64-darwin"):
            stage.offer(f"nix-{versions['nix']}-{system}.tar.xz", b"nix", checked=False)
        for machine in ("amd64", "arm64"):
            stage.offer(f"tailscale_{versions['tailscale']}_{machine}.tgz", b"tailscale", checked=False)
        (stage.root / "dist").mkdir()
        (stage.root / "dist/muster-x86_64-linux").write_bytes(PROGRAM)
        done = stage.run("sh", str(stage.action / "release/checksums"), env={"VERSION": "9.9.9"})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertTrue((stage.action / "checksums.txt").read_text().startswith("# muster 9.9.9\n"))
        self.assertEqual((stage.action / "checksums.txt").read_text().count("\n"), 8)
        stage.said()
        stage.offer("muster-x86_64-linux", PROGRAM, checked=False)
        self.assertEqual(stage.script("muster", "release").returncode, 0, "the script reads what the release wrote")


def tarball(files: dict[str, bytes], kind: str = "xz") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:xz" if kind == "xz" else "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return made.getvalue()
