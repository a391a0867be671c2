//! The loop that owns the state, and the tasks that carry out what it orders.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attempt::Attempt;
use super::claim::Claims;
use super::configured::Configured;
use super::feed::{Ending, Feed, Output};
use super::graph::Graphs;
use super::job::Job;
use super::learning::Learner;
use super::local::LocalStore;
use super::narration::Narration;
use super::offer::Writes;
use super::prefetch::Prefetching;
use super::reach::Reach;
use super::roster::Roster;
use super::{News, World, control, endpoint, measure, own_link, probe, sources, transport};
use crate::config::{Builder, Config, NOTICE};
use crate::domain::{AttemptId, BuildId, BuilderName, RequestId, Sight, Time, WhenEmpty};
use crate::edge::discover::Rank;
use crate::edge::discover::machines::{self, Look};
use crate::edge::pool::Pool;
use crate::edge::ssh::SocketDir;
use crate::edge::{clock, files, machine};
use crate::nix::machines::BadEndpoint;
use crate::policy::{Answer, By, Effect, Event, Settings, State};
use crate::wire::notice::Notice;

/// News that may wait for the loop; whoever brings more waits too.
pub(super) const NEWS_WAITING: usize = 1024;
/// Between tries at a local daemon that does not answer.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// What clients have to hear how their builds end, after `muster stop`.
const ANSWERS: Duration = Duration::from_secs(3);
/// What is left of the tasks' time when the coordinator ends; then they are dropped.
const LAST_WORDS: Duration = Duration::from_millis(1500);

/// The sockets, bound by the caller.
pub struct Listeners {
    /// Where `connect` comes in.
    pub endpoint: UnixListener,
    /// Where people's commands come in.
    pub control: UnixListener,
}

/// Why the coordinator ended on its own.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No machines line can say how Nix gets here.
    #[error("cannot make a machines line: {0}")]
    Line(#[from] BadEndpoint),
    /// A file for Nix or for `connect` cannot be written.
    #[error("cannot write {}: {why}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: std::io::Error,
    },
}

/// Serves until `shutdown`; then ends in under two seconds, whatever hangs. Clients wait for the next coordinator.
///
/// A configuration that comes by `reloads` takes the place of the one before.
pub async fn run(
    config: Config,
    listeners: Listeners,
    reloads: mpsc::Receiver<Config>,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let (news, heard) = mpsc::channel(NEWS_WAITING);
    let world = World::new(config, news)?;
    let mut driver = Driver::new(Arc::clone(&world));
    driver.learner = Some(Learner::start(&world));
    driver.graphs = Some(Graphs::start(&world));
    write_notice(&world.config(), &driver.notice())?;
    driver.recall_drains()?;
    driver.announce(&shutdown);
    driver.begin_to_write()?;
    driver.discover(&shutdown)?;
    world.tracker.spawn(endpoint::serve(listeners.endpoint, Arc::clone(&world), shutdown.clone()));
    world.tracker.spawn(control::serve(listeners.control, Arc::clone(&world), shutdown.clone()));
    world.tracker.spawn(own_link::watch(Arc::clone(&world), shutdown.clone()));
    let ended = driver.serve(heard, reloads, &shutdown).await;
    driver.end(&shutdown).await;
    ended
}

impl World {
    pub(super) fn new(config: Config, news: mpsc::Sender<News>) -> Result<Arc<Self>, RunError> {
        let tracker = TaskTracker::new();
        let store_dir = config.store_dir.clone();
        let transport = transport::of_local_store(&config);
        let pool = Pool::new(transport, store_dir.clone(), config.timeouts.connect, tracker.clone());
        let ssh_sockets = SocketDir::below(&config.runtime_dir)
            .map_err(|why| RunError::File { path: config.runtime_dir.join("ssh"), why })?;
        let (kept, reaches) = Default::default();
        let claims = Claims::new(machine::coordinator_id(&config.runtime_dir), machine::host_name());
        let local = Arc::new(LocalStore::new(pool, config.timeouts.reconnect));
        let ssh_sockets = Arc::new(ssh_sockets);
        let world = Self {
            configured: Configured::new(config),
            store_dir,
            local,
            ssh_sockets,
            kept,
            reaches,
            claims,
            benchmarks: measure::Turns::default(),
            tracker,
            unheard: TaskTracker::new(),
            news,
        };
        Ok(Arc::new(world))
    }
}

