//! Which of the stores that hang in the balance survive: the choice, by name or by seed.

use fastrand::Rng;
use pinfold_region::Durability;

use crate::pages::{LINE, PAGE};

/// What survives of the stores that are not known to be durable. The same choice of the same cut is the same image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: the medium as the last flushes left it.
    Nothing,
    /// Everything: the memory as it was.
    Everything,
    /// Only what differs in memory from the cut before this one (of the same medium). If there was none, everything.
    Newest,
    /// All but that.
    Older,
    /// One page or line, drawn by the seed.
    One(u64),
    /// All but one page or line, drawn by the seed.
    AllBut(u64),
    /// Each for itself, drawn by the seed. How likely each is to be kept is drawn too, and whether the parts of a page
    /// stay together; so is which version is kept of a line that was handed over and stored to again.
    Mix(u64),
}

impl Keep {
    /// Without end: the four that need no seed, then `One`, `AllBut` and `Mix` of `seed`, of the next seed, and so on.
    pub fn various(seed: u64) -> impl Iterator<Item = Self> {
        let by_seed = (0..).map(move |step| seed.wrapping_add(step));
        let drawn = by_seed.flat_map(|seed| [Self::One(seed), Self::AllBut(seed), Self::Mix(seed)]);
        [Self::Nothing, Self::Everything, Self::Newest, Self::Older].into_iter().chain(drawn)
    }
}

/// The smallest piece that is kept or lost as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grain {
    /// 8 bytes: what a processor stores in one go.
    Word,
    /// 64 bytes: what it moves to persistent memory in one go.
    Line,
    /// 512 bytes: what a disk promises to write as a whole.
    Sector,
    /// 4096 bytes: what the page cache writes.
    Page,
}

impl Grain {
    /// Its length.
    pub fn bytes(self) -> usize {
        match self {
            Self::Word => 8,
            Self::Line => LINE,
            Self::Sector => 512,
            Self::Page => PAGE,
        }
    }

    /// What comes to the medium as a whole, unless it is torn.
    pub(crate) fn of(durability: Durability) -> Self {
        if durability == Durability::PageCache { Self::Page } else { Self::Line }
    }
}

/// The bytes that a piece may have after the power failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Those on the medium.
    Durable,
    /// Those that were handed over at some time, by number.
    Handed(usize),
    /// Those in memory.
    Memory,
}

/// Chooses piece after piece, in the order of their addresses.
pub(crate) struct Chooser {
    keep: Keep,
    rng: Rng,
    /// Of 64 pieces, how many are kept.
    odds: u8,
    /// What becomes of the page as a whole, if it is not taken apart.
    page: Option<bool>,
    /// How many pieces come before the one that is drawn.
    before_drawn: u64,
}

impl Chooser {
    /// For a cut at boundary `number`. `pieces` counts those at risk, if that has to be known.
    pub(crate) fn new(keep: Keep, number: u64, pieces: impl FnOnce() -> u64) -> Self {
        let (Keep::One(seed) | Keep::AllBut(seed) | Keep::Mix(seed)) = keep else {
            return Self { keep, rng: Rng::with_seed(0), odds: 0, page: None, before_drawn: 0 };
        };
        // An odd factor, so that one seed chooses differently at each boundary.
        let mut rng = Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let odds = [2, 8, 16, 32, 32, 48, 56, 62][rng.usize(..8)];
        let before_drawn = if matches!(keep, Keep::Mix(_)) { 0 } else { rng.u64(..pieces().max(1)) };
        Self { keep, rng, odds, page: None, before_drawn }
    }

    /// The pieces that follow are of another page.
    pub(crate) fn turn_page(&mut self) {
        self.page = (self.rng.u8(..3) > 0).then(|| self.draw());
    }

    /// What becomes of the next piece. It is `new` if it changed since the last cut; `handed` counts its versions
    /// between the medium's and the memory's.
    pub(crate) fn choose(&mut self, new: bool, handed: usize) -> Version {
        let kept = match self.keep {
            Keep::Nothing => false,
            Keep::Everything => true,
            Keep::Newest => new,
            Keep::Older => !new,
            Keep::One(_) => self.is_drawn(),
            Keep::AllBut(_) => !self.is_drawn(),
            Keep::Mix(_) => return self.mix(handed),
        };
        if kept { Version::Memory } else { Version::Durable }
    }

    fn mix(&mut self, handed: usize) -> Version {
        if !self.page.unwrap_or_else(|| self.draw()) {
            return Version::Durable;
        }
        match self.rng.usize(..=handed) {
            0 => Version::Memory,
            version => Version::Handed(version - 1),
        }
    }

    fn draw(&mut self) -> bool {
        self.rng.u8(..64) < self.odds
    }

    fn is_drawn(&mut self) -> bool {
        let is_drawn = self.before_drawn == 0;
        self.before_drawn = self.before_drawn.wrapping_sub(1);
        is_drawn
    }
}
