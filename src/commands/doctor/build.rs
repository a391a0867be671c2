//! `muster doctor --build`: trial builds, once everything else has been asked.

use std::sync::Arc;

use super::targets::Target;
use crate::config::{BuilderUri, Config};
use crate::coordinator::transport;
use crate::doctor::trial::{self, Wanted};
use crate::doctor::{Check, Subject, Verdict};
use crate::edge::channel::Transport;
use crate::edge::doctor::Around;
use crate::edge::doctor::trial::{build, holds};
use crate::edge::ssh::{Host, Lane};
use crate::edge::{control, machine};
use crate::policy::Snapshot;
use crate::policy::snapshot::HealthWord;

/// Adds a check to every builder's.
pub async fn build_on_each(config: &Config, around: &Around, targets: &[Target], subjects: &mut [Subject]) {
    let built = trials(config, around).await;
    let ran = built.as_ref().map(|(outputs, seconds)| (outputs.len(), *seconds)).map_err(String::as_str);
    for target in targets {
        let Some(subject) =
            subjects.iter_mut().find(|subject| subject.builder.as_ref() == Some(&target.name))
        else {
            continue;
        };
        let failed =
            subject.checks.iter().find(|check| check.verdict == Verdict::Fail).map(|check| check.name);
        let check = match (failed, &built) {
            (Some(first), _) => Check::after("build", first),
            (None, Err(why)) => trial::check(Err(why), Ok(0)),
            (None, Ok((outputs, _))) => {
                let here = holds(reached(config, around, target), around, outputs).await;
                trial::check(ran, here.as_ref().map(|count| *count).map_err(String::as_str))
            }
        };
        subject.checks.push(check);
    }
}

async fn trials(config: &Config, around: &Around) -> Result<(Vec<crate::domain::StorePath>, f64), String> {
    let status = control::status(&config.control.socket, around.terms.patience.connect).await;
    let status = status.map_err(|error| format!("the coordinator does not answer: {error}"))?;
    let wanted = wanted(&status);
    if wanted.is_empty() {
        return Err("the coordinator has no healthy builder".to_owned());
    }
    build(config, &trial::expression(&machine::unguessable(), &wanted)).await
}

/// As many builds as there are slots, each for a builder that insists on the least.
fn wanted(status: &Snapshot) -> Vec<Wanted> {
    let healthy = status.builders.iter().filter(|row| row.health == HealthWord::Healthy);
    let wanted = healthy.filter_map(|row| {
        let features = row.mandatory.iter().cloned().collect();
        Some(Wanted::new(row.systems.first()?.clone(), features, row.slots))
    });
    wanted.collect()
}

fn reached(config: &Config, around: &Around, target: &Target) -> Transport {
    match &target.builder.uri {
        BuilderUri::Process { root, program } => transport::of_process(config, root, program.as_deref()),
        BuilderUri::Ssh(uri) => {
            let sockets = Arc::clone(&around.sockets);
            let host = Host::new(uri.clone(), sockets, around.terms.clone(), around.tracker.clone());
            host.use_program(target.program.as_deref());
            Transport::Ssh(host, Lane::Control)
        }
    }
}
