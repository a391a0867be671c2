"""The diagrams of a job's summary, read by mermaid itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import unittest

import tools
from tools import REPOSITORY

PARSE = """
import { readFileSync } from "node:fs";
import { JSDOM } from "jsdom";
const { window } = new JSDOM("<!DOCTYPE html><body></body>");
globalThis.window = window;
globalThis.document = window.document;
const { default: mermaid } = await import("mermaid");
const text = readFileSync(0, "utf8");
await mermaid.parse(text);
const diagram = await mermaid.mermaidAPI.getDiagramFromText(text);
const sections = diagram.db.getSections(), tasks = diagram.db.getTasks();
console.log(JSON.stringify({ sections, tasks: tasks.map((task) => [task.section, task.task]) }));
"""


class Summary(unittest.TestCase):
    def read(self, text: str) -> str:
        if not tools.has("mermaid") or shutil.which("node") is None:
            self.skipTest("mermaid is not there (checks/action setup; it takes node): the summary's diagrams are not read")
        script = tools.node("mermaid") / "parse.mjs"
        script.write_text(PARSE)
        done = subprocess.run(["node", str(script)], input=text, capture_output=True, text=True, cwd=script.parent, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_mermaid_reads_the_timeline_as_it_is_meant(self) -> None:
        snapshot = REPOSITORY / "src/render/report/snapshots/muster__render__report__tests__a_report_as_a_jobs_summary.snap"
        (diagram,) = re.findall(r"```mermaid\n(.*?)```", snapshot.read_text(), re.S)
        said = self.read(diagram)
        # Names that are words of mermaid's, too, are bars and nothing else.
        for bar in ("- gantt-1.0", "- title FAILED", "- click RUNNING", "- end cancelled", "- section_x_y_z_ LOST", "- never came"):
            self.assertIn(f'"{bar} "', said)
        self.assertIn('"sections":["b1 x86_64-linux","b2 x86_64-linux","nix-builder-1-1-macos-26-1"]', said)

    def test_a_broken_diagram_is_refused(self) -> None:
        with self.assertRaises(AssertionError):
            self.read("gantt\n  dateFormat x\n  section a\n  no colon\n  x :done, 0\n::: nonsense")
