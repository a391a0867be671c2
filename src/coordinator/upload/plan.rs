//! In which order, and in what portions, paths travel. Pure.
//!
//! A store takes a path only when it has all that the path refers to. Within a portion that is a matter of order; between
//! portions that travel side by side, a path waits until its references have landed.

use std::collections::HashSet;
use std::sync::Arc;

use crate::domain::{PathInfo, StoreHash};

/// What a path costs beside its bytes: its record, and its registration over there.
const PER_PATH: u64 = 32 << 10;
/// Smaller portions than this are not worth their round trip, larger ones keep others waiting.
const PORTION: (u64, u64) = (256 << 10, 16 << 20);

/// What one build still needs sent.
pub struct Plan {
    /// References first.
    pending: Vec<Arc<PathInfo>>,
    /// What others send, for now.
    elsewhere: Vec<Arc<PathInfo>>,
    /// What is not known to be there yet.
    unsettled: HashSet<StoreHash>,
    /// So large is a portion.
    portion: u64,
}

impl Plan {
    /// `missing` comes references first; up to `abreast` portions travel at once.
    pub fn new(missing: Vec<Arc<PathInfo>>, abreast: usize) -> Self {
        let unsettled = missing.iter().map(|info| info.path.hash()).collect();
        let all: u64 = missing.iter().map(|info| weight(info)).sum();
        let portion = (all / abreast.max(1) as u64).clamp(PORTION.0, PORTION.1);
        Self { pending: missing, elsewhere: Vec::new(), unsettled, portion }
    }

    /// The next paths that may be sent in one go, if there are any: all that they refer to has landed, or goes before
    /// them. What `claim` refuses is on its way already.
    pub fn next_portion(&mut self, mut claim: impl FnMut(StoreHash) -> bool) -> Option<Vec<Arc<PathInfo>>> {
        let (mut portion, mut size) = (Vec::new(), 0);
        let (mut chosen, mut rest) = (HashSet::new(), Vec::new());
        for info in std::mem::take(&mut self.pending) {
            let fits = portion.is_empty() || size + weight(&info) <= self.portion;
            let hash = info.path.hash();
            let ready = |reference: StoreHash| {
                reference == hash || chosen.contains(&reference) || !self.unsettled.contains(&reference)
            };
            if !fits || !info.references.iter().all(|reference| ready(reference.hash())) {
                rest.push(info);
            } else if claim(hash) {
                size += weight(&info);
                chosen.insert(hash);
                portion.push(info);
            } else {
                self.elsewhere.push(info);
            }
        }
        self.pending = rest;
        Some(portion).filter(|portion| !portion.is_empty())
    }

    /// These are there.
    pub fn landed(&mut self, paths: &[Arc<PathInfo>]) {
        for info in paths {
            self.unsettled.remove(&info.path.hash());
        }
    }

    /// Others have sent something since it was asked what is missing: all is to be asked about again.
    pub fn doubt(&mut self) {
        self.elsewhere.append(&mut self.pending);
    }

    /// What others sent and send no more. Whether it arrived is to be asked.
    pub fn given_back(&mut self, is_under_way: impl Fn(StoreHash) -> bool) -> Vec<Arc<PathInfo>> {
        let all = std::mem::take(&mut self.elsewhere);
        let (still, back) = all.into_iter().partition(|info| is_under_way(info.path.hash()));
        self.elsewhere = still;
        back
    }

    /// These did not arrive after all. Nothing before them refers to them, so they may come first.
    pub fn send_again(&mut self, mut paths: Vec<Arc<PathInfo>>) {
        paths.append(&mut self.pending);
        self.pending = paths;
    }

    /// Whether nothing is left to send or to wait for.
    pub fn is_done(&self) -> bool {
        self.unsettled.is_empty()
    }
}

fn weight(info: &PathInfo) -> u64 {
    info.nar_size.saturating_add(PER_PATH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Sha256, StorePath};

    const MB: u64 = 1 << 20;

    fn path(letter: char) -> StorePath {
        let base = format!("{}-{letter}", letter.to_string().repeat(32));
        StorePath::from_base_name(&base).expect("a path")
    }

    fn info(letter: char, references: &str, nar_size: u64) -> Arc<PathInfo> {
        Arc::new(PathInfo {
            path: path(letter),
            deriver: None,
            nar_hash: Sha256([0; 32]),
            references: references.chars().map(path).collect(),
            registration_time: 0,
            nar_size,
            ultimate: false,
            signatures: Vec::new(),
            ca: None,
        })
    }

    fn names(portion: Option<Vec<Arc<PathInfo>>>) -> String {
        portion.unwrap_or_default().iter().map(|info| info.path.name().to_owned()).collect()
    }

    #[test]
    fn a_large_path_travels_alone_beside_the_small_ones() {
        let large = info('a', "", 500 * MB);
        let mut plan = Plan::new(vec![large, info('b', "", 1), info('c', "b", 1)], 2);
        assert_eq!(names(plan.next_portion(|_| true)), "a");
        assert_eq!(names(plan.next_portion(|_| true)), "bc");
        assert_eq!(names(plan.next_portion(|_| true)), "");
        assert!(!plan.is_done());
    }

    #[test]
    fn many_small_paths_are_shared_among_the_channels() {
        let small: Vec<_> = ('a'..='z')
            .filter(|letter| !"eotu".contains(*letter))
            .map(|letter| info(letter, "", 1))
            .collect();
        let mut plan = Plan::new(small, 2);
        let (first, second) = (names(plan.next_portion(|_| true)), names(plan.next_portion(|_| true)));
        assert_eq!((first.len(), second.len()), (11, 11));
    }

    #[test]
    fn a_path_waits_for_its_references_unless_they_go_before_it() {
        let large = info('a', "", 500 * MB);
        let mut plan = Plan::new(vec![Arc::clone(&large), info('b', "a", 1), info('c', "bc", 1)], 2);
        assert_eq!(names(plan.next_portion(|_| true)), "a");
        assert_eq!(names(plan.next_portion(|_| true)), "");
        plan.landed(&[large]);
        assert_eq!(names(plan.next_portion(|_| true)), "bc");
    }

    #[test]
    fn what_is_in_doubt_is_asked_about_before_it_is_sent() {
        let (a, b) = (info('a', "", 1), info('b', "a", 1));
        let mut plan = Plan::new(vec![Arc::clone(&a), Arc::clone(&b)], 1);
        plan.doubt();
        assert_eq!(names(plan.next_portion(|_| true)), "");
        let asked = plan.given_back(|_| false);
        assert_eq!(asked.len(), 2);
        plan.landed(&[a]);
        plan.send_again(vec![b]);
        assert_eq!(names(plan.next_portion(|_| true)), "b");
    }

    #[test]
    fn what_others_send_is_waited_for_and_sent_if_they_fail() {
        let (a, b, c) = (info('a', "", 1), info('b', "a", 1), info('c', "", 1));
        let mut plan = Plan::new(vec![Arc::clone(&a), Arc::clone(&b), Arc::clone(&c)], 1);
        assert_eq!(names(plan.next_portion(|hash| hash != a.path.hash())), "c");
        plan.landed(&[c]);
        assert_eq!(names(plan.next_portion(|_| true)), "", "b waits for a");
        assert!(plan.given_back(|_| true).is_empty());
        let back = plan.given_back(|_| false);
        assert_eq!(back.len(), 1);
        plan.send_again(back);
        assert_eq!(names(plan.next_portion(|_| true)), "ab");
        plan.landed(&[a, b]);
        assert!(plan.is_done());
    }
}
