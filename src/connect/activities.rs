//! Activities under ids of our own.
//!
//! The coordinator's ids begin anew when it does. The client must see each activity stopped once, also when its
//! beginner is gone.

use std::collections::HashMap;

use crate::nix::logs::LogMessage;

/// Activities that may be open at once; more are not shown.
const MAX_OPEN: usize = 4096;

/// The activities that the client sees.
#[derive(Default)]
pub struct Activities {
    last: u64,
    ours: HashMap<u64, u64>,
    open: Vec<u64>,
}

impl Activities {
    /// The message with our ids; none where it belongs to an activity that is not open.
    pub fn translate(&mut self, message: LogMessage) -> Option<LogMessage> {
        match message {
            LogMessage::StartActivity { id, level, kind, text, fields, parent } => {
                let id = self.start(id)?;
                let parent = self.ours.get(&parent).copied().unwrap_or_default();
                Some(LogMessage::StartActivity { id, level, kind, text, fields, parent })
            }
            LogMessage::StopActivity { id } => {
                let id = self.ours.remove(&id)?;
                self.open.retain(|&open| open != id);
                Some(LogMessage::StopActivity { id })
            }
            LogMessage::Result { id, kind, fields } => {
                let id = *self.ours.get(&id)?;
                Some(LogMessage::Result { id, kind, fields })
            }
            LogMessage::Next(_) => Some(message),
        }
    }

    /// The ends of all that are open, innermost first.
    pub fn stop_all(&mut self) -> impl Iterator<Item = LogMessage> + use<> {
        self.ours.clear();
        std::mem::take(&mut self.open).into_iter().rev().map(|id| LogMessage::StopActivity { id })
    }

    fn start(&mut self, theirs: u64) -> Option<u64> {
        if self.open.len() >= MAX_OPEN {
            return None;
        }
        self.last += 1;
        self.ours.insert(theirs, self.last);
        self.open.push(self.last);
        Some(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(id: u64, parent: u64) -> LogMessage {
        LogMessage::StartActivity { id, level: 3, kind: 105, text: "b".into(), fields: Vec::new(), parent }
    }

    fn stops(activities: &mut Activities) -> Vec<u64> {
        let id = |message| match message {
            LogMessage::StopActivity { id } => id,
            other => panic!("{other:?}"),
        };
        activities.stop_all().map(id).collect()
    }

    #[test]
    fn what_a_lost_coordinator_began_is_stopped_innermost_first_and_its_ids_are_free() {
        let mut activities = Activities::default();
        assert_eq!(activities.translate(start(70, 0)), Some(start(1, 0)));
        assert_eq!(activities.translate(start(71, 70)), Some(start(2, 1)));
        assert_eq!(stops(&mut activities), [2, 1]);
        assert_eq!(activities.translate(LogMessage::line(70, "late")), None);
        assert_eq!(activities.translate(start(70, 0)), Some(start(3, 0)));
        assert_eq!(activities.translate(LogMessage::line(70, "x")), Some(LogMessage::line(3, "x")));
        activities.translate(LogMessage::StopActivity { id: 70 });
        assert!(stops(&mut activities).is_empty());
    }
}
