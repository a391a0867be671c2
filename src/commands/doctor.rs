//! `muster doctor`

mod build;
mod targets;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{Failure, block_on, print};
use crate::cli::DoctorArgs;
use crate::config::{Builder, BuilderUri, Config, Environment};
use crate::coordinator::{self, transport};
use crate::doctor::host::{self, Patient};
use crate::doctor::ssh::is_fingerprint;
use crate::doctor::{Check, Diagnosis, Subject, local};
use crate::edge::doctor::progress::Progress;
use crate::edge::doctor::{self, Around};
use crate::edge::ssh::SocketDir;
use crate::render;
use targets::Target;

/// Builders that are asked at once.
const AT_ONCE: usize = 32;
/// For connections to end when all is asked.
const GRACE: std::time::Duration = std::time::Duration::from_secs(2);

pub(super) fn run(args: &DoctorArgs, environment: &Environment) -> Result<(), Failure> {
    let config = Config::load(&args.settings, environment)?;
    let source = coordinator::machines_source(&config);
    let targets = targets::targets(&args.hosts, &config, &source)?;
    let around = around(&config).map_err(|error| Failure::Failed(error.into()))?;
    let diagnosis = block_on(async {
        if let Some(fingerprint) = &args.pin {
            pin(&targets, fingerprint, &around, environment).await?;
        }
        let diagnosis = examine(args, environment, &config, targets, &around).await;
        around.tracker.close();
        // What still hangs by then dies with us.
        let _ = timeout(GRACE, around.tracker.wait()).await;
        Ok(diagnosis)
    })?;
    match args.json {
        true => {
            let json = render::doctor::json(&diagnosis).map_err(|error| Failure::Failed(error.into()))?;
            print(&format!("{json}\n"))?;
        }
        false => print(&render::doctor::text(&diagnosis))?,
    }
    match diagnosis.failures() {
        0 => Ok(()),
        1 => Err(Failure::Failed(anyhow::anyhow!("1 check failed"))),
        more => Err(Failure::Failed(anyhow::anyhow!("{more} checks failed"))),
    }
}

fn around(config: &Config) -> std::io::Result<Around> {
    Ok(Around {
        sockets: Arc::new(SocketDir::temporary()?),
        terms: transport::terms(config),
        probe: config.timeouts.probe,
        store_dir: config.store_dir.clone(),
        tracker: TaskTracker::new(),
    })
}

async fn pin(
    targets: &[Target],
    print: &str,
    around: &Around,
    environment: &Environment,
) -> Result<(), Failure> {
    let usage = |message: String| Failure::Usage(anyhow::anyhow!(message));
    if !is_fingerprint(print) {
        return Err(usage(format!(
            "--pin takes a fingerprint such as SHA256:uNiVztksCsDh..., not '{print}'"
        )));
    }
    let [Target { builder: Builder { uri: BuilderUri::Ssh(uri), .. }, .. }] = targets else {
        return Err(usage("--pin takes one HOST that ssh reaches".to_owned()));
    };
    let home = environment.home.as_deref().map(std::path::Path::new);
    let pinned = doctor::pin::pin(uri, around, home, print).await;
    let pinned = pinned.map_err(|error| Failure::Failed(error.into()))?;
    let word = if pinned.known_before { "is known already" } else { "is known now" };
    eprintln!("the host key {print} of {} {word} ({})", uri.host, pinned.file.display());
    Ok(())
}

async fn examine(
    args: &DoctorArgs,
    environment: &Environment,
    config: &Config,
    targets: Vec<Target>,
    around: &Around,
) -> Diagnosis {
    let here = args.hosts.is_empty();
    let progress = Arc::new(Progress::new(targets.len() + usize::from(here), environment.width));
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let asked: Vec<_> = targets
        .into_iter()
        .map(|target| {
            let asking =
                builder(target, config.clone(), around.clone(), Arc::clone(&progress), Arc::clone(&places));
            around.tracker.spawn(asking)
        })
        .collect();
    let mut subjects = Vec::new();
    if here {
        progress.step("this machine", "local");
        let source = coordinator::machines_source(config);
        let store = transport::of_local_store(config);
        let facts = doctor::local::ask(config, &source, store, around).await;
        subjects.push(Subject { builder: None, checks: local::checks(&facts) });
        progress.done("this machine");
    }
    let mut asked_all = Vec::new();
    for asking in asked {
        if let Ok((target, checks)) = asking.await {
            subjects.push(Subject { builder: Some(target.name.clone()), checks });
            asked_all.push(target);
        }
    }
    if args.build {
        progress.step("trial builds", "build");
        build::build_on_each(config, around, &asked_all, &mut subjects).await;
    }
    Diagnosis::new(subjects)
}

async fn builder(
    mut target: Target,
    config: Config,
    around: Around,
    progress: Arc<Progress>,
    places: Arc<Semaphore>,
) -> (Target, Vec<Check>) {
    // Nobody closes it.
    let _place = places.acquire().await;
    let name = target.name.clone();
    let name = name.as_str();
    let spec = &target.builder.spec;
    let checks = match &target.builder.uri {
        BuilderUri::Process { root, program } => {
            progress.step(name, "daemon");
            let transport = transport::of_process(&config, root, program.as_deref());
            host::embedded(&doctor::host::daemon(transport, &around).await)
        }
        BuilderUri::Ssh(uri) => {
            let facts = doctor::host::ask(uri, &around, |step| progress.step(name, step)).await;
            let wanted = spec.features.iter().flatten().chain(&spec.mandatory).cloned().collect();
            let (has_line, use_untrusted) = (target.has_line, config.use_untrusted);
            let patient = Patient { name, uri, wanted: Some(&wanted), has_line, use_untrusted };
            let checks = host::checks(patient, &facts);
            target.program = facts.report.and_then(|report| report.ok()?.nix_daemon);
            checks
        }
    };
    progress.done(name);
    (target, checks)
}