/// A request that is not answered yet.
pub(super) struct Waiting {
    pub(super) job: Arc<Job>,
    feed: Feed,
}

/// An attempt that runs, or whose outputs are still wanted.
struct Running {
    cancel: CancellationToken,
    narration: Narration,
    outputs: Vec<Output>,
}

/// `muster stop`.
pub(super) struct Stopping {
    pub by: By,
    pub deadline: Option<Time>,
}

pub(super) struct Driver {
    pub(super) world: Arc<World>,
    pub(super) state: State,
    pub(super) started: Instant,
    /// Keeps what builds teach.
    learner: Option<Learner>,
    /// Looks for the graph above what is asked for.
    graphs: Option<Graphs>,
    /// When the report was last written down.
    pub(super) reported_at: Time,
    pub(super) wake_at: Option<Time>,
    pub(super) roster: Roster,
    pub(super) reaches: HashMap<BuilderName, Arc<Reach>>,
    /// Builders that leave; their names are free once the policy has let them go.
    pub(super) departing: BTreeSet<BuilderName>,
    /// Ends the sources.
    pub(super) sources: CancellationToken,
    /// Sources that tell of builders.
    pub(super) reporting: BTreeSet<Rank>,
    /// Sources that have not told anything yet.
    pub(super) awaited: BTreeSet<Rank>,
    /// What tailnets tell beside how their builders are reached.
    pub(super) sights: BTreeMap<Rank, Sight>,
    /// What Nix's own files say.
    pub(super) look: Look,
    /// Whether Nix has read our machines file before.
    pub(super) undone: bool,
    /// What went wrong last in Nix's own machines file.
    pub(super) last_trouble: Option<String>,
    /// Who wants it to end for good, and by when all must have ended.
    pub(super) stopping: Option<Stopping>,
    /// Nothing runs any more, and nothing will.
    over: bool,
    /// Whether the lines are written yet.
    pub(super) writes: Writes,
    pub(super) requests: HashMap<RequestId, Waiting>,
    /// Inputs that travel ahead of their builds.
    pub(super) prefetching: HashMap<(BuildId, BuilderName), Prefetching>,
    attempts: HashMap<AttemptId, Running>,
}

impl Driver {
    pub(super) fn new(world: Arc<World>) -> Self {
        let state = State::new(settings(&world.config()));
        let look = machines::look(&sources::machines_source(&world.config()));
        Self {
            world,
            state,
            roster: Roster::default(),
            departing: BTreeSet::new(),
            sources: CancellationToken::new(),
            reporting: BTreeSet::new(),
            awaited: BTreeSet::new(),
            sights: BTreeMap::new(),
            look,
            undone: false,
            last_trouble: None,
            stopping: None,
            over: false,
            writes: Writes::Now,
            started: clock::now(),
            learner: None,
            graphs: None,
            reported_at: Time::ZERO,
            wake_at: None,
            reaches: HashMap::new(),
            requests: HashMap::new(),
            prefetching: HashMap::new(),
            attempts: HashMap::new(),
        }
    }

