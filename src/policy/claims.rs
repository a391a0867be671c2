//! Who may use a builder, how much of it, and when it is given back: the decisions of its agent.
//!
//! A coordinator claims slots, and its claim lasts for a lease, counted from the last word that it said. The slots are
//! split among those who hold claims: each gets one in turn, longest unserved first, as long as it wants more; what
//! nobody wants is split evenly. A slot that was granted counts as used until its holder has confirmed that it is so no
//! more, so that together they never run more than there are slots. How many there are is learned (`bears`), unless it was
//! said.
//!
//! Time is an argument; nothing here performs I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use bears::{Bears, Use};

use crate::domain::{CoordinatorId, Demand, Load, Size, Time};

/// A connection to the agent.
pub type SessionId = u64;

/// What an agent was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Builds at once, of all coordinators together; none = as many as one of them takes it to have, and what is learned.
    pub slots: Option<u32>,
    /// What the machine has.
    pub size: Size,
    /// How long a claim lasts after its holder's last word.
    pub lease: Duration,
    /// How long it waits for a claim.
    pub idle: Option<Duration>,
    /// When nothing new starts any more; it ends when nothing runs either, or a lease later.
    pub lifetime: Option<Duration>,
    /// Whether it ends once it was claimed and is so no more.
    pub ephemeral: bool,
}

/// What happens to an agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A coordinator claims, or renews its claim.
    Claimed {
        /// By which connection.
        session: SessionId,
        /// Who.
        coordinator: CoordinatorId,
        /// Its name, for people.
        name: String,
        /// What it does here and would like to.
        demand: Demand,
        /// The slots that it takes for granted: the last that it heard.
        granted: u32,
    },
    /// It gives its claim back.
    GivenBack(SessionId),
    /// How busy the machine is.
    Loaded(Load),
    /// The connection ended. The claim lasts as long as its lease.
    Closed(SessionId),
    /// Nothing new shall start (who wants that), or it may again.
    Drained(Option<String>),
    /// Somebody ends it.
    Dismissed(String),
    /// A time that [`Effect::WakeAt`] asked for has come.
    Woke,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Tell it how many slots it has.
    Grant {
        /// Whom.
        session: SessionId,
        /// How many.
        slots: u32,
        /// The same, of all together, where that was said or learned.
        bears: Option<u32>,
        /// Whether somebody else has a claim as well.
        shared: bool,
    },
    /// From now on the machine is taken to bear so many builds at once.
    Learned(u32),
    /// Its claim has lapsed.
    Lapsed(CoordinatorId, String),
    /// The agent ends, and an ephemeral builder with it.
    End(Ending),
    /// Come again at that time.
    WakeAt(Time),
}

/// Why an agent ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// All claims were given back or have lapsed.
    Released,
    /// Nobody came.
    Idle,
    /// Its time is over.
    Lifetime,
    /// Somebody ended it.
    Dismissed(String),
}

/// A claim, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who holds it.
    pub name: String,
    /// Slots granted.
    pub granted: u32,
    /// What it does with them.
    pub demand: Demand,
    /// How long it lasts unless it is renewed.
    pub lasts: Duration,
}

#[derive(Debug)]
struct Holder {
    name: String,
    session: Option<SessionId>,
    heard: Time,
    demand: Demand,
    granted: u32,
    /// The most that it may be using: a grant that was lowered counts until it is confirmed.
    held: u32,
    /// The last time that something of it ran.
    served: Time,
    /// What it was told last.
    told: Option<(u32, Option<u32>, bool)>,
}

/// Everything that an agent knows of its claims.
#[derive(Debug)]
pub struct Claims {
    terms: Terms,
    holders: BTreeMap<CoordinatorId, Holder>,
    bears: Bears,
    drained: Option<String>,
    expired: bool,
    unclaimed_since: Option<Time>,
    was_claimed: bool,
    ended: bool,
    out: Vec<Effect>,
    wake: Option<Time>,
}

impl Claims {
    /// Nobody has come yet.
    pub fn new(terms: Terms) -> Self {
        Self {
            bears: Bears::new(terms.size),
            terms,
            holders: BTreeMap::new(),
            drained: None,
            expired: false,
            unclaimed_since: Some(Time::ZERO),
            was_claimed: false,
            ended: false,
            out: Vec::new(),
            wake: None,
        }
    }

