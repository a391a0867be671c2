//! What may happen, and what may follow.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::settings::Settings;
use crate::domain::{
    AttemptId, AttemptOutcome, BuildId, BuildResult, BuilderName, BuilderSpec, Capabilities, Client, Feature,
    Grant, GraphNode, Label, Load, Measurement, Observation, RequestId, Stage, StoreHash, StorePath, System,
    Time,
};

/// One path that a build needs, and its NAR's size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input {
    /// Which path.
    pub path: StoreHash,
    /// How much travels where it is missing.
    pub bytes: u64,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// The derivation.
    pub drv: StorePath,
    /// A digest of the derivation's path and whole content: two asks with the same one share a build.
    pub digest: [u8; 32],
    /// Where it can be built.
    pub system: System,
    /// The package's name, for routes.
    pub pname: String,
    /// The label that the client asks for by name; it wins over routes.
    pub label: Option<Label>,
    /// What it requires of a builder (`requiredSystemFeatures`).
    pub features: BTreeSet<Feature>,
    /// The whole closure of its inputs.
    pub closure: Arc<[Input]>,
    /// An input that only a daemon that trusts us takes: it is neither signed nor content-addressed.
    pub unsigned: Option<StorePath>,
    /// Who asks.
    pub client: Client,
    /// Whether this is a `--check`: its outputs are all valid already, and it is built and compared all the same.
    pub check: bool,
}

/// The person who ordered something, as others know them.
pub type By = String;

/// News. Nothing else changes the state.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A source knows a builder; known ones are updated. It is probed at once.
    Found(BuilderSpec),
    /// A source knows it no longer. What runs on it may finish.
    Vanished(BuilderName),
    /// A probe ended.
    Probed(BuilderName, Result<Capabilities, String>),
    /// How long the answer to a ping took, or why there was none.
    Pinged(BuilderName, Result<Duration, String>),
    /// These paths are valid on the builder, as it said itself or because they were sent there.
    Present(BuilderName, Vec<StoreHash>),
    /// So many bytes of inputs went there, and so many of outputs came from there.
    Moved {
        /// Which builder.
        builder: BuilderName,
        /// Of inputs.
        sent: u64,
        /// Of outputs.
        received: u64,
    },
    /// A client wants a build.
    Requested(RequestId, Ask),
    /// The client is gone or wants it no more.
    Withdrawn(RequestId),
    /// An attempt reached a stage.
    Reached(AttemptId, Stage),
    /// An attempt ended.
    Ended(AttemptId, AttemptOutcome),
    /// Other settings hold from now on; what is under way keeps the times that it was given.
    Configured(Settings),
    /// Our own link went down: these builders are behind it.
    LinkDown(Vec<BuilderName>),
    /// Our own link is up again.
    LinkUp,
    /// What earlier builds taught, from the history, the oldest first: once, at the start.
    Recalled(Vec<Observation>),
    /// Something was measured of a builder, by [`Effect::Measure`] or by real transfers.
    Measured(BuilderName, Measurement),
    /// How a builder bears its load, from its agent: a sign of life as well.
    Loaded(BuilderName, Load),
    /// What the builder's agent lets us do there.
    Claimed(BuilderName, Grant),
    /// Derivations that an invocation is on its way through. Known ones are updated; what has been built need not be
    /// among them.
    Graph(Vec<GraphNode>),
    /// A time that [`Effect::WakeAt`] asked for has come.
    Woke,
    /// Nothing new starts there from now on; what runs is finished.
    Drained(BuilderName, By),
    /// It takes builds again.
    Undrained(BuilderName),
    /// Whoever asked for it hears who cancelled it.
    Cancelled(BuildId, By),
    /// The end: nothing new starts anywhere, what waits is answered with an error, and what runs is finished.
    Stopping(By),
    /// What still runs is cancelled as well, and answered with an error.
    Stopped(By),
}

/// What a request is answered with. Each request is answered once.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The build's own result, from that attempt: success (its outputs are held by the driver) or the builder's failure.
    Result {
        /// Which attempt.
        attempt: AttemptId,
        /// Which builder it ran on.
        builder: BuilderName,
        /// What the builder said, the builder's name in its error.
        result: BuildResult,
    },
    /// It could not be built; the text says why and what to do.
    Impossible(String),
}

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Probe it; answer with [`Event::Probed`] within the probe's own time limit.
    Probe(BuilderName),
    /// Ask it for a sign of life; answer with [`Event::Pinged`].
    Ping(BuilderName),
    /// Close every channel to it; attempts on it end as lost.
    Cut(BuilderName, String),
    /// Begin an attempt; answer with [`Event::Reached`] and one [`Event::Ended`].
    Start {
        /// Which attempt.
        attempt: AttemptId,
        /// Where.
        builder: BuilderName,
        /// For which requests; the first one's derivation and closure are used.
        requests: Vec<RequestId>,
        /// How many cores it may use; none where the builder's own configuration decides.
        cores: Option<u32>,
    },
    /// A request joined a build that is under way: it gets the log from here on.
    Join(RequestId, AttemptId),
    /// End an attempt, on the builder too; answer with [`Event::Ended`].
    Cancel(AttemptId),
    /// Answer a request.
    Answer(RequestId, Answer),
    /// Say one line in the request's log.
    Say(RequestId, String),
    /// It waits for its turn, and nothing is wrong: show why, without a line in the log.
    Wait(RequestId, String),
    /// No request wants the build any more and no attempt runs: what the driver holds for it may go.
    Forget(BuildId),
    /// Run the CPU benchmark there, one at a time on one physical host; answer with [`Event::Measured`] where it succeeds.
    Measure(BuilderName),
    /// Keep what a build taught, and recall it at the next start.
    Learned(Observation),
    /// Let the inputs of a build that waits travel to the builder on which it is likely to run, at low priority; say
    /// [`Event::Present`] of what arrived.
    Prefetch {
        /// The build.
        build: BuildId,
        /// Where it will probably run.
        builder: BuilderName,
    },
    /// No more of that: it runs, be it there or elsewhere, or nobody wants it.
    EndPrefetch {
        /// The build.
        build: BuildId,
        /// Where its inputs travel to.
        builder: BuilderName,
    },
    /// Send [`Event::Woke`] at that time, or soon after; replaces what was asked for before.
    WakeAt(Time),
    /// Systems, features or slots changed: the machines lines must be written anew.
    FleetChanged,
    /// Nothing runs any more after [`Event::Stopping`], and everybody is answered.
    Drained,
}
