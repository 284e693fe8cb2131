//! What a sector may hold: a set of words, almost always of one.

use std::fmt;

use crate::stamp::Word;

/// A moment of a file's log.
pub(super) type Time = u64;

/// Not over yet.
pub(super) const IN_FLIGHT: Time = Time::MAX;

/// The words that may be found in one sector, each with the time at which it may last have been written.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Legal {
    first: Entry,
    /// Empty, and without memory, most of the time.
    more: Vec<Entry>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    word: Word,
    last: Time,
}

impl Entry {
    fn is_in_flight(&self, word: Word) -> bool {
        self.word == word && self.last == IN_FLIGHT
    }
}

impl Legal {
    pub(super) const fn only(word: Word) -> Self {
        Self { first: Entry { word, last: 0 }, more: Vec::new() }
    }

    pub(super) fn zeros() -> Self {
        Self::only(Word::ZERO)
    }

    /// One word more. What is in flight is an entry of its own, even where the same word was written before.
    pub(super) fn add(&mut self, word: Word, last: Time) {
        let is_same = |entry: &Entry| entry.word == word && (entry.last == IN_FLIGHT) == (last == IN_FLIGHT);
        if let Some(entry) = self.entries_mut().find(|entry| is_same(entry)) {
            entry.last = entry.last.max(last);
            return;
        }
        self.more.push(Entry { word, last });
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        other.entries().for_each(|entry| self.add(entry.word, entry.last));
    }

    /// A write of all of the sector, in since `since`, is over: what was last written before that is gone.
    pub(super) fn settle(&mut self, word: Word, since: Time, now: Time) {
        let concurrent: Vec<Entry> =
            self.entries().filter(|entry| entry.word != word && entry.last >= since).copied().collect();
        *self = Self { first: Entry { word, last: now }, more: concurrent };
    }

    /// All of the sector became zeros, at `since` at the earliest. It may have become zeros again after that.
    pub(super) fn zero(&mut self, since: Time) {
        let again = self.entries().filter(|entry| entry.word == Word::ZERO).map(|entry| entry.last).max();
        *self = Self { first: Entry { word: Word::ZERO, last: again.unwrap_or(since).max(since) }, more: Vec::new() };
    }

    /// Nobody writes this word here any more.
    pub(super) fn end(&mut self, word: Word, now: Time) {
        let in_flight = self.entries_mut().filter(|entry| entry.is_in_flight(word));
        in_flight.for_each(|entry| entry.last = now);
    }

    /// Takes out a word in flight that turned out not to be written here. There is always another one.
    pub(super) fn remove(&mut self, word: Word) {
        self.more.retain(|entry| !entry.is_in_flight(word));
        if self.first.is_in_flight(word)
            && let Some(other) = self.more.pop()
        {
            self.first = other;
        }
    }

    pub(super) fn allows(&self, word: Word) -> bool {
        self.entries().any(|entry| entry.word == word)
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        std::iter::once(&self.first).chain(&self.more)
    }

    fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        std::iter::once(&mut self.first).chain(&mut self.more)
    }
}

impl fmt::Display for Legal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first.word)?;
        self.more.iter().try_for_each(|entry| write!(f, ", or {}", entry.word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Word = Word(1);
    const TWO: Word = Word(2);
    const THREE: Word = Word(3);

    #[test]
    fn a_write_that_is_over_leaves_what_was_written_beside_it() {
        let mut legal = Legal::only(ONE);
        legal.add(TWO, IN_FLIGHT);
        legal.add(THREE, IN_FLIGHT);
        legal.settle(TWO, 10, 20);
        assert!(!legal.allows(ONE), "it was written over");
        assert!(legal.allows(TWO) && legal.allows(THREE));
        legal.settle(THREE, 15, 30);
        assert!(legal.allows(TWO), "it may have come last");
        legal.settle(ONE, 40, 50);
        assert!(!legal.allows(TWO) && !legal.allows(THREE));
    }

    #[test]
    fn what_turns_out_not_to_be_written_goes_and_what_was_there_stays() {
        let mut legal = Legal::only(ONE);
        legal.add(TWO, 1);
        legal.add(TWO, IN_FLIGHT);
        legal.add(THREE, IN_FLIGHT);
        legal.remove(TWO);
        legal.remove(THREE);
        assert!(legal.allows(ONE) && legal.allows(TWO) && !legal.allows(THREE));
    }
}
