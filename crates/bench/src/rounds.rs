//! Rounds: subject and peer in turns, and the ratios of the two.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::report::Skipped;

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    /// Pairs of subject and peer.
    pub(crate) rounds: usize,
    /// Divides the counts within a round and the sizes of what is set up.
    shrink: usize,
}

impl Scale {
    pub(crate) const FULL: Self = Self { rounds: 201, shrink: 1 };
    pub(crate) const SMOKE: Self = Self { rounds: 3, shrink: 1000 };

    /// The same with so many rounds at most, for what takes long.
    pub(crate) fn few(self, rounds: usize) -> Self {
        Self { rounds: self.rounds.min(rounds), ..self }
    }

    /// `count`, or as much of it as this scale wants.
    pub(crate) fn of(self, count: usize) -> usize {
        (count / self.shrink).max(2)
    }
}

/// The ratios of all rounds: the subject's time divided by its peer's.
#[derive(Clone, PartialEq, Debug)]
pub struct Ratios {
    /// Smallest first. Never empty.
    sorted: Vec<f64>,
}

impl Ratios {
    /// The middle one: what the line says.
    pub fn median(&self) -> f64 {
        self.quartiles()[2]
    }

    /// The smallest, the quartiles, the largest: between the second and the fourth lie half of the rounds.
    pub fn quartiles(&self) -> [f64; 5] {
        [0, 1, 2, 3, 4].map(|quarter| self.sorted[(self.sorted.len() - 1) * quarter / 4])
    }

    /// How many rounds there were.
    pub fn rounds(&self) -> usize {
        self.sorted.len()
    }

    /// Of one round or more.
    pub(crate) fn of(mut ratios: Vec<f64>) -> Self {
        ratios.sort_by(f64::total_cmp);
        Self { sorted: ratios }
    }
}

/// Runs subject and peer in turns; each gives the time that it took. Who goes first changes from round to round.
pub(crate) fn take_turns(
    scale: Scale,
    mut subject: impl FnMut() -> Result<Duration, Skipped>,
    mut peer: impl FnMut() -> Result<Duration, Skipped>,
) -> Result<Ratios, Skipped> {
    // Warm: code, caches, and the slots of this thread.
    subject()?;
    peer()?;
    let mut ratio = |round: usize| {
        let (subject, peer) = if round.is_multiple_of(2) {
            let subject = subject()?;
            (subject, peer()?)
        } else {
            let peer = peer()?;
            (subject()?, peer)
        };
        // A clock that stood still is a nanosecond on, so that a ratio is a number.
        let seconds = |time: Duration| time.max(Duration::from_nanos(1)).as_secs_f64();
        Ok(seconds(subject) / seconds(peer))
    };
    (0..scale.rounds).map(&mut ratio).collect::<Result<_, _>>().map(Ratios::of)
}

/// The time that `count` runs take together.
pub(crate) fn time<T>(count: usize, mut run: impl FnMut() -> Result<T, Skipped>) -> Result<Duration, Skipped> {
    let begun = Instant::now();
    for _ in 0..count {
        black_box(run()?);
    }
    Ok(begun.elapsed())
}

/// The middle one of several times.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_the_subjects_time_by_its_peers() {
        let (subject, peer) = (Duration::from_micros(3), Duration::from_micros(2));
        let ratios = take_turns(Scale::SMOKE, || Ok(subject), || Ok(peer)).unwrap_or_else(|why| panic!("{}", why.0));
        assert_eq!((ratios.median(), ratios.rounds()), (1.5, 3));
    }

    #[test]
    fn who_goes_first_changes_from_round_to_round() {
        let order = std::cell::RefCell::new(String::new());
        let turn = |who| {
            order.borrow_mut().push(who);
            Ok(Duration::ZERO)
        };
        let ratios = take_turns(Scale::SMOKE, || turn('s'), || turn('p')).unwrap_or_else(|why| panic!("{}", why.0));
        assert_eq!(*order.borrow(), "spspps".to_owned() + "sp");
        assert_eq!(ratios.median(), 1.0, "a clock that stood still makes no NaN");
    }

    #[test]
    fn half_of_the_rounds_lie_between_the_quartiles() {
        let ratios = Ratios::of(vec![5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(ratios.quartiles(), [1.0, 2.0, 3.0, 4.0, 5.0]);
    }
}
