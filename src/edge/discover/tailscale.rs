//! The machines of the tailnet that this one is in.
//!
//! tailscaled's bus says that something has changed, its status says what. A bus that says nothing is asked anew
//! every half a minute, and soon after a change, since paths between machines settle without a word. Being online is
//! only a reason to try: a machine without power stays so for minutes.

mod local_api;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::{Rank, Report};
use crate::config::{Builder, BuilderUri, SshScheme, SshUri, Tailnet};
use crate::domain::{Absentee, BuilderName, BuilderSpec, Sight, SshServer, TailnetPath};
use crate::edge::clock;
use crate::wire::tailscale::{Absent, Choice, Found, Whois, choose};
use local_api::{Bus, LocalApi, Trouble};

/// News come in bursts.
const BURST: Duration = Duration::from_millis(200);
/// Of a tailnet that never rests: nobody looks again for so many times as long as a look took, up to a second.
const REST: u32 = 10;
const LONGEST_REST: Duration = Duration::from_secs(1);
/// Between two looks, where the bus says nothing.
const CALM: Duration = Duration::from_secs(30);
/// The same after a change, so many times.
const SOON: Duration = Duration::from_secs(5);
const LOOKS_SOON: u32 = 6;
/// How long one is held back to which no way is known yet, and between looks for one.
const NO_WAY: Duration = Duration::from_secs(5);
const LOOK_FOR_WAY: Duration = Duration::from_secs(1);
/// Between tries at a tailscaled that does not answer; doubled each time.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// A path by a relay is only worth a warning if it stays for so many looks: every path begins so.
const LOOKS_RELAYED: u32 = 2;

/// Runs for ever.
pub(super) async fn watch<Told>(rank: Rank, source: &Tailnet, tell: impl Fn(Report) -> Told)
where
    Told: Future<Output = ()>,
{
    let mut watcher = Watcher { rank, source, tell, known: Known::default() };
    let mut retry = RETRY.0;
    loop {
        let api = LocalApi::find(source.socket.as_deref());
        match watcher.follow(&api).await {
            // The bus was silent, or there is none; both are as they should be.
            Ok(()) => retry = RETRY.0,
            Err(trouble) => {
                watcher.complain(&trouble);
                (watcher.tell)(Report::Failed(rank)).await;
                sleep(retry).await;
                retry = (retry * 2).min(RETRY.1);
            }
        }
    }
}

/// Whom an address of the tailnet belongs to.
pub(super) async fn whois(address: IpAddr) -> Result<Whois, String> {
    LocalApi::find(None).whois(address).await.map_err(|trouble| trouble.to_string())
}

struct Watcher<'a, Tell> {
    rank: Rank,
    source: &'a Tailnet,
    tell: Tell,
    known: Known,
}

/// What was said already.
#[derive(Default)]
struct Known {
    failure: Option<String>,
    is_without_bus: bool,
    found: Vec<BuilderName>,
    absent: Vec<Absent>,
    refused: Vec<(String, String)>,
    /// Who is reached by a relay now, and the bytes that came from there.
    by_relay: BTreeMap<BuilderName, u64>,
    /// For how many silences of the bus in a row somebody was, and the bytes before the last one.
    relayed: BTreeMap<BuilderName, (u32, u64)>,
    /// To whom no way is known yet, and since when that is so.
    held_back: BTreeMap<BuilderName, Instant>,
    /// Looks that are still to come soon.
    soon: u32,
}

impl<Tell, Told> Watcher<'_, Tell>
where
    Tell: Fn(Report) -> Told,
    Told: Future<Output = ()>,
{
    /// Looks once, and whenever there is news; until there is none for a while, or the bus ends.
    async fn follow(&mut self, api: &LocalApi) -> Result<(), Trouble> {
        let mut bus = match api.bus().await {
            Err(trouble @ Trouble::Refused { .. }) => {
                if !std::mem::replace(&mut self.known.is_without_bus, true) {
                    tracing::warn!(
                        "the tailnet's bus: {trouble}; its status is asked for every half a minute instead"
                    );
                }
                Bus::silent()
            }
            bus => bus?,
        };
        loop {
            let began = clock::now();
            self.look(api).await?;
            let rest = (began.elapsed() * REST).clamp(BURST, LONGEST_REST);
            match timeout(self.known.pause(), bus.news()).await {
                Err(_) => break,
                Ok(news) => news?,
            }
            settle(&mut bus, rest).await;
        }
        self.known.soon = self.known.soon.saturating_sub(1);
        self.warn_of_relays();
        Ok(())
    }

    async fn look(&mut self, api: &LocalApi) -> Result<(), Trouble> {
        let status = api.status().await?;
        if status.state != "Running" {
            let state = status.state.escape_debug().take(50).collect();
            return Err(Trouble::State { state });
        }
        let mut choice = choose(&status, &self.source.filter, self.source.ssh);
        self.known.hold_back(&mut choice.found, clock::now());
        self.known.take_note(&choice, status.refused);
        let sight = sight(&choice);
        self.known.relays(&choice.found);
        let builders = choice.found.into_iter().map(|found| builder(found, self.source)).collect();
        (self.tell)(Report::Known(self.rank, builders)).await;
        (self.tell)(Report::Sight(self.rank, sight)).await;
        Ok(())
    }

    /// Once for each reason in a row.
    fn complain(&mut self, trouble: &Trouble) {
        let failure = trouble.to_string();
        if self.known.failure.as_ref() != Some(&failure) {
            tracing::warn!("the tailnet: {failure}; what it said before holds");
        }
        self.known.failure = Some(failure);
    }

    fn warn_of_relays(&mut self) {
        for builder in self.known.count_relays() {
            tracing::warn!(
                %builder,
                "the tailnet reaches it by a relay only, which is slow: see `tailscale ping {builder}`; a direct path \
                 takes UDP between the machines"
            );
        }
    }
}

