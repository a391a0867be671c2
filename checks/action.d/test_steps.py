"""The steps of the action: muster itself, with commands that only log how they were called."""

from __future__ import annotations

import unittest

from stage import MUSTER, SECRET, Stage, is_root


@unittest.skipUnless(MUSTER.exists(), "there is no target/debug/muster: cargo build makes it")
class Steps(unittest.TestCase):
    def stage(self) -> Stage:
        stage = Stage()
        self.addCleanup(stage.close)
        # sudo, where there is one, does as it is told.
        stage.fake("sudo", '[ "$1" != -n ] || shift\ncase $1 in --preserve-env=*) shift ;; esac\nexec "$@"')
        return stage

    def no_secret(self, stage: Stage, said: str) -> None:
        lines = [line for line in said.splitlines() if not line.startswith("::add-mask::")]
        self.assertNotIn(SECRET, "\n".join(lines))
        self.assertNotIn("SECRET", stage.file("calls"))
        self.assertFalse(SECRET in stage.everything(), "it stands in a file")

    def test_a_good_job_is_let_through_and_its_key_masked_first(self) -> None:
        stage = self.stage()
        done = stage.step("check")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.splitlines()[0], f"::add-mask::{SECRET}")
        self.assertIn("enabled<<END_OF_MUSTER\ntrue\n", stage.file("GITHUB_OUTPUT"))
        self.no_secret(stage, done.stdout + done.stderr)

    def test_bad_inputs_end_the_job_at_once_and_name_the_fix(self) -> None:
        for inputs, words in [
            ({"role": "worker"}, "role: 'worker' is none of builder, coordinator"),
            ({"role": "coordinator"}, "builders: a coordinator needs the host names of its builders, or discover_tag"),
            ({"tailscale_authkey": ""}, "on_missing_auth: local"),
            ({"tailscale_tags": "ci"}, "must look like tag:nix-ci-builder"),
            ({"tailscale_hostname": "a;b"}, "is no host name"),
        ]:
            stage = self.stage()
            done = stage.step("check", **inputs)
            self.assertEqual(done.returncode, 2)
            self.assertTrue(any(line.startswith("::error title=muster::") and words in line for line in done.stdout.splitlines()), done.stdout)
            self.no_secret(stage, done.stdout + done.stderr)

    def test_a_fork_without_secrets_goes_on_alone(self) -> None:
        stage = self.stage()
        done = stage.step("check", tailscale_authkey="", on_missing_auth="local")
        self.assertEqual(done.returncode, 0)
        self.assertIn("::notice title=muster::", done.stdout)
        self.assertIn("enabled<<END_OF_MUSTER\nfalse\n", stage.file("GITHUB_OUTPUT"))

    @unittest.skipUnless(is_root(), "only root may leave sudo out")
    def test_the_summary_and_the_end_come_in_order_and_fail_no_job(self) -> None:
        stage = self.stage()
        for name in ("rm", "kill"):
            stage.fake(name)
        done = stage.step("teardown", role="coordinator")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertNotIn("::error", done.stdout)
        self.assertIn(f"rm -rf -- {stage.temp}/muster-action/tailscale", stage.said())
        again = stage.step("teardown", role="coordinator")
        self.assertEqual(again.returncode, 0)
        self.no_secret(stage, done.stdout + again.stdout)

    def test_disk_says_what_it_did(self) -> None:
        stage = self.stage()
        done = stage.step("disk", maximize_disk="never")
        self.assertEqual((done.returncode, stage.said()), (0, []))
        self.assertIn("nothing is removed", done.stdout)
        stage.fake("rm")
        stage.fake("docker")
        done = stage.step("disk", maximize_disk="always")
        self.assertEqual(done.returncode, 0, done.stdout)
        calls = [call for call in stage.said() if not call.startswith("sudo")]
        self.assertEqual(sorted(call.split()[0] for call in calls), ["docker", "rm"])
        self.assertIn("/usr/local/lib/android", done.stdout)
        self.assertIn("are free now", done.stdout)
        self.no_secret(stage, done.stdout)

    def test_lines_that_nix_refuses_are_named_by_their_number(self) -> None:
        stage = self.stage()
        refuses = 'if echo "$NIX_CONFIG" | grep -q bogus; then echo "error: syntax error in configuration line"; exit 1; fi'
        stage.fake("nix", refuses)
        for name in ("install", "mkdir", "systemctl"):
            stage.fake(name)
        done = stage.step("configure", extra_nix_config="max-jobs = 1\n\nbogus\ncores = 2")
        self.assertEqual(done.returncode, 1)
        self.assertIn("::error title=muster::extra_nix_config, line 3: error: syntax error in configuration line (\"bogus\")", done.stdout)
        self.assertFalse(any(call.startswith("install") for call in stage.said()), "nothing is written")
        done = stage.step("configure", extra_nix_config="max-jobs = 1")
        self.assertEqual(done.returncode, 0, done.stdout)
        calls = [call for call in stage.said() if not call.startswith(("sudo", "nix"))]
        self.assertEqual([call.split()[0] for call in calls], ["mkdir", "install", "systemctl"])

    @unittest.skipUnless(is_root(), "only root may leave sudo out")
    def test_whatever_keeps_a_builder_from_building_is_named(self) -> None:
        for breaks, words in [
            ("*--version*", "has no Nix that works"),
            ("*--dry-run*", "does not answer"),
            ("*--no-out-link*", "cannot build anything"),
            ("nothing", ""),
        ]:
            stage = self.stage()
            stage.fake("nix-build", f"case $* in {breaks}) exit 1 ;; esac")
            done = stage.step("probe")
            errors = [line for line in done.stdout.splitlines() if line.startswith("::error title=muster::")]
            if words:
                self.assertTrue(done.returncode == 1 and len(errors) == 1 and words in errors[0], done.stdout)
            else:
                self.assertEqual((done.returncode, errors, len(stage.said())), (0, [], 3), done.stdout)

    def test_a_quiet_log_has_what_fails_and_nothing_else(self) -> None:
        for mode, fails, said in [("quiet", False, []), ("quiet", True, ["some words", "::error"]), ("normal", False, ["Make room", "some words"]), ("grouped", False, ["::group::Make room", "some words", "::endgroup::"])]:
            stage = self.stage()
            stage.fake("docker")
            stage.fake("rm", "echo some words" + ("; exit 1" if fails else ""))
            done = stage.step("disk", maximize_disk="always", log_mode=mode)
            lines = [line for line in done.stdout.splitlines() if "GB are free" not in line]
            self.assertEqual(len(lines), len(said), done.stdout)
            for line, words in zip(lines, said):
                self.assertIn(words.replace("::error", "::warning"), line)

    def test_a_hostile_line_in_the_log_is_no_command(self) -> None:
        stage = self.stage()
        stage.fake("nix", 'echo "error: ::add-path::/evil"; exit 1')
        done = stage.step("configure", extra_nix_config="x")
        self.assertFalse(any(line.lstrip().startswith("::add-path") for line in done.stdout.splitlines()), done.stdout)
