"""The nested action, run by node as GitHub runs it: what happens at the end of a job, however muster ends."""

from __future__ import annotations

import shutil
import subprocess
import unittest

from stage import MUSTER, SECRET, Stage, is_root

NODE = shutil.which("node")
# Nobody waits for 90 s here: what the step would wait is said, and cut short.
HURRY = """const child = require("node:child_process");
const { spawnSync } = child;
child.spawnSync = (file, words, options) => {
  console.log(`it would wait ${options.timeout} ms`);
  return spawnSync(file, words, { ...options, timeout: 500 });
};
"""


@unittest.skipUnless(NODE, "there is no node: the nested action is not run")
class Lifecycle(unittest.TestCase):
    def stage(self, script: str | None) -> Stage:
        stage = Stage()
        self.addCleanup(stage.close)
        bin = stage.temp / "muster-action/bin"
        bin.mkdir(parents=True)
        if script is not None:
            stage.fake("muster", script)
            (stage.bin / "muster").rename(bin / "muster")
        return stage

    def run_by_node(self, stage: Stage, name: str, *options: str) -> subprocess.CompletedProcess[str]:
        inputs = {"INPUT_ROLE": "builder", "INPUT_SUMMARY": "true"}
        return stage.run(str(NODE), *options, str(stage.action / "lifecycle" / name), env=inputs)

    def test_at_first_nothing_is_done(self) -> None:
        stage = self.stage("")
        done = self.run_by_node(stage, "main.js")
        self.assertEqual((done.returncode, done.stderr, stage.said()), (0, "", []))

    def test_at_the_end_muster_tears_down_what_this_job_is(self) -> None:
        stage = self.stage('echo "role $INPUT_ROLE, summary $INPUT_SUMMARY"')
        done = self.run_by_node(stage, "post.js")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual((done.stdout, stage.said()), ("role builder, summary true\n", ["muster action teardown"]))

    def test_whatever_goes_wrong_is_a_warning_and_fails_no_job(self) -> None:
        for script, words in [("exit 3", "it ended with 3"), ("kill -SEGV $$", "it ended with SIGSEGV"), (None, "ENOENT")]:
            done = self.run_by_node(self.stage(script), "post.js")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            (warning,) = done.stdout.splitlines()
            self.assertTrue(warning.startswith("::warning title=muster::the teardown was not finished: ") and words in warning, warning)

    def test_a_teardown_that_hangs_is_killed(self) -> None:
        # It is deaf to all but SIGKILL.
        stage = self.stage("trap '' TERM INT; exec sleep 30")
        hurry = stage.root / "hurry.js"
        hurry.write_text(HURRY)
        done = self.run_by_node(stage, "post.js", "--require", str(hurry))
        wait, warning = done.stdout.splitlines()
        self.assertEqual((done.returncode, wait), (0, "it would wait 90000 ms"))
        self.assertIn("ETIMEDOUT", warning)

    @unittest.skipUnless(MUSTER.exists() and is_root(), "that takes target/debug/muster and root")
    def test_with_the_real_muster_the_job_ends_well_twice(self) -> None:
        stage = self.stage(None)
        stage.fake("rm")
        (stage.temp / "muster-action/bin/muster").symlink_to(MUSTER)
        for _ in range(2):
            done = self.run_by_node(stage, "post.js")
            self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
            self.assertTrue(done.stdout.startswith("::group::Tear down\n") and "not finished" not in done.stdout, done.stdout)
            self.assertIn(f"rm -rf -- {stage.temp}/muster-action/tailscale", stage.said())
        self.assertNotIn(SECRET, stage.everything())
