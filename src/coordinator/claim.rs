//! Holding a builder that has an agent: one session with it, as long as the builder is ours.
//!
//! The claim is renewed every ten seconds, and where others share the builder whenever our demand changes. What the agent
//! grants, and how busy its machine is, is news for the policy. A session that breaks is opened again; what was granted
//! holds meanwhile, as the claim does at the other end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::io::join;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::reach::{Learned, Reach};
use super::{News, World, probe};
use crate::domain::{CoordinatorId, Demand, Grant, REFUSES};
use crate::edge::channel::Transport;
use crate::edge::clock;
use crate::edge::ssh::{Host, Lane, Session};
use crate::policy::Event;
use crate::wire::agent::{self, Ask, Tell};

/// Between two renewals; a shorter lease is renewed three times within it.
const RENEW: Duration = Duration::from_secs(10);
/// Between two looks whether an agent has been started since the probe: the last one again and again.
const LOOK_AGAIN: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(300)];
/// News of our demand come in bursts.
const BURST: Duration = Duration::from_millis(50);
/// What an agent may take to say that it has its machine back.
const GIVE_BACK: Duration = Duration::from_secs(3);
/// Between two tries to open a session; doubled each time.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// What an agent has said and we have not heard yet.
const UNHEARD: usize = 16;

/// What all claims share.
pub(super) struct Claims {
    /// Who we are to agents.
    pub coordinator: CoordinatorId,
    /// The same for people.
    pub name: String,
    /// All are given back.
    release: CancellationToken,
    /// Nothing is said any more: the coordinator ends, and the claims last as long as their leases.
    ended: CancellationToken,
    held: TaskTracker,
    stirred: watch::Sender<()>,
}

impl Claims {
    pub fn new(coordinator: CoordinatorId, name: String) -> Self {
        let (release, ended, held, stirred) = Default::default();
        Self { coordinator, name, release, ended, held, stirred }
    }

    /// Something starts, ends or waits that did not before.
    pub fn stir(&self) {
        self.stirred.send_replace(());
    }

    /// Gives all builders back, side by side, in so long at most.
    pub async fn give_back(&self) {
        self.release.cancel();
        self.held.close();
        let _ = timeout(GIVE_BACK, self.held.wait()).await;
    }

    /// For a coordinator that does not stay.
    pub fn never(&self) {
        self.release.cancel();
    }

    pub fn end(&self) {
        self.ended.cancel();
    }
}

/// Sees to it that a builder with an agent is held, be it that the agent comes later.
pub(super) fn ensure(reach: &Arc<Reach>, world: &Arc<World>) {
    let Transport::Ssh(host, _) = reach.transport() else { return };
    if !reach.learned().has_shell || reach.held.swap(true, Ordering::AcqRel) {
        return;
    }
    let holder = Holder { reach: Arc::clone(reach), host: Arc::clone(host), world: Arc::clone(world) };
    let token = world.claims.held.token();
    world.tracker.spawn(async move {
        holder.hold().await;
        holder.reach.held.store(false, Ordering::Release);
        drop(token);
    });
}

/// How often a claim with that lease is renewed: no lost word may cost it.
fn renew_every(lease: Duration) -> Duration {
    RENEW.min((lease / 3).max(BURST))
}

/// How long after so many looks the next one is.
fn look_again(looks: usize) -> Duration {
    LOOK_AGAIN[looks.min(LOOK_AGAIN.len() - 1)]
}

/// Why a session ended.
enum End {
    /// The agent has its machine back.
    GivenBack,
    /// The agent does not want us.
    Refused,
    /// The session broke.
    Lost,
    /// The agent has ended.
    Left,
}

struct Holder {
    reach: Arc<Reach>,
    host: Arc<Host>,
    world: Arc<World>,
}

impl Holder {
    async fn hold(&self) {
        let claims = &self.world.claims;
        let over = async {
            tokio::select! {
                () = claims.release.cancelled() => {}
                () = claims.ended.cancelled() => {}
                () = self.reach.retired.cancelled() => {}
            }
        };
        tokio::pin!(over);
        let (mut retry, mut looks) = (RETRY.0, 0);
        loop {
            let Some(command) = self.reach.learned().agent else {
                self.granted(Grant::default()).await;
                tokio::select! {
                    () = sleep(look_again(looks)) => {}
                    () = &mut over => return,
                }
                looks += 1;
                probe::look_for_agent(&self.reach, &self.host).await;
                continue;
            };
            let ended = tokio::select! {
                () = claims.ended.cancelled() => return,
                ended = self.session(&command) => ended,
            };
            retry = match ended {
                End::GivenBack => return,
                End::Refused => RETRY.1,
                End::Lost => (retry * 2).min(RETRY.1),
                End::Left => {
                    self.reach.learn(Learned { agent: None, ..self.reach.learned() });
                    (looks, retry) = (0, RETRY.0);
                    continue;
                }
            };
            tokio::select! {
                () = sleep(retry) => {}
                () = &mut over => return,
            }
        }
    }

