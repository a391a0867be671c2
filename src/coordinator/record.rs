//! What was built, with the graph behind it, for `muster record`.
//!
//! The report says where and when each attempt ran; the local store says what each derivation needs, and how large
//! inputs and outputs are. A build's own time is that of the attempt that succeeded, transfers included, as the report
//! knows no other.

use std::collections::{BTreeMap, BTreeSet};

use tokio_util::task::TaskTracker;

use super::local::{LocalError, LocalStore};
use super::{drvs, transport};
use crate::config::Config;
use crate::domain::{BuilderName, StorePath, System};
use crate::edge::pool::Pool;
use crate::nix::aterm::Derivation;
use crate::policy::Report;
use crate::policy::report::{AttemptReport, BuilderReport, How};
use crate::policy::snapshot::BuilderRow;
use crate::wire::recording::{RecordedAttempt, RecordedBuild, RecordedBuilder, Recording};

/// What is asked for at once.
const AT_ONCE: usize = 500;

/// A derivation that was built, with its attempts.
struct Built<'a> {
    path: StorePath,
    derivation: Derivation,
    attempts: Vec<&'a AttemptReport>,
}

/// Makes the recording of what a report tells.
pub async fn record(config: &Config, report: &Report, rows: &[BuilderRow]) -> Result<Recording, LocalError> {
    let tracker = TaskTracker::new();
    let transport = transport::of_local_store(config);
    let pool = Pool::new(transport, config.store_dir.clone(), config.timeouts.connect, tracker.clone());
    let local = LocalStore::new(pool, config.timeouts.connect);
    let built = built(config, &local, report).await?;
    let systems: BTreeSet<System> = built.iter().map(|one| one.derivation.platform.clone()).collect();
    let builders: Vec<RecordedBuilder> =
        report.builders.iter().filter_map(|builder| recorded_builder(builder, rows, &systems)).collect();
    let speeds: BTreeMap<&BuilderName, f64> = rows.iter().map(|row| (&row.name, row.speed_factor)).collect();
    let sizes = sizes(&local, &built).await?;
    let names: BTreeSet<&StorePath> = built.iter().map(|one| &one.path).collect();
    let builds = built.iter().filter_map(|one| recorded(one, &names, &sizes, &speeds)).collect();
    local.close("the recording is made");
    tracker.close();
    Ok(Recording { builders, builds })
}

/// The derivations of the attempts that succeeded, as far as the store has them.
async fn built<'a>(
    config: &Config,
    local: &LocalStore,
    report: &'a Report,
) -> Result<Vec<Built<'a>>, LocalError> {
    let mut attempts: BTreeMap<StorePath, Vec<&AttemptReport>> = BTreeMap::new();
    for attempt in &report.attempts {
        if let Ok(path) = StorePath::from_base_name(&attempt.drv) {
            attempts.entry(path).or_default().push(attempt);
        }
    }
    attempts.retain(|_, all| all.iter().any(|attempt| attempt.how == How::Built));
    let paths: Vec<StorePath> = attempts.keys().cloned().collect();
    let mut daemon = local.daemon().await?;
    let mut built = Vec::new();
    for paths in paths.chunks(AT_ONCE) {
        let infos = daemon.query_path_infos(paths).await?;
        let files = infos.into_iter().flatten().map(|info| (info.path, info.nar_size)).collect::<Vec<_>>();
        for (path, derivation) in drvs::read(&mut daemon, &config.store_dir, &files).await? {
            let attempts = attempts.remove(&path).unwrap_or_default();
            built.push(Built { path, derivation, attempts });
        }
    }
    Ok(built)
}

/// How large the paths are that these read and make, as far as they are valid.
async fn sizes(local: &LocalStore, built: &[Built<'_>]) -> Result<BTreeMap<StorePath, u64>, LocalError> {
    let outputs = |one: &Built<'_>| {
        one.derivation.outputs.values().filter_map(|output| output.path.clone()).collect::<Vec<_>>()
    };
    let wanted: BTreeSet<StorePath> =
        built.iter().flat_map(|one| one.derivation.input_srcs.iter().cloned().chain(outputs(one))).collect();
    let wanted: Vec<StorePath> = wanted.into_iter().collect();
    let mut daemon = local.daemon().await?;
    let mut sizes = BTreeMap::new();
    for paths in wanted.chunks(AT_ONCE) {
        let infos = daemon.query_path_infos(paths).await?;
        sizes.extend(infos.into_iter().flatten().map(|info| (info.path, info.nar_size)));
    }
    Ok(sizes)
}

fn recorded(
    one: &Built<'_>,
    names: &BTreeSet<&StorePath>,
    sizes: &BTreeMap<StorePath, u64>,
    speeds: &BTreeMap<&BuilderName, f64>,
) -> Option<RecordedBuild> {
    let succeeded = one.attempts.iter().find(|attempt| attempt.how == How::Built)?;
    let took = succeeded.ended_ms?.saturating_sub(succeeded.began_ms);
    let speed = speeds.get(&succeeded.builder).copied().unwrap_or(1.0);
    let sum = |paths: &mut dyn Iterator<Item = &StorePath>| paths.filter_map(|path| sizes.get(path)).sum();
    let outputs = one.derivation.outputs.values().filter_map(|output| output.path.as_ref());
    Some(RecordedBuild {
        drv: one.path.clone(),
        pname: drvs::pname(&one.path, &one.derivation.env),
        system: one.derivation.platform.clone(),
        features: drvs::features(&one.derivation),
        needs: one.derivation.input_drvs.keys().filter(|drv| names.contains(drv)).cloned().collect(),
        seconds: seconds(took) * speed,
        input_bytes: sum(&mut one.derivation.input_srcs.iter()),
        output_bytes: sum(&mut outputs.into_iter()),
        attempts: one.attempts.iter().filter_map(|attempt| recorded_attempt(attempt)).collect(),
    })
}

fn recorded_attempt(attempt: &AttemptReport) -> Option<RecordedAttempt> {
    let how = match attempt.how {
        How::Running => return None,
        How::Built => "built",
        How::Failed => "failed",
        How::Lost => "lost",
        How::Cancelled => "cancelled",
    };
    Some(RecordedAttempt {
        builder: attempt.builder.clone(),
        began: seconds(attempt.began_ms),
        ended: seconds(attempt.ended_ms?),
        how: how.to_owned(),
    })
}

/// One that never took builds, or for none of these systems, is left out.
fn recorded_builder(
    builder: &BuilderReport,
    rows: &[BuilderRow],
    systems: &BTreeSet<System>,
) -> Option<RecordedBuilder> {
    let row = rows.iter().find(|row| row.name == builder.name);
    let measured = row.and_then(|row| row.measured.as_ref());
    let speed = row.map_or(1.0, |row| row.speed_factor);
    let known = builder.systems.intersection(systems).map(|system| (system.clone(), speed));
    let systems: BTreeMap<System, f64> = known.collect();
    (builder.slots > 0 && !systems.is_empty()).then(|| RecordedBuilder {
        name: builder.name.clone(),
        systems,
        features: row.map(|row| row.features.clone()).unwrap_or_default(),
        slots: builder.slots,
        cores: builder.cores,
        link: measured
            .and_then(|measured| measured.link_mb_s)
            .map_or(USUAL_LINK, |rate| (rate * 1e6).max(1e3)),
        rtt_ms: measured.and_then(|measured| measured.rtt_ms).unwrap_or_default(),
    })
}

/// Bytes per second, where nobody says how much a link carries.
const USUAL_LINK: f64 = 1e8;

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a run")]
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1e3
}
