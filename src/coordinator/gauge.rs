//! How much a link carries, seen from real transfers.
//!
//! Several transfers share a link, so what counts is the time in which any of them was under way, and the bytes that
//! all of them moved.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Transfers that never pause are counted in pieces.
const PIECE: Duration = Duration::from_secs(20);

/// One direction of one builder's link.
#[derive(Default)]
pub struct Gauge {
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    under_way: u32,
    since: Option<Instant>,
    bytes: u64,
}

/// Bytes, and in what time.
pub type Carried = (u64, Duration);

/// One transfer that is under way; where it breaks off its bytes do not count.
pub struct Transfer {
    gauge: Arc<Gauge>,
    done: bool,
}

impl Gauge {
    /// A transfer begins.
    pub fn begin(self: &Arc<Self>, now: Instant) -> Transfer {
        let mut state = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        state.under_way += 1;
        state.since.get_or_insert(now);
        Transfer { gauge: Arc::clone(self), done: false }
    }

    fn end(&self, bytes: Option<u64>, now: Option<Instant>) -> Option<Carried> {
        let mut state = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        state.under_way = state.under_way.saturating_sub(1);
        state.bytes = state.bytes.saturating_add(bytes.unwrap_or(0));
        let took = now.zip(state.since).map(|(now, since)| now.saturating_duration_since(since));
        let is_over = state.under_way == 0 || took.is_some_and(|took| took >= PIECE);
        if !is_over {
            return None;
        }
        let carried = std::mem::take(&mut state.bytes);
        state.since = if state.under_way == 0 { None } else { now };
        took.filter(|took| carried > 0 && !took.is_zero()).map(|took| (carried, took))
    }
}

impl Transfer {
    /// It is done; what the link has carried since it was idle, where that can be said now.
    pub fn done(mut self, bytes: u64, now: Instant) -> Option<Carried> {
        self.done = true;
        self.gauge.end(Some(bytes), Some(now))
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if !self.done {
            self.gauge.end(None, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::clock;

    #[test]
    fn what_shares_a_link_is_counted_together_and_pauses_are_not_counted() {
        let (gauge, start) = (Arc::new(Gauge::default()), clock::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let (first, second) = (gauge.begin(at(0)), gauge.begin(at(1)));
        assert_eq!(first.done(100, at(2)), None, "another one is under way");
        assert_eq!(second.done(50, at(3)), Some((150, Duration::from_secs(3))));
        assert_eq!(gauge.begin(at(100)).done(10, at(101)), Some((10, Duration::from_secs(1))));
    }

    #[test]
    fn what_broke_off_counts_for_nothing_and_what_never_pauses_is_told_in_pieces() {
        let (gauge, start) = (Arc::new(Gauge::default()), clock::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        drop(gauge.begin(at(0)));
        let (long, short) = (gauge.begin(at(10)), gauge.begin(at(10)));
        assert_eq!(short.done(7, at(35)), Some((7, Duration::from_secs(25))));
        assert_eq!(long.done(5, at(36)), Some((5, Duration::from_secs(1))));
    }
}
