//! What became of builds that are over; the oldest give way.

use std::collections::VecDeque;

use super::builds::Build;
use super::queue::Shape;
use crate::domain::{BuilderName, Stage, StorePath, Time};

/// Attempts of one build that are remembered, the last ones.
const ATTEMPTS: usize = 20;

/// An attempt that has ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub number: u32,
    pub builder: BuilderName,
    /// Why it was placed there.
    pub why: String,
    /// What was under way when it ended.
    pub stage: Stage,
    pub began: Time,
    pub ended: Time,
    pub how: String,
}

/// How a build ended.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub at: Time,
    pub how: String,
}

/// A build that is over.
#[derive(Debug)]
pub(super) struct Finished {
    pub drv: StorePath,
    pub shape: std::sync::Arc<Shape>,
    pub asked_by: u32,
    pub asked_at: Time,
    pub end: End,
    pub attempts: VecDeque<Ended>,
}

/// The builds that ended last.
#[derive(Debug)]
pub(super) struct Memory {
    finished: VecDeque<Finished>,
    limit: usize,
}

impl Memory {
    pub(super) fn new(limit: usize) -> Self {
        Self { finished: VecDeque::new(), limit }
    }

    /// Takes over what is worth remembering.
    pub(super) fn keep(&mut self, build: Build) {
        let Some(end) = build.end else { return };
        if self.finished.len() >= self.limit {
            self.finished.pop_front();
        }
        let Build { ask, shape, asked_at, ended: attempts, .. } = build;
        self.finished.push_back(Finished {
            drv: ask.drv,
            shape,
            asked_by: ask.client.uid,
            asked_at,
            end,
            attempts,
        });
    }

    /// The newest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Finished> {
        self.finished.iter().rev()
    }
}

/// One more attempt, and the oldest gives way.
pub(super) fn note(attempts: &mut VecDeque<Ended>, ended: Ended) {
    if attempts.len() >= ATTEMPTS {
        attempts.pop_front();
    }
    attempts.push_back(ended);
}
