//! A builder's agent: it tells coordinators how busy the machine is, splits it among them, and gives it back.
//!
//! One loop owns the [`Claims`]; each connection is a task that turns lines into news for it, and what it tells into
//! lines. Deliberately absent: builds. They go to the machine's own nix-daemon, and the agent never sees them.

mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UnixListener;
use tokio::net::unix::UCred;
use tokio::sync::mpsc;
use tokio::time::{interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::{Load, Time};
use crate::edge::accept::{Bounds, accept};
use crate::edge::load::Meter;
use crate::edge::{clock, users};
use crate::policy::claims::{Claims, Effect, Ending, Event, SessionId, Terms};
use crate::render;
use crate::wire::agent::{Ask, ClaimRow, Status, Tell};

/// How often a coordinator hears that the machine lives, and how busy it is.
const BEAT: Duration = Duration::from_secs(3);
/// What a session has not taken yet, of what it was told; one that takes nothing is closed.
const UNHEARD: usize = 32;
/// For the last words to those who hold claims, and to each who asks no more.
const LAST_WORDS: Duration = Duration::from_secs(1);
const BOUNDS: Bounds = Bounds { each: 64, all: 256 };

/// What an agent is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What its claims come to.
    pub terms: Terms,
    /// Who may claim, besides root and ourselves.
    pub users: BTreeSet<u32>,
    /// Tags of the tailnet, one of which a coordinator's machine must have; none: wherever it comes from.
    pub tags: BTreeSet<String>,
}

/// News for the loop.
enum News {
    /// A session begins, and hears by this.
    Opened(SessionId, mpsc::Sender<Tell>),
    /// It said something, that it may say.
    Asked(SessionId, Ask, String),
    /// It ended.
    Closed(SessionId),
}

/// Serves until its claims end, and says why; none where `shutdown` came first.
pub async fn run(listener: UnixListener, settings: Settings, shutdown: CancellationToken) -> Option<Ending> {
    let (news, heard) = mpsc::channel(UNHEARD);
    let (settings, tracker, done) = (Arc::new(settings), TaskTracker::new(), CancellationToken::new());
    let counter = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let serve = {
        let (settings, done) = (Arc::clone(&settings), done.clone());
        move |stream, peer: UCred| {
            let id = counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            session::serve(stream, peer, id, Arc::clone(&settings), news.clone(), done.clone())
        }
    };
    // Sessions outlive `shutdown` by their last words.
    let closing = CancellationToken::new();
    let accepting = accept(&listener, BOUNDS, &tracker, &closing, serve);
    let mut agent = Agent::new(settings.terms.clone());
    let ending = tokio::select! {
        ending = agent.serve(heard) => Some(ending),
        () = shutdown.cancelled() => None,
        () = accepting => None,
    };
    let why = ending.as_ref().map_or_else(|| "the agent was stopped".to_owned(), render::agent::ending);
    agent.say_goodbye(&why);
    drop(agent);
    done.cancel();
    tracker.close();
    let _ = timeout(LAST_WORDS, tracker.wait()).await;
    closing.cancel();
    ending
}

struct Agent {
    claims: Claims,
    lease: Duration,
    ephemeral: bool,
    started: Instant,
    wake_at: Option<Time>,
    sessions: BTreeMap<SessionId, mpsc::Sender<Tell>>,
    /// Those that claim, and so hear of the load.
    claimants: BTreeSet<SessionId>,
    meter: Meter,
}

impl Agent {
    fn new(terms: Terms) -> Self {
        Self {
            ephemeral: terms.ephemeral,
            lease: terms.lease,
            claims: Claims::new(terms),
            started: clock::now(),
            wake_at: None,
            sessions: BTreeMap::new(),
            claimants: BTreeSet::new(),
            meter: Meter::default(),
        }
    }

    async fn serve(&mut self, mut heard: mpsc::Receiver<News>) -> Ending {
        let mut beat = interval(BEAT);
        if let Some(ending) = self.step(Event::Woke) {
            return ending;
        }
        loop {
            let wake = self.wake_at.map(|at| self.started + at.since_start());
            let ending = tokio::select! {
                Some(news) = heard.recv() => self.hear(news),
                () = sleep_until(wake.unwrap_or(self.started).into()), if wake.is_some() => {
                    self.wake_at = None;
                    self.step(Event::Woke)
                }
                _ = beat.tick() => self.beat(),
            };
            if let Some(ending) = ending {
                return ending;
            }
        }
    }

