// Runs `muster action teardown` at the end of the job, however it ended. It never fails the job, and takes 90 s at most.
"use strict";

const { spawnSync } = require("node:child_process");
const path = require("node:path");

const muster = path.join(process.env.RUNNER_TEMP ?? "/tmp", "muster-action", "bin", "muster");
const ended = spawnSync(muster, ["action", "teardown"], { stdio: "inherit", timeout: 90_000, killSignal: "SIGKILL" });
if (ended.error || ended.status !== 0) {
  const why = ended.error ? ended.error.message : `it ended with ${ended.status ?? ended.signal}`;
  console.log(`::warning title=muster::the teardown was not finished: ${why.replace(/[\r\n%]/g, " ")}`);
}
process.exitCode = 0;
