//! What is being asked at this moment: one line on a terminal's standard error, and nothing elsewhere.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr};
use std::sync::{Mutex, PoisonError};

/// Who is asked what.
#[derive(Debug)]
pub struct Progress {
    width: Option<usize>,
    total: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    done: usize,
    asked: BTreeMap<String, &'static str>,
}

impl Progress {
    /// Of so many subjects; `width` is what the terminal says of itself.
    pub fn new(total: usize, width: Option<u16>) -> Self {
        let width = stderr().is_terminal().then(|| usize::from(width.unwrap_or(80)));
        Self { width, total, state: Mutex::default() }
    }

    /// This one is asked that now.
    pub fn step(&self, who: &str, what: &'static str) {
        self.change(|state| {
            state.asked.insert(who.to_owned(), what);
        });
    }

    /// This one has answered.
    pub fn done(&self, who: &str) {
        self.change(|state| {
            state.asked.remove(who);
            state.done += 1;
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        if let Some(width) = self.width {
            let line = line(&state, self.total, width.saturating_sub(1));
            // Nobody sees it where it cannot be written.
            let _ = write!(stderr(), "\r\x1b[K{line}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.width.is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

fn line(state: &State, total: usize, width: usize) -> String {
    let asked: Vec<String> = state.asked.iter().map(|(who, what)| format!("{who}: {what}")).collect();
    format!("{}/{total}  {}", state.done, asked.join("  ")).chars().take(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_who_is_asked_what_and_fits() {
        let state = State { done: 1, asked: [("b1".to_owned(), "login"), ("b2".to_owned(), "port")].into() };
        assert_eq!(line(&state, 3, 80), "1/3  b1: login  b2: port");
        assert_eq!(line(&state, 3, 8), "1/3  b1:");
    }
}
