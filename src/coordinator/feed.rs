//! What a client is to be told of its build, on its way from the attempts to the endpoint.
//!
//! A builder is never held up by a client that reads slowly: the queue is bounded in bytes, the oldest log lines give
//! way, and one line says how many. Activities and the answer never give way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::{BuildResult, PathInfo, StorePath};
use crate::edge::spool::Nar;
use crate::nix::logs::{Field, LogMessage, activity};

/// Log text that may wait for a client.
const MAX_WAITING_BYTES: usize = 4 << 20;

/// An output that is here, checked.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its record.
    pub info: PathInfo,
    /// Its bytes.
    pub nar: Nar,
}

/// The activity of a request that waits; those of attempts have larger ids.
const WAITING: u64 = 1;
/// Nix's level of "building ..." lines.
pub(super) const LEVEL_INFO: u64 = 3;

/// How a request ends.
#[derive(Debug, Clone)]
pub enum Ending {
    /// With the build's result; outputs only with success.
    Result(BuildResult, Vec<Output>),
    /// Without one.
    Impossible(String),
}

/// The next thing to tell.
#[derive(Debug)]
pub enum Told {
    /// A log message.
    Log(LogMessage),
    /// The last thing.
    Ending(Ending),
}

/// One request's queue. Clones are the same queue.
#[derive(Clone, Default)]
pub struct Feed {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    news: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<LogMessage>,
    bytes: usize,
    left_out: usize,
    ending: Option<Ending>,
    is_waiting: bool,
}

impl Feed {
    /// Adds a log message.
    pub fn log(&self, message: LogMessage) {
        let mut queue = self.lock();
        queue.stop_waiting();
        queue.push(message);
        drop(queue);
        self.shared.news.notify_one();
    }

    /// Says a line of our own.
    pub fn say(&self, text: &str) {
        self.log(LogMessage::Next(format!("muster: {text}\n").into()));
    }

    /// Shows, until the next news, that the build waits and for what.
    pub fn wait(&self, drv: &StorePath, why: &str) {
        let mut queue = self.lock();
        queue.stop_waiting();
        queue.is_waiting = true;
        queue.push(LogMessage::StartActivity {
            id: WAITING,
            level: LEVEL_INFO,
            kind: activity::BUILD_WAITING,
            text: format!("{} {why}", drv.name()).into(),
            fields: Vec::new(),
            parent: 0,
        });
        drop(queue);
        self.shared.news.notify_one();
    }

    /// Ends the feed; what waits is told first.
    pub fn end(&self, ending: Ending) {
        self.lock().ending = Some(ending);
        self.shared.news.notify_one();
    }

    /// The next thing to tell. Cancel safe. After the ending there is nothing more, for ever.
    pub async fn next(&self) -> Told {
        loop {
            if let Some(told) = self.lock().pop() {
                return told;
            }
            self.shared.news.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn stop_waiting(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            self.push(LogMessage::StopActivity { id: WAITING });
        }
    }

    fn push(&mut self, message: LogMessage) {
        self.bytes += weight(&message);
        self.waiting.push_back(message);
        while self.bytes > MAX_WAITING_BYTES && self.drop_oldest_line() {}
    }

    fn drop_oldest_line(&mut self) -> bool {
        let oldest = self.waiting.iter().position(is_line);
        let dropped = oldest.and_then(|at| self.waiting.remove(at));
        self.bytes -= dropped.as_ref().map_or(0, weight);
        self.left_out += usize::from(dropped.is_some());
        dropped.is_some()
    }

    fn pop(&mut self) -> Option<Told> {
        if self.left_out > 0 {
            let text = format!("muster: {} log lines left out, they came too fast\n", self.left_out);
            self.left_out = 0;
            return Some(Told::Log(LogMessage::Next(text.into())));
        }
        if let Some(message) = self.waiting.pop_front() {
            self.bytes -= weight(&message);
            return Some(Told::Log(message));
        }
        self.ending.take().map(Told::Ending)
    }
}

fn is_line(message: &LogMessage) -> bool {
    matches!(message, LogMessage::Result { .. } | LogMessage::Next(_))
}

fn weight(message: &LogMessage) -> usize {
    /// What a message costs beside its text.
    const OVERHEAD: usize = 64;
    let fields = match message {
        LogMessage::Result { fields, .. } | LogMessage::StartActivity { fields, .. } => fields.as_slice(),
        LogMessage::Next(_) | LogMessage::StopActivity { .. } => &[],
    };
    let size = |field: &Field| match field {
        Field::Text(text) => text.0.len(),
        Field::Int(_) => size_of::<u64>(),
    };
    OVERHEAD + fields.iter().map(|field| OVERHEAD + size(field)).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(feed: &Feed) -> Vec<Told> {
        std::iter::from_fn(|| feed.lock().pop()).collect()
    }

    #[test]
    fn a_flood_drops_the_oldest_lines_says_how_many_and_keeps_the_ending() {
        let feed = Feed::default();
        let start = LogMessage::StartActivity {
            id: 9,
            level: 3,
            kind: activity::BUILD,
            text: "b".into(),
            fields: Vec::new(),
            parent: 0,
        };
        feed.log(start.clone());
        for _ in 0..5000 {
            feed.log(LogMessage::line(9, "x".repeat(1000)));
        }
        feed.log(LogMessage::line(9, "last"));
        feed.end(Ending::Impossible("over".to_owned()));
        assert!(feed.lock().bytes <= MAX_WAITING_BYTES);
        let told = told(&feed);
        assert!(
            matches!(&told[0], Told::Log(LogMessage::Next(text)) if text.plain().contains("log lines left out"))
        );
        assert!(matches!(&told[1], Told::Log(message) if *message == start), "activities are kept");
        let [.., Told::Log(line), Told::Ending(Ending::Impossible(_))] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(*line, LogMessage::line(9, "last"));
    }

    #[test]
    fn every_field_of_a_message_counts() {
        let feed = Feed::default();
        for _ in 0..5000 {
            let fields = vec![Field::Int(0), Field::Text("x".repeat(1000).into())];
            feed.log(LogMessage::Result { id: 9, kind: 104, fields });
        }
        assert!(feed.lock().waiting.len() < 4500, "{}", feed.lock().waiting.len());
    }

    #[test]
    fn waiting_is_shown_until_the_next_news() {
        let feed = Feed::default();
        let drv = StorePath::from_base_name(&format!("{}-a.drv", "0".repeat(32))).expect("a path");
        feed.wait(&drv, "waits for a slot");
        feed.wait(&drv, "waits for another");
        feed.log(LogMessage::line(9, "news"));
        feed.log(LogMessage::line(9, "more"));
        let shape = |told: Told| match told {
            Told::Log(LogMessage::StartActivity { .. }) => "start",
            Told::Log(LogMessage::StopActivity { .. }) => "stop",
            _ => "line",
        };
        let shapes: Vec<_> = told(&feed).into_iter().map(shape).collect();
        assert_eq!(shapes, ["start", "stop", "start", "stop", "line", "line"]);
    }
}
