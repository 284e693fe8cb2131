//! The layout word: how many breaks run on a file, and its generation.
//!
//! 16 bits of running breaks on top, 48 of generation below. The generation grows when a break begins, closes,
//! commits and ends, so the low half, which is what a futex can watch, is pure generation: whoever sleeps on it is
//! never left asleep by a change of the count alone.

/// Bits of the generation.
pub(crate) const GENERATION_BITS: u32 = 48;
const GENERATION_MASK: u64 = (1 << GENERATION_BITS) - 1;

/// How many breaks may run on one file at a time.
pub(crate) const BREAKS_MAX: u64 = u16::MAX as u64;

/// One value of a layout word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LayoutWord(pub(crate) u64);

impl LayoutWord {
    #[inline]
    pub(crate) fn generation(self) -> u64 {
        self.0 & GENERATION_MASK
    }

    #[inline]
    pub(crate) fn breaks(self) -> u64 {
        self.0 >> GENERATION_BITS
    }

    /// What a futex compares.
    #[inline]
    pub(crate) fn futex_value(self) -> u32 {
        self.0 as u32
    }

    /// One break more.
    pub(crate) fn begun(self) -> Self {
        debug_assert!(self.breaks() < BREAKS_MAX);
        Self((1 << GENERATION_BITS) + self.0).stepped()
    }

    /// The same breaks, the next generation: a break closes, opens again, or commits.
    ///
    /// 48 bits last for nine years at a million steps a second; running out is an assertion.
    pub(crate) fn stepped(self) -> Self {
        assert!(self.generation() < GENERATION_MASK, "the generations of a file are used up");
        Self(self.0 + 1)
    }

    /// One break less.
    pub(crate) fn ended(self) -> Self {
        debug_assert!(self.breaks() > 0);
        Self(self.0 - (1 << GENERATION_BITS)).stepped()
    }

    /// No break, at `generation`.
    pub(crate) fn quiet(generation: u64) -> Self {
        Self(generation & GENERATION_MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_futex_half_changes_at_every_step() {
        let quiet = LayoutWord::quiet(u64::from(u32::MAX));
        let begun = quiet.begun();
        let closed = begun.stepped();
        let ended = closed.ended();
        assert_eq!((begun.breaks(), ended.breaks()), (1, 0));
        assert_eq!(ended.generation(), quiet.generation() + 3);
        assert_ne!(quiet.futex_value(), begun.futex_value());
        assert_ne!(begun.futex_value(), closed.futex_value());
        assert_ne!(closed.futex_value(), ended.futex_value());
    }
}