    /// Takes note of what happened, and says what follows. `now` never runs backwards.
    #[must_use]
    pub fn step(&mut self, event: Event, now: Time) -> Vec<Effect> {
        if self.ended {
            return Vec::new();
        }
        let woke = event == Event::Woke;
        self.hear(event, now);
        self.lapse(now);
        self.notice_emptiness(now);
        self.split();
        self.tell();
        self.ask_to_be_woken(woke, now);
        std::mem::take(&mut self.out)
    }

    /// Who wants nothing new to start here, or why else nothing may.
    pub fn closed(&self) -> Option<&str> {
        self.drained.as_deref().or_else(|| self.expired.then_some("its lifetime, which is over"))
    }

    /// Builds at once, of all coordinators together.
    pub fn slots(&self) -> u32 {
        self.bears.learned().unwrap_or_else(|| self.stated())
    }

    /// The same before anything was learned.
    pub fn stated(&self) -> u32 {
        let claimed = self.holders.values().map(|holder| holder.demand.capacity).max();
        self.terms.slots.or(claimed).unwrap_or_default()
    }

    /// All claims, for people.
    pub fn claims(&self, now: Time) -> Vec<Claim> {
        let claim = |holder: &Holder| Claim {
            name: holder.name.clone(),
            granted: holder.granted,
            demand: holder.demand,
            lasts: (holder.heard + self.terms.lease).since(now),
        };
        self.holders.values().map(claim).collect()
    }

    fn hear(&mut self, event: Event, now: Time) {
        match event {
            Event::Claimed { session, coordinator, name, demand, granted } => {
                self.claimed(session, coordinator, name, (demand, granted), now);
            }
            Event::GivenBack(session) => self.holders.retain(|_, holder| holder.session != Some(session)),
            Event::Closed(session) => {
                for holder in self.holders.values_mut().filter(|holder| holder.session == Some(session)) {
                    (holder.session, holder.told) = (None, None);
                }
            }
            Event::Loaded(load) => self.learn(&load, now),
            Event::Drained(by) => self.drained = by,
            Event::Dismissed(by) => self.end(Ending::Dismissed(by)),
            Event::Woke => {}
        }
    }

    fn claimed(
        &mut self,
        session: SessionId,
        coordinator: CoordinatorId,
        name: String,
        (demand, granted): (Demand, u32),
        now: Time,
    ) {
        self.was_claimed = true;
        self.unclaimed_since = None;
        let holder = self.holders.entry(coordinator).or_insert_with(|| Holder {
            name: String::new(),
            session: None,
            heard: now,
            demand,
            granted: 0,
            held: 0,
            served: Time::ZERO,
            told: None,
        });
        if holder.session != Some(session) {
            (holder.session, holder.told) = (Some(session), None);
        }
        (holder.name, holder.heard, holder.demand) = (name, now, demand);
        if demand.running > 0 {
            holder.served = now;
        }
        let confirmed = granted == holder.granted;
        let before = if confirmed { holder.granted } else { holder.held };
        holder.held = before.max(demand.running);
    }

    /// What was said of the slots is not learned anew.
    fn learn(&mut self, load: &Load, now: Time) {
        if self.terms.slots.is_some() || self.holders.is_empty() {
            return;
        }
        let sum = |of: fn(&Demand) -> u32| self.holders.values().map(|holder| of(&holder.demand)).sum();
        let used =
            Use { stated: self.stated(), running: sum(|all| all.running), wanted: sum(|all| all.wanted) };
        let before = self.slots();
        self.bears.look(used, load, now);
        if self.slots() != before {
            self.out.push(Effect::Learned(self.slots()));
        }
    }

    fn lapse(&mut self, now: Time) {
        let lease = self.terms.lease;
        let over: Vec<_> = self
            .holders
            .iter()
            .filter(|(_, holder)| now.since(holder.heard) >= lease)
            .map(|(id, holder)| (id.clone(), holder.name.clone()))
            .collect();
        for (id, name) in over {
            self.holders.remove(&id);
            self.out.push(Effect::Lapsed(id, name));
        }
    }

