//! Which paths lie on which builders, as far as we were told. It serves estimates only: the builder is asked again
//! before anything is uploaded, since it may have collected its garbage.

use std::collections::HashMap;

use super::bits::Bits;
use super::event::Input;
use crate::domain::StoreHash;

/// For each path the builders that have it.
#[derive(Debug, Default)]
pub(super) struct Presence {
    builders: HashMap<StoreHash, Bits>,
    limit: usize,
}

impl Presence {
    pub(super) fn new(limit: usize) -> Self {
        Self { builders: HashMap::new(), limit }
    }

    pub(super) fn add(&mut self, builder: usize, paths: impl IntoIterator<Item = StoreHash>) {
        for path in paths {
            if self.builders.len() >= self.limit && !self.builders.contains_key(&path) {
                self.builders.clear();
            }
            self.builders.entry(path).or_default().insert(builder);
        }
    }

    pub(super) fn remove(&mut self, builder: usize, paths: impl IntoIterator<Item = StoreHash>) {
        for path in paths {
            if let Some(builders) = self.builders.get_mut(&path) {
                builders.remove(builder);
            }
        }
    }

    pub(super) fn forget_builder(&mut self, builder: usize) {
        self.builders.retain(|_, builders| {
            builders.remove(builder);
            !builders.is_empty()
        });
    }

    /// Bytes of `closure` that are missing on each builder, by its bit; `builders` is one more than the highest bit.
    pub(super) fn missing(&self, closure: &[Input], builders: usize) -> Vec<u64> {
        let mut everywhere = 0_u64;
        let mut missing = vec![0_u64; builders];
        for Input { path, bytes } in closure {
            match self.builders.get(path) {
                None => everywhere = everywhere.saturating_add(*bytes),
                Some(present) => {
                    for bit in present.absent().take_while(|bit| *bit < builders) {
                        missing[bit] = missing[bit].saturating_add(*bytes);
                    }
                    for rest in missing.iter_mut().skip(present.width()) {
                        *rest = rest.saturating_add(*bytes);
                    }
                }
            }
        }
        missing.iter_mut().for_each(|bytes| *bytes = bytes.saturating_add(everywhere));
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::StorePath;

    fn hash(letter: char) -> StoreHash {
        let base = format!("{}-x", String::from(letter).repeat(32));
        StorePath::from_base_name(&base).expect("a path").hash()
    }

    #[test]
    fn what_lies_on_a_builder_need_not_travel_to_it() {
        let mut presence = Presence::new(10);
        presence.add(0, [hash('a'), hash('b')]);
        presence.add(2, [hash('b')]);
        let closure = [Input { path: hash('a'), bytes: 5 }, Input { path: hash('b'), bytes: 7 }];
        assert_eq!(presence.missing(&closure, 3), [0, 12, 5]);
        presence.forget_builder(0);
        assert_eq!(presence.missing(&closure, 3), [12, 12, 5]);
    }

    #[test]
    fn a_builder_that_came_later_lacks_what_was_there_before() {
        let mut presence = Presence::new(10);
        presence.add(0, [hash('a')]);
        let missing = presence.missing(&[Input { path: hash('a'), bytes: 5 }], 130);
        assert_eq!((missing[0], missing[1], missing[64], missing[129]), (0, 5, 5, 5));
    }

    #[test]
    fn the_memory_of_paths_is_bounded() {
        let mut presence = Presence::new(3);
        presence.add(0, "abcdfghijk".chars().map(hash));
        assert!(presence.builders.len() <= 3);
    }
}
