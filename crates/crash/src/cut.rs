//! The power, cut at one instant: what was durable then, and what hung in the balance.
//!
//! Stays true  C1: a cut does not change. The region goes on, the cut is of its instant.
//!             C2: an image of it has, of each piece, bytes that the piece may have after a loss of power at that
//!                 instant: those on the medium, those in memory, or those that were handed over in between.
//! Who calls   anyone, on any thread; also long after the region is gone. No lock.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use pinfold_region::Durability;

use crate::call::Boundary;
use crate::durable::AtRisk;
use crate::image::Image;
use crate::keep::{Chooser, Grain, Keep, Version};
use crate::pages::{LINE, Line, PAGE, Page, Pages};

/// The power, cut at one instant. It costs little to keep: pages are shared with the medium, and with other cuts.
#[derive(Clone)]
pub struct Cut(Arc<Instant>);

struct Instant {
    boundary: Option<Boundary>,
    durability: Durability,
    len: u64,
    pages: Pages,
    at_risk: Vec<AtRisk>,
}

/// A piece at risk.
struct Piece<'c> {
    index: usize,
    at: Range<usize>,
    memory: &'c [u8],
    new: bool,
    handed: &'c [Line],
}

impl Cut {
    pub(crate) fn new(
        boundary: Option<Boundary>,
        durability: Durability,
        len: u64,
        pages: Pages,
        at_risk: Vec<AtRisk>,
    ) -> Self {
        Self(Arc::new(Instant { boundary, durability, len, pages, at_risk }))
    }

    /// The last boundary before the power went; none if nothing was flushed before.
    pub fn boundary(&self) -> Option<&Boundary> {
        self.0.boundary.as_ref()
    }

    /// What may be kept or lost, piece by piece, in bytes from the start of the region.
    pub fn at_risk(&self) -> Vec<Range<u64>> {
        let range = |piece: Piece<'_>| {
            let start = (piece.index * PAGE + piece.at.start) as u64;
            start..start + piece.at.len() as u64
        };
        self.pieces(self.natural()).map(range).collect()
    }

    /// What the medium holds when the power comes back. Pages, or lines on a medium of lines, are kept or lost as a whole.
    pub fn image(&self, keep: Keep) -> Image {
        self.torn(self.natural(), keep)
    }

    /// The same, torn: kept or lost in pieces of `grain`. One that is larger than what the medium writes anyway changes
    /// nothing.
    pub fn torn(&self, grain: Grain, keep: Keep) -> Image {
        let mut pages = self.0.pages.clone();
        self.choose(grain, keep, |offset, bytes, _| {
            pages.write(offset as usize / PAGE, offset as usize % PAGE, bytes);
        });
        Image::new(self.0.durability, self.0.len, pages)
    }

    /// Calls `kept` with each piece of which something else is kept than the medium has.
    pub(crate) fn choose(&self, grain: Grain, keep: Keep, mut kept: impl FnMut(u64, &[u8], Version)) {
        let grain = grain.min(self.natural());
        let number = self.boundary().map_or(0, |boundary| boundary.number);
        let mut chooser = Chooser::new(keep, number, || self.pieces(grain).count() as u64);
        let mut page = usize::MAX;
        for piece in self.pieces(grain) {
            if page != piece.index {
                page = piece.index;
                chooser.turn_page();
            }
            let version = chooser.choose(piece.new, piece.handed.len());
            if let Some(bytes) = piece.bytes(version) {
                kept((piece.index * PAGE + piece.at.start) as u64, bytes, version);
            }
        }
    }

    /// The bytes of page `index` in memory at that instant.
    pub(crate) fn memory_of(&self, index: usize) -> Arc<Page> {
        match self.0.at_risk.binary_search_by_key(&index, |risk| risk.index) {
            Ok(found) => Arc::clone(&self.0.at_risk[found].memory),
            Err(_) => self.0.pages.share(index),
        }
    }

    fn natural(&self) -> Grain {
        Grain::of(self.0.durability)
    }

    /// All pieces of `grain`, no larger than what the medium writes, that hang in the balance.
    fn pieces(&self, grain: Grain) -> impl Iterator<Item = Piece<'_>> {
        self.0.at_risk.iter().flat_map(move |risk| risk.pieces(self.0.pages.get(risk.index), grain))
    }
}

impl AtRisk {
    fn pieces<'c>(&'c self, durable: &'c Page, grain: Grain) -> impl Iterator<Item = Piece<'c>> {
        (0..PAGE).step_by(grain.bytes()).filter_map(move |start| {
            let at = start..start + grain.bytes();
            let handed = self.handed_at(start);
            let is_at_risk = self.memory[at.clone()] != durable[at.clone()] || !handed.is_empty();
            let new = self.memory[at.clone()] != self.before[at.clone()];
            is_at_risk.then(|| Piece { index: self.index, memory: &self.memory[at.clone()], new, handed, at })
        })
    }

    /// The versions handed over of the line at `start`. There are some only on a medium of lines, where a piece is a line or less.
    fn handed_at(&self, start: usize) -> &[Line] {
        match self.handed.binary_search_by_key(&(start / LINE), |(line, _)| *line) {
            Ok(found) => &self.handed[found].1,
            Err(_) => &[],
        }
    }
}

impl<'c> Piece<'c> {
    /// Its bytes in that version; none for those that the medium has anyway.
    fn bytes(&self, version: Version) -> Option<&'c [u8]> {
        match version {
            Version::Durable => None,
            Version::Memory => Some(self.memory),
            Version::Handed(number) => {
                let in_line = self.at.start % LINE;
                Some(&self.handed[number][in_line..in_line + self.at.len()])
            }
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.boundary() {
            Some(boundary) => write!(f, "power cut at {boundary}"),
            None => write!(f, "power cut before the first boundary"),
        }
    }
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cut({self}, {} pages at risk)", self.0.at_risk.len())
    }
}