    fn notice_emptiness(&mut self, now: Time) {
        if self.holders.is_empty() {
            let since = *self.unclaimed_since.get_or_insert(now);
            if self.terms.ephemeral && self.was_claimed {
                self.end(Ending::Released);
            } else if self.terms.idle.is_some_and(|idle| now.since(since) >= idle) {
                self.end(Ending::Idle);
            }
        }
        self.notice_age(now);
    }

    fn notice_age(&mut self, now: Time) {
        let Some(over) = self.terms.lifetime.map(Time::after_start).filter(|over| now >= *over) else {
            return;
        };
        self.expired = true;
        let runs = self.holders.values().any(|holder| holder.demand.running > 0);
        if !runs || now >= over + self.terms.lease {
            self.end(Ending::Lifetime);
        }
    }

    fn end(&mut self, why: Ending) {
        if !std::mem::replace(&mut self.ended, true) {
            self.out.push(Effect::End(why));
        }
    }

    /// Lowers first: what is free then is what the others have confirmed to be so.
    fn split(&mut self) {
        let targets = self.targets();
        for (id, holder) in &mut self.holders {
            let target = targets.get(id).copied().unwrap_or_default();
            holder.granted = holder.granted.min(target);
        }
        let held: u32 = self.holders.values().map(|holder| holder.held).sum();
        let mut free = self.slots().saturating_sub(held);
        for id in self.by_need() {
            let target = targets.get(&id).copied().unwrap_or_default();
            let Some(holder) = self.holders.get_mut(&id) else { continue };
            let granted = target.min(holder.held + free).max(holder.granted);
            free -= granted.saturating_sub(holder.held);
            holder.granted = granted;
            holder.held = holder.held.max(granted);
        }
    }

    /// What each would have if nothing ran yet: one in turn while it wants more, then what is left evenly.
    fn targets(&self) -> BTreeMap<CoordinatorId, u32> {
        let order = self.by_need();
        let mut targets: BTreeMap<_, _> = order.iter().map(|id| (id.clone(), 0)).collect();
        let mut left = if self.closed().is_some() { 0 } else { self.slots() };
        let wants = |id: &CoordinatorId, has: u32| {
            self.holders.get(id).is_some_and(|holder| has < holder.demand.wanted.max(holder.demand.running))
        };
        for only_wanted in [true, false] {
            let mut given = true;
            while left > 0 && given {
                given = false;
                for id in &order {
                    let Some(has) = targets.get_mut(id).filter(|has| !only_wanted || wants(id, **has)) else {
                        continue;
                    };
                    if left > 0 {
                        *has += 1;
                        left -= 1;
                        given = true;
                    }
                }
            }
        }
        targets
    }

    /// The longest unserved first.
    fn by_need(&self) -> Vec<CoordinatorId> {
        let mut order: Vec<_> = self.holders.iter().collect();
        order.sort_by_key(|(id, holder)| (holder.served, (*id).clone()));
        order.into_iter().map(|(id, _)| id.clone()).collect()
    }

    fn tell(&mut self) {
        let bears = self.terms.slots.or(self.bears.learned());
        let shared = self.holders.len() > 1;
        for holder in self.holders.values_mut() {
            let news = (holder.granted, bears, shared);
            let Some(session) = holder.session.filter(|_| holder.told != Some(news)) else { continue };
            holder.told = Some(news);
            self.out.push(Effect::Grant { session, slots: holder.granted, bears, shared });
        }
    }

    fn ask_to_be_woken(&mut self, woke: bool, now: Time) {
        let leases = self.holders.values().map(|holder| holder.heard + self.terms.lease);
        let idle = self.unclaimed_since.zip(self.terms.idle).map(|(since, idle)| since + idle);
        let lifetime = self.terms.lifetime.map(Time::after_start);
        let grace = lifetime.map(|over| over + self.terms.lease);
        let next = leases.chain(idle).chain(lifetime).chain(grace).filter(|at| *at > now).min();
        if let Some(at) = next
            && (woke || next != self.wake)
        {
            self.out.push(Effect::WakeAt(at));
        }
        self.wake = next;
    }
}

mod bears;
#[cfg(test)]
mod tests;