    async fn session(&self, command: &str) -> End {
        let opened = async {
            let Session { stdin, stdout, hold } = self.host.session(Lane::Control, command).await?;
            Ok::<_, anyhow::Error>((agent::open(join(stdout, stdin)).await?, hold))
        };
        let patience = self.world.config().timeouts.connect;
        let ((_, mut hears, says), _hold) = match timeout(patience, opened).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                tracing::debug!(builder = %self.reach.name(), "its agent does not answer: {error:#}");
                return End::Lost;
            }
            Err(_) => return End::Lost,
        };
        let (told, heard) = mpsc::channel(UNHEARD);
        let listen = async {
            while let Ok(Some(tell)) = hears.tell().await {
                if told.send(tell).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            biased;
            end = Talk::new(self, says).run(heard) => end,
            () = listen => End::Lost,
        }
    }

    async fn demand(&self) -> Demand {
        let (reply, answer) = oneshot::channel();
        self.world.tell(News::Demand(self.reach.name().clone(), reply)).await;
        answer.await.unwrap_or_default()
    }

    async fn granted(&self, grant: Grant) {
        self.world.tell(News::Event(Event::Claimed(self.reach.name().clone(), grant))).await;
    }
}

/// A session that stands.
struct Talk<'a, S> {
    holder: &'a Holder,
    says: agent::Sender<S>,
    granted: u32,
    shared: bool,
    /// What our demand was when we last said it, and until when that will do.
    said: Demand,
    renew_at: Instant,
    renew_every: Duration,
    grant: Grant,
}

impl<'a, S: tokio::io::AsyncWrite> Talk<'a, S> {
    fn new(holder: &'a Holder, says: agent::Sender<S>) -> Self {
        Self {
            holder,
            says,
            granted: 0,
            shared: false,
            said: Demand::default(),
            renew_at: clock::now(),
            renew_every: RENEW,
            grant: Grant::default(),
        }
    }

    async fn run(mut self, mut heard: mpsc::Receiver<Tell>) -> End {
        let claims = &self.holder.world.claims;
        let mut stirred = claims.stirred.subscribe();
        if self.claim().await.is_err() {
            return End::Lost;
        }
        loop {
            let said = tokio::select! {
                tell = heard.recv() => match tell {
                    Some(tell) => match self.hear(tell).await {
                        Ok(said) => said,
                        Err(end) => return end,
                    },
                    None => return End::Lost,
                },
                () = sleep_until(self.renew_at.into()) => self.claim().await,
                Ok(()) = stirred.changed(), if self.shared => self.claim_if_changed().await,
                () = self.holder.reach.retired.cancelled() => return self.give_back(heard).await,
                () = claims.release.cancelled() => return self.give_back(heard).await,
            };
            if said.is_err() {
                return End::Lost;
            }
        }
    }

    async fn hear(&mut self, tell: Tell) -> Result<Result<(), agent::AgentError>, End> {
        let builder = self.holder.reach.name();
        match tell {
            Tell::Granted { slots, bears, shared, lease_ms } => {
                (self.granted, self.shared) = (slots, shared);
                self.renew_every = renew_every(Duration::from_millis(lease_ms));
                (self.grant.slots, self.grant.bears) = (Some(slots), bears);
                self.holder.granted(self.grant.clone()).await;
                // What was lowered is free for others as soon as we say that we know.
                return Ok(self.claim().await);
            }
            Tell::Beat { load, closed } => {
                self.holder.world.tell(News::Event(Event::Loaded(builder.clone(), load))).await;
                if self.grant.closed != closed {
                    self.grant.closed = closed;
                    self.holder.granted(self.grant.clone()).await;
                }
            }
            Tell::Leaving { why } => {
                tracing::info!(%builder, why, "leaves");
                let grant = Grant { slots: Some(0), bears: None, closed: Some(format!("itself ({why})")) };
                self.holder.granted(grant).await;
                return Err(End::Left);
            }
            Tell::Refused { why } => {
                tracing::warn!(%builder, "its agent refuses us: {why}");
                let grant = Grant { slots: Some(0), bears: None, closed: Some(format!("{REFUSES}{why}")) };
                self.holder.granted(grant).await;
                return Err(End::Refused);
            }
            Tell::GivenBack => return Err(End::GivenBack),
            Tell::Status { .. } | Tell::Done { .. } => {}
        }
        Ok(Ok(()))
    }

    async fn claim_if_changed(&mut self) -> Result<(), agent::AgentError> {
        sleep(BURST).await;
        if self.holder.demand().await == self.said { Ok(()) } else { self.claim().await }
    }

    async fn claim(&mut self) -> Result<(), agent::AgentError> {
        let claims = &self.holder.world.claims;
        self.said = self.holder.demand().await;
        self.renew_at = clock::now() + self.renew_every;
        let ask = Ask::Claim {
            coordinator: claims.coordinator.clone(),
            name: claims.name.clone(),
            demand: self.said,
            granted: self.granted,
        };
        self.says.ask(&ask).await
    }

    async fn give_back(mut self, mut heard: mpsc::Receiver<Tell>) -> End {
        let given = async {
            self.says.ask(&Ask::GiveBack).await.ok()?;
            while heard.recv().await? != Tell::GivenBack {}
            Some(())
        };
        match timeout(GIVE_BACK, given).await {
            Ok(Some(())) => tracing::info!(builder = %self.holder.reach.name(), "given back"),
            _ => {
                tracing::warn!(builder = %self.holder.reach.name(), "could not be given back; its lease ends by itself")
            }
        }
        End::GivenBack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_renewed_three_times_within_its_lease_and_every_ten_seconds_at_least() {
        for (lease, every) in [(45_000, 10_000), (3_600_000, 10_000), (6_000, 2_000), (0, 50)] {
            assert_eq!(renew_every(Duration::from_millis(lease)), Duration::from_millis(every), "{lease} ms");
        }
    }

    #[test]
    fn an_agent_that_is_started_later_is_found_within_five_minutes() {
        let looks: Vec<_> = (0..5).map(|looks| look_again(looks).as_secs()).collect();
        assert_eq!(looks, [5, 30, 300, 300, 300]);
    }
}
