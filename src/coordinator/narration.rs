//! A builder's log, retold to the clients of a build.
//!
//! To each client an attempt is one activity of Nix's kind "build", named after the builder; the lines and phases of
//! the builder's own activities appear under it. So `-L`, the progress bar and `nix log` work as for a local build.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::feed::{Feed, LEVEL_INFO};
use crate::domain::{AttemptId, BuilderName};
use crate::nix::logs::{Field, LogMessage, activity, result};

/// The builder's activities that are remembered; a build has one or two.
const MAX_ACTIVITIES: usize = 64;

/// One attempt's story. Clones tell the same one.
#[derive(Clone)]
pub struct Narration {
    activity: u64,
    opening: LogMessage,
    listeners: Arc<Mutex<Vec<Feed>>>,
    builds: HashSet<u64>,
}

impl Narration {
    /// The story of an attempt at `drv` (a full path) on `builder`.
    pub fn new(attempt: AttemptId, drv: &str, builder: &BuilderName) -> Self {
        let activity = attempt.build.0 << 16 | u64::from(attempt.number & 0xffff);
        let opening = LogMessage::StartActivity {
            id: activity,
            level: LEVEL_INFO,
            kind: activity::BUILD,
            text: format!("building '{drv}' on '{builder}'").into(),
            fields: vec![
                Field::Text(drv.into()),
                Field::Text(builder.to_string().into()),
                Field::Int(1),
                Field::Int(1),
            ],
            parent: 0,
        };
        Self { activity, opening, listeners: Arc::default(), builds: HashSet::new() }
    }

    /// From here on that feed is told, too.
    pub fn join(&self, feed: Feed) {
        feed.log(self.opening.clone());
        self.lock().push(feed);
    }

    /// Retells what the builder said.
    pub fn hear(&mut self, message: LogMessage) {
        match message {
            LogMessage::StartActivity { id, kind: activity::BUILD, .. }
                if self.builds.len() < MAX_ACTIVITIES =>
            {
                self.builds.insert(id);
            }
            LogMessage::Result { id, kind: kind @ (result::LOG_LINE | result::SET_PHASE), fields }
                if self.builds.contains(&id) =>
            {
                self.tell(&LogMessage::Result { id: self.activity, kind, fields });
            }
            _ => {}
        }
    }

    /// Ends the activity.
    pub fn close(&self) {
        self.tell(&LogMessage::StopActivity { id: self.activity });
        self.lock().clear();
    }

    fn tell(&self, message: &LogMessage) {
        for feed in self.lock().iter() {
            feed.log(message.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Feed>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
