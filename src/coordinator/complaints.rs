//! Warnings about clients that talk nonsense: so many in a while, since a client can talk as much of it as it likes.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const WHILE: Duration = Duration::from_secs(60);
const SO_MANY: u32 = 10;

/// How many there were.
#[derive(Default)]
pub(super) struct Complaints {
    count: Mutex<Count>,
}

#[derive(Default)]
struct Count {
    began: Option<Instant>,
    said: u32,
    left_out: u32,
}

impl Complaints {
    /// Whether one more may be said; then with how many were left out since the last one.
    pub fn next(&self, now: Instant) -> Option<u32> {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        if count.began.is_none_or(|began| now.duration_since(began) >= WHILE) {
            (count.began, count.said) = (Some(now), 0);
        }
        if count.said >= SO_MANY {
            count.left_out = count.left_out.saturating_add(1);
            return None;
        }
        count.said += 1;
        Some(std::mem::take(&mut count.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_said_in_a_while_and_the_next_one_says_how_many_were_not() {
        let (complaints, began) = (Complaints::default(), Instant::now());
        let said = |after| complaints.next(began + Duration::from_secs(after));
        assert!((0..10).all(|n| said(n) == Some(0)));
        assert!((0..7).all(|_| said(59).is_none()));
        assert_eq!((said(60), said(61)), (Some(7), Some(0)));
    }
}
