//! What a client is to be told of its build, on its way from the attempts to the endpoint.
//!
//! A builder is never held up by a client that reads slowly: the queue is bounded in bytes, the oldest log lines give
//! way, and one line says how many. Activities and the answer never give way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::{BuildResult, PathInfo};
use crate::edge::spool::Nar;
use crate::nix::logs::LogMessage;

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
}

impl Feed {
    /// Adds a log message.
    pub fn log(&self, message: LogMessage) {
        self.lock().push(message);
        self.shared.news.notify_one();
    }

    /// Says a line of our own.
    pub fn say(&self, text: &str) {
        self.log(LogMessage::Next(format!("muster: {text}\n").into()));
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
    OVERHEAD + message.as_line().map_or(0, |line| line.0.len())
}
