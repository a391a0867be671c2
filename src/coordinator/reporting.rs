//! The report is written down now and then, for when nobody can be asked any more.

use std::time::Duration;

use super::driver::Driver;
use crate::edge::report;

/// What a killed coordinator did within this time may be missing from the report.
const EVERY: Duration = Duration::from_secs(5);

impl Driver {
    /// Writes it down if that was not done for a while and something has happened since.
    pub(super) fn write_report_if_due(&mut self) {
        let now = self.now();
        if now.since(self.reported_at) >= EVERY {
            self.reported_at = now;
            self.write_report();
        }
    }

    /// Nobody's build depends on it.
    pub(super) fn write_report(&self) {
        let report = self.report();
        if report.builders.is_empty() && report.attempts.is_empty() {
            return;
        }
        if let Err(error) = report::write(&self.world.config().state_dir, &report) {
            tracing::debug!(%error, "the report cannot be written down");
        }
    }
}