    async fn serve(
        &mut self,
        mut heard: mpsc::Receiver<News>,
        mut reloads: mpsc::Receiver<Config>,
        shutdown: &CancellationToken,
    ) -> Result<(), RunError> {
        loop {
            if self.over {
                self.leave_word();
                self.world.unheard.close();
                let heard = timeout(ANSWERS, self.world.unheard.wait());
                let _ = tokio::join!(heard, self.world.claims.give_back());
                return Ok(());
            }
            let at = |time: Time| self.started + time.since_start();
            let wake = self.wake_at.map(at);
            let stop = self.stopping.as_ref().and_then(|stopping| stopping.deadline).map(at);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                Some(config) = reloads.recv() => self.reload(config, shutdown)?,
                Some(news) = heard.recv() => self.hear(news)?,
                () = sleep_until(wake.unwrap_or(self.started).into()), if wake.is_some() => {
                    self.wake_at = None;
                    self.step(Event::Woke)?;
                }
                () = sleep_until(stop.unwrap_or(self.started).into()), if stop.is_some() => self.stop_now()?,
            }
        }
    }

    pub(super) fn hear(&mut self, news: News) -> Result<(), RunError> {
        match news {
            News::Event(event) => self.step(event),
            News::Requested { request, client, label, job, feed } => {
                self.world.claims.stir();
                let ask = job.ask(&self.world.store_dir, client, label);
                self.requests.insert(request, Waiting { job, feed });
                if let Some(graphs) = &self.graphs {
                    graphs.look_above(&ask.drv);
                }
                self.step(Event::Requested(request, ask))
            }
            News::Withdrawn(request) => {
                self.requests.remove(&request);
                self.step(Event::Withdrawn(request))
            }
            News::Ended { attempt, outcome, outputs } => {
                if let Some(running) = self.attempts.get_mut(&attempt) {
                    running.outputs = outputs;
                }
                tracing::debug!(%attempt, ?outcome, "attempt ended");
                self.world.claims.stir();
                self.step(Event::Ended(attempt, outcome))
            }
            News::Demand(builder, reply) => {
                // Whoever asked may be gone.
                let _ = reply.send(self.state.demand(&builder));
                Ok(())
            }
            News::Reported(report) => self.reported(report),
            News::Learned => self.write_lines(),
            News::Arrived(name) => self.arrived(&name),
            News::Ordered(order) => self.ordered(order),
        }
    }

    pub(super) fn step(&mut self, event: Event) -> Result<(), RunError> {
        let now = self.now();
        for effect in self.state.step(event, now) {
            self.carry_out(effect)?;
        }
        self.bid_farewell();
        self.write_report_if_due();
        self.write_if_settled()
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), RunError> {
        match effect {
            Effect::Probe(builder) => self.spawn_for(&builder, probe::probe),
            Effect::Ping(builder) => self.spawn_for(&builder, probe::ping),
            Effect::Cut(builder, reason) => self.cut(&builder, &reason),
            Effect::Start { attempt, builder, requests, cores } => {
                self.prefetched(attempt, &builder);
                self.start(attempt, &builder, &requests, cores);
            }
            Effect::Join(request, attempt) => self.join(request, attempt),
            Effect::Cancel(attempt) => self.cancel(attempt),
            Effect::Answer(request, answer) => self.answer(request, answer),
            Effect::Say(request, text) => self.say(request, &text),
            Effect::Wait(request, text) => self.wait(request, &text),
            Effect::Forget(build) => self.attempts.retain(|attempt, _| attempt.build != build),
            Effect::Measure(builder) => self.spawn_for(&builder, measure::measure),
            Effect::Learned(seen) => {
                if let Some(learner) = &self.learner {
                    learner.keep(seen);
                }
            }
            Effect::Prefetch { build, builder } => self.prefetch(build, &builder),
            Effect::EndPrefetch { build, builder } => self.end_prefetch(build, &builder),
            Effect::WakeAt(at) => self.wake_at = Some(at),
            // The lines of before still lead here: no reason to end.
            Effect::FleetChanged => {
                if let Err(error) = self.write_lines() {
                    tracing::error!("{error}; tried again at the next change");
                }
            }
            Effect::Drained => self.over = true,
        }
        Ok(())
    }

    pub(super) fn found(&mut self, builder: &Builder) -> Result<(), RunError> {
        let name = &builder.spec.name;
        self.departing.remove(name);
        if let Some(reach) = self.reaches.get(name) {
            let reach = reach.with_spec(builder.spec.clone());
            self.reaches.insert(name.clone(), Arc::new(reach));
            self.publish_reaches();
            return self.step(Event::Found(builder.spec.clone()));
        }
        let world = &self.world;
        let reach = Reach::new(
            builder,
            transport::of_builder(&world.config(), builder, &world.ssh_sockets, &world.tracker),
            world.store_dir.clone(),
            world.config().timeouts.connect,
            world.tracker.clone(),
        );
        let reach = Arc::new(reach);
        self.reaches.insert(builder.spec.name.clone(), reach);
        self.publish_reaches();
        self.step(Event::Found(builder.spec.clone()))
    }

    /// Tasks that look for outputs ask everybody.
    pub(super) fn publish_reaches(&self) {
        let all = self.reaches.values().cloned().collect();
        *self.world.reaches.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    fn start(&mut self, id: AttemptId, builder: &BuilderName, requests: &[RequestId], cores: Option<u32>) {
        let reach = self.reaches.get(builder);
        let job = requests.iter().find_map(|request| self.requests.get(request)).map(|first| &first.job);
        let (Some(reach), Some(job)) = (reach, job) else {
            tracing::error!(attempt = %id, %builder, "the policy started an attempt for nobody");
            return;
        };
        let narration = Narration::new(id, &self.world.store_dir.full(&job.drv), builder);
        for request in requests {
            if let Some(waiting) = self.requests.get(request) {
                narration.join(waiting.feed.clone());
            }
        }
        tracing::info!(attempt = %id, %builder, drv = %job.drv, "building");
        let cancel = CancellationToken::new();
        let attempt = Attempt {
            id,
            reach: Arc::clone(reach),
            job: Arc::clone(job),
            cores,
            narration: narration.clone(),
            cancel: cancel.clone(),
            world: Arc::clone(&self.world),
        };
        self.world.tracker.spawn(attempt.run());
        self.attempts.insert(id, Running { cancel, narration, outputs: Vec::new() });
    }

    fn join(&self, request: RequestId, attempt: AttemptId) {
        if let (Some(waiting), Some(running)) = (self.requests.get(&request), self.attempts.get(&attempt)) {
            running.narration.join(waiting.feed.clone());
        }
    }

    fn cancel(&self, attempt: AttemptId) {
        if let Some(running) = self.attempts.get(&attempt) {
            running.cancel.cancel();
        }
    }

    fn say(&self, request: RequestId, text: &str) {
        if let Some(waiting) = self.requests.get(&request) {
            tracing::info!(drv = %waiting.job.drv, "{text}");
            waiting.feed.say(text);
        }
    }

    fn wait(&self, request: RequestId, text: &str) {
        if let Some(waiting) = self.requests.get(&request) {
            waiting.feed.wait(&waiting.job.drv, text);
        }
    }

    fn answer(&mut self, request: RequestId, answer: Answer) {
        let Some(waiting) = self.requests.remove(&request) else {
            return;
        };
        let ending = match answer {
            Answer::Result { attempt, result, .. } => {
                let running = self.attempts.get(&attempt);
                let outputs = running.map(|running| running.outputs.clone()).unwrap_or_default();
                Ending::Result(result, outputs)
            }
            Answer::Impossible(text) => Ending::Impossible(text),
        };
        waiting.feed.end(ending);
    }

    fn cut(&self, builder: &BuilderName, reason: &str) {
        if let Some(reach) = self.reaches.get(builder) {
            reach.cut(reason);
        }
    }

    /// In under two seconds, whatever hangs.
    pub(super) async fn end(self, shutdown: &CancellationToken) {
        self.write_report();
        shutdown.cancel();
        self.world.claims.end();
        self.cut_all("the coordinator ends");
        let world = Arc::clone(&self.world);
        drop(self);
        world.tracker.close();
        let _ = timeout(LAST_WORDS, world.tracker.wait()).await;
    }

    fn cut_all(&self, reason: &str) {
        for reach in self.reaches.values() {
            reach.cut(reason);
        }
        self.world.local.close(reason);
    }

    fn spawn_for<F, Task>(&self, builder: &BuilderName, task: F)
    where
        F: FnOnce(Arc<Reach>, Arc<World>) -> Task,
        Task: Future<Output = ()> + Send + 'static,
    {
        if let Some(reach) = self.reaches.get(builder) {
            let (retired, task) = (reach.retired.clone(), task(Arc::clone(reach), Arc::clone(&self.world)));
            self.world.tracker.spawn(async move {
                tokio::select! {
                    () = retired.cancelled() => {}
                    () = task => {}
                }
            });
        }
    }

    /// Tells `connect` what it must know, as soon as all of it is known.
    pub(super) fn announce(&self, shutdown: &CancellationToken) {
        let announced = announce(Arc::clone(&self.world), self.notice(), shutdown.clone());
        self.world.tracker.spawn(announced);
    }

    /// Clients that come too late are not to wait for the next coordinator.
    fn leave_word(&self) {
        let stopped_by = self.stopping.as_ref().map(|stopping| stopping.by.clone());
        let notice = Notice { stopped_by, ..self.notice() };
        if let Err(error) = write_notice(&self.world.config(), &notice) {
            tracing::warn!("{error}; clients wait for another coordinator");
        }
    }

    /// What `connect` must know before it can ask, as far as it is known without the local daemon.
    fn notice(&self) -> Notice {
        let config = self.world.config();
        Notice {
            store_dir: config.store_dir.as_str().to_owned(),
            reconnect_timeout_ms: u64::try_from(config.timeouts.reconnect.as_millis()).unwrap_or(u64::MAX),
            ..Notice::default()
        }
    }

    pub(super) fn now(&self) -> Time {
        Time::after_start(self.started.elapsed())
    }
}

