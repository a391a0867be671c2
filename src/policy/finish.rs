//! When a build would be done: the estimates behind every placement.
//!
//! ```text
//! finish   = next slot + queue + transfer + building
//! transfer = missing bytes / link + two round trips, where something is missing
//! building = work / speed * (1 + busy / slots)
//! queue    = builds ahead * work / sum of slots * speed of those that could take them
//! ```
//!
//! `work` is what was learned of such builds, in seconds on the reference machine; speed, link and round trip are those of
//! the builder, measured or assumed. The last factor of `building` is the price of company: of those that run beside it.

use std::time::Duration;

use super::builds::Build;
use super::estimate::{Estimates, Ground};
use super::fleet::{Builder, Fleet};
use super::graph::Graph;
use super::place::unfit;
use super::presence::Presence;
use super::settings::Settings;

/// What there is to estimate from.
pub(super) struct Outlook<'a> {
    pub fleet: &'a Fleet,
    pub presence: &'a Presence,
    pub estimates: &'a Estimates,
    pub graph: &'a Graph,
    pub settings: &'a Settings,
}

impl Outlook<'_> {
    /// Seconds on the reference machine.
    pub(super) fn work(&self, build: &Build) -> f64 {
        let Build { ask, closure_bytes, .. } = build;
        self.estimates.work(&ask.pname, &ask.system, *closure_bytes, self.settings.build_time).seconds
    }

    /// From its start to the end of the graph, as far as that is known.
    pub(super) fn rank(&self, build: &Build) -> Duration {
        let own = self.work(build);
        seconds(self.graph.rank(&build.ask.drv.hash()).map_or(own, |rank| rank.max(own)))
    }

    /// Whether anything is known of such builds.
    pub(super) fn knows(&self, build: &Build) -> bool {
        self.ground(build) > Ground::Constant
    }

    /// Whether any was seen that has its name.
    pub(super) fn knows_by_name(&self, build: &Build) -> bool {
        self.ground(build) >= Ground::Name
    }

    fn ground(&self, build: &Build) -> Ground {
        let Build { ask, closure_bytes, .. } = build;
        self.estimates.work(&ask.pname, &ask.system, *closure_bytes, self.settings.build_time).ground
    }

    /// From when it has a slot there.
    pub(super) fn lasts(&self, build: &Build, builder: &Builder, work: f64, missing: u64) -> Duration {
        let slots = builder.slots().max(1);
        let crowding = 1.0 + f64::from(builder.busy().min(slots - 1)) / f64::from(slots);
        let building = work * crowding / builder.speed(&build.ask.system);
        self.transfer(builder, missing) + seconds(building)
    }

    /// How long what is missing takes to get there.
    pub(super) fn transfer(&self, builder: &Builder, missing: u64) -> Duration {
        if missing == 0 {
            return Duration::ZERO;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let (bytes, assumed) = (missing as f64, self.settings.link_rate.max(1) as f64);
        let rate = builder.machine.link.unwrap_or(assumed);
        let round_trip = builder.machine.round_trip.unwrap_or_default();
        seconds(bytes / rate) + round_trip * 2
    }

    /// How long it should build there.
    pub(super) fn expected(&self, build: &Build, builder: &Builder) -> Duration {
        seconds(self.work(build) / builder.speed(&build.ask.system))
    }

    /// How long those before it keep everybody busy who could take it.
    pub(super) fn queue_time(&self, build: &Build, work: f64, ahead: usize) -> Duration {
        if ahead == 0 {
            return Duration::ZERO;
        }
        let takers = self.fleet.iter().map(|(_, builder)| builder).filter(|builder| {
            builder.takes_builds() && unfit(&build.shape, builder, self.settings).is_none()
        });
        let flow: f64 =
            takers.map(|builder| f64::from(builder.slots()) * builder.speed(&build.ask.system)).sum();
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let ahead = ahead as f64;
        seconds(ahead * work / flow.max(1e-3))
    }
}

/// Bounded: an estimate never breaks anything.
fn seconds(seconds: f64) -> Duration {
    const LONGEST: f64 = 1e8;
    Duration::from_secs_f64(if seconds.is_finite() { seconds.clamp(0.0, LONGEST) } else { LONGEST })
}