    fn hear(&mut self, news: News) -> Option<Ending> {
        match news {
            News::Opened(session, tell) => {
                self.sessions.insert(session, tell);
                None
            }
            News::Closed(session) => {
                self.sessions.remove(&session);
                self.claimants.remove(&session);
                self.step(Event::Closed(session))
            }
            News::Asked(session, ask, by) => self.asked(session, ask, by),
        }
    }

    fn asked(&mut self, session: SessionId, ask: Ask, by: String) -> Option<Ending> {
        match ask {
            Ask::Claim { coordinator, name, demand, granted } => {
                if self.claimants.insert(session) {
                    tracing::info!(coordinator = name, by, "claims this builder");
                    let load = self.meter.load();
                    let beat = self.beat_of(load);
                    self.tell(session, beat);
                }
                self.step(Event::Claimed { session, coordinator, name, demand, granted })
            }
            Ask::GiveBack => {
                tracing::info!(by, "gives its claim back");
                self.tell(session, Tell::GivenBack);
                self.step(Event::GivenBack(session))
            }
            Ask::Status => {
                let status = self.status();
                self.tell(session, Tell::Status { status });
                None
            }
            Ask::Drain => self.ordered(session, Event::Drained(Some(by)), "nothing new starts here any more"),
            Ask::Undrain => self.ordered(session, Event::Drained(None), "it takes builds again"),
            Ask::Release => self.ordered(session, Event::Dismissed(by), "it is released"),
        }
    }

    fn ordered(&mut self, session: SessionId, event: Event, said: &str) -> Option<Ending> {
        self.tell(session, Tell::Done { said: said.to_owned() });
        let ending = self.step(event);
        ending.or_else(|| self.beat())
    }

    fn step(&mut self, event: Event) -> Option<Ending> {
        let mut ending = None;
        for effect in self.claims.step(event, self.now()) {
            match effect {
                Effect::Grant { session, slots, bears, shared } => {
                    self.tell(session, Tell::Granted { slots, bears, shared, lease_ms: millis(self.lease) });
                }
                Effect::Learned(slots) => {
                    let stated = self.claims.stated();
                    tracing::info!(slots, stated, "this machine is taken to bear so many builds at once");
                }
                Effect::Lapsed(coordinator, name) => {
                    tracing::warn!(%coordinator, name, "has said nothing for too long: its claim has lapsed");
                }
                Effect::End(why) => ending = Some(why),
                Effect::WakeAt(at) => self.wake_at = Some(at),
            }
        }
        ending
    }

    fn beat(&mut self) -> Option<Ending> {
        if self.claimants.is_empty() {
            return None;
        }
        let load = self.meter.load();
        let beat = self.beat_of(load);
        for session in self.claimants.clone() {
            self.tell(session, beat.clone());
        }
        self.step(Event::Loaded(load))
    }

    fn beat_of(&self, load: Load) -> Tell {
        Tell::Beat { load, closed: self.claims.closed().map(str::to_owned) }
    }

    /// A session that takes nothing is let go: its task ends when nobody can tell it anything.
    fn tell(&mut self, session: SessionId, tell: Tell) {
        let Some(to) = self.sessions.get(&session) else { return };
        if to.try_send(tell).is_err() {
            self.sessions.remove(&session);
            self.claimants.remove(&session);
        }
    }

    fn say_goodbye(&mut self, why: &str) {
        for session in std::mem::take(&mut self.claimants) {
            self.tell(session, Tell::Leaving { why: why.to_owned() });
        }
    }

    fn status(&mut self) -> Status {
        let now = self.now();
        let claims = self.claims.claims(now);
        let rows = claims.into_iter().map(|claim| ClaimRow {
            coordinator: claim.name,
            granted: claim.granted,
            running: claim.demand.running,
            wanted: claim.demand.wanted,
            lasts_ms: millis(claim.lasts),
        });
        Status {
            schema: 1,
            slots: self.claims.slots(),
            stated_slots: Some(self.claims.stated()),
            ephemeral: self.ephemeral,
            closed: self.claims.closed().map(str::to_owned),
            claims: rows.collect(),
            age_ms: millis(now.since_start()),
            load: self.meter.load(),
        }
    }

    fn now(&self) -> Time {
        Time::after_start(self.started.elapsed())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Who may give orders here, besides looking: root and ourselves.
fn may_order(uid: u32) -> bool {
    [0, users::own()].contains(&uid)
}