/// Says what the local daemon speaks, as soon as it answers.
async fn announce(world: Arc<World>, mut notice: Notice, shutdown: CancellationToken) {
    let asked = async {
        loop {
            match world.local.try_daemon().await {
                Ok(daemon) => return daemon,
                Err(error) => {
                    tracing::warn!("the local store: {error}; tried again in {} s", ASK_AGAIN.as_secs())
                }
            }
            sleep(ASK_AGAIN).await;
        }
    };
    let Some(daemon) = shutdown.run_until_cancelled(asked).await else { return };
    notice.protocol_minor = daemon.version().minor();
    notice.nix_version = daemon.daemon_version().map_or(notice.nix_version, str::to_owned);
    if let Err(error) = write_notice(&world.config(), &notice) {
        tracing::error!("{error}");
    }
}

fn write_notice(config: &Config, notice: &Notice) -> Result<(), RunError> {
    write(&config.endpoint.socket.with_file_name(NOTICE), &notice.to_text())
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), RunError> {
    files::replace(path, text).map_err(|why| RunError::File { path: path.to_owned(), why })
}

pub(super) fn settings(config: &Config) -> Settings {
    let timeouts = &config.timeouts;
    Settings {
        ping_every: timeouts.ping_every,
        silent_after: timeouts.silent_after,
        lost_after: timeouts.lost_after,
        retry_min: timeouts.retry_min,
        retry_max: timeouts.retry_max,
        when_empty: config.endpoint.when_empty.unwrap_or(WhenEmpty::Wait),
        empty_after: timeouts.empty_after,
        expect: config.expect.clone(),
        expect_timeout: timeouts.expect,
        routes: config.routes.clone(),
        use_untrusted: config.use_untrusted,
        ..Settings::default()
    }
}