impl Known {
    /// How long to wait for news.
    fn pause(&self) -> Duration {
        match self.soon {
            _ if !self.held_back.is_empty() => LOOK_FOR_WAY,
            0 => CALM,
            _ => SOON,
        }
    }

    /// Leaves those out who have just come and cannot be reached; not for ever, since some tailnets tell of no ways.
    fn hold_back(&mut self, found: &mut Vec<Found>, now: Instant) {
        let before = std::mem::take(&mut self.held_back);
        found.retain(|one| {
            let is_new = !self.found.contains(&one.name);
            let since = *before.get(&one.name).unwrap_or(&now);
            let held = is_new && !one.has_way && now.duration_since(since) < NO_WAY;
            if held {
                self.held_back.insert(one.name.clone(), since);
            }
            !held
        });
    }

    fn take_note(&mut self, choice: &Choice, refused: Vec<(String, String)>) {
        if self.failure.take().is_some() {
            tracing::info!("the tailnet answers again");
        }
        let found: Vec<_> = choice.found.iter().map(|found| found.name.clone()).collect();
        if found != self.found {
            self.soon = LOOKS_SOON;
        }
        for Absent { name, why, .. } in choice.absent.iter().filter(|absent| !self.absent.contains(absent)) {
            tracing::info!("the tailnet's {name} is no builder now: {why}");
        }
        for (name, why) in refused.iter().filter(|nonsense| !self.refused.contains(nonsense)) {
            tracing::warn!("the tailnet's {name} is left out: {why}");
        }
        (self.found, self.absent, self.refused) = (found, choice.absent.clone(), refused);
    }

    fn relays(&mut self, found: &[Found]) {
        let relayed = found.iter().filter(|one| matches!(one.path, Some(TailnetPath::Relayed(_))));
        self.by_relay = relayed.map(|one| (one.name.clone(), one.received)).collect();
    }

    /// Those that stay with a relay, each once. One that sends nothing is no case for a warning: what is sent to a machine that is gone goes to a relay too.
    fn count_relays(&mut self) -> Vec<BuilderName> {
        let mut before = std::mem::take(&mut self.relayed);
        let mut stuck = Vec::new();
        for (name, &received) in &self.by_relay {
            let (looks, last) = before.remove(name).unwrap_or((0, received));
            let counts = looks == 0 || received > last;
            if counts && looks + 1 == LOOKS_RELAYED {
                stuck.push(name.clone());
            }
            self.relayed.insert(name.clone(), (looks.saturating_add(u32::from(counts)), received));
        }
        stuck
    }
}

/// Lets a burst of news pass.
async fn settle(bus: &mut Bus, rest: Duration) {
    // Its end is noticed by the next wait.
    let _ = timeout(rest, async { while bus.news().await.is_ok() {} }).await;
}

/// What is told beside how the builders are reached.
fn sight(choice: &Choice) -> Sight {
    let paths = choice.found.iter().filter_map(|one| Some((one.name.clone(), one.path.clone()?)));
    let host_names = choice.found.iter().filter_map(|one| Some((one.name.clone(), one.host_name.clone()?)));
    let absent = choice.absent.iter().cloned().map(|Absent { name, host_name, online, why }| Absentee {
        name,
        host_name,
        online,
        why: why.to_string(),
    });
    let passed_over = choice.passed_over.iter().map(|(why, names)| (why.to_string(), names.clone()));
    Sight {
        paths: paths.collect(),
        host_names: host_names.collect(),
        absent: absent.collect(),
        passed_over: passed_over.collect(),
    }
}

/// By its address: names are resolved by others than the tailnet.
fn builder(found: Found, source: &Tailnet) -> Builder {
    let uri = SshUri {
        scheme: SshScheme::SshNg,
        user: Some(source.user.clone()),
        host: found.address.to_string(),
        port: source.port,
        key: source.key.clone(),
        host_key: found.host_key,
        remote_program: Vec::new(),
        remote_store: None,
        compress: false,
        admission: (source.ssh == SshServer::Tailscale).then_some(found.admission),
    };
    Builder { spec: BuilderSpec::named(found.name), uri: BuilderUri::Ssh(uri) }
}

#[cfg(test)]
mod tests;
