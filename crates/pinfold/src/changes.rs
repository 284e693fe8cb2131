//! Which ranges of a file were broken since when: so that a token of an older generation is told from a good one.

use std::collections::VecDeque;
use std::ops::Range;

/// How many changed ranges a file remembers. What is older counts as changed everywhere.
const REMEMBERED_MAX: usize = 64;

/// The last changes of one file's layout.
#[derive(Default)]
pub(crate) struct Changes {
    generation: u64,
    /// Tokens older than this are stale, wherever they point.
    floor: u64,
    recent: VecDeque<(u64, Range<u64>)>,
}

impl Changes {
    /// The generation as of now.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Notes that the layout of a range of file blocks was changed.
    pub(crate) fn note(&mut self, range: Range<u64>) {
        self.generation += 1;
        self.recent.push_back((self.generation, range));
        if self.recent.len() > REMEMBERED_MAX
            && let Some((forgotten, _)) = self.recent.pop_front()
        {
            self.floor = forgotten;
        }
    }

    /// Whether a range may have changed after `generation`.
    pub(crate) fn since(&self, generation: u64, range: &Range<u64>) -> bool {
        let meets = |other: &Range<u64>| range.start < other.end && other.start < range.end;
        generation < self.floor || self.recent.iter().any(|(at, changed)| generation < *at && meets(changed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_elsewhere_leaves_a_token_good() {
        let mut changes = Changes::default();
        let made = changes.generation();
        changes.note(10..20);
        assert!(!changes.since(made, &(0..10)));
        assert!(changes.since(made, &(0..11)));
        assert!(!changes.since(changes.generation(), &(0..11)), "a younger token is good");
    }

    #[test]
    fn what_is_forgotten_counts_as_changed() {
        let mut changes = Changes::default();
        let made = changes.generation();
        (0..=REMEMBERED_MAX as u64).for_each(|_| changes.note(10..20));
        assert!(changes.since(made, &(0..1)));
        assert!(!changes.since(changes.generation() - 3, &(0..1)));
    }
}
