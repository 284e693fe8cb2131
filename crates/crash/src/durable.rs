//! What the medium holds, and what is on the way to it.
//!
//! Stays true  D1: `pages` is what survives a loss of power for certain.
//!             D2: a line's handed versions are in the order in which they were handed over, and all are younger than
//!                 what `pages` holds: a drain never brings back an older one.
//!             D3: what is given up is not written by a flush until it has changed.
//! Who calls   the medium, under its state lock.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::thread::ThreadId;

use pinfold_region::Durability;

use crate::cut::Cut;
use crate::keep::{Grain, Version};
use crate::memory::Memory;
use crate::pages::{LINE, LINES, Line, PAGE, Page, Pages};

pub(crate) struct Durable {
    durability: Durability,
    pub(crate) pages: Pages,
    /// By number of the line: what was handed over and not drained yet, and by whom.
    handed: BTreeMap<u64, Vec<(ThreadId, Line)>>,
    /// By offset of the page or line: the bytes that a call failed to write.
    given_up: BTreeMap<u64, Box<[u8]>>,
}

/// A page whose bytes on the medium hang in the balance.
pub(crate) struct AtRisk {
    pub(crate) index: usize,
    /// Its bytes in memory.
    pub(crate) memory: Arc<Page>,
    /// Its bytes in memory at the cut before; without one, those on the medium.
    pub(crate) before: Arc<Page>,
    /// By number of the line in the page: other bytes that were handed over, oldest first.
    pub(crate) handed: Vec<(usize, Vec<Line>)>,
}

impl Durable {
    pub(crate) fn new(durability: Durability, pages: Pages) -> Self {
        Self { durability, pages, handed: BTreeMap::new(), given_up: BTreeMap::new() }
    }

    /// What is kept or lost as a whole here.
    pub(crate) fn grain(&self) -> Grain {
        Grain::of(self.durability)
    }

    /// Does what `write_back` promises.
    pub(crate) fn write_back(&mut self, memory: &Memory, bytes: Range<u64>, by: ThreadId) -> io::Result<()> {
        let durability = self.durability;
        memory.each_unit(bytes, self.grain().bytes(), |offset, unit| {
            if self.is_given_up(offset, unit) {
                return;
            }
            match durability {
                Durability::PageCache => self.write(offset, unit),
                Durability::CacheLines(_) => self.hand_over(offset, unit, by),
                _ => {}
            }
        })
    }

    /// Does what `drain` promises to the thread `by`.
    pub(crate) fn drain(&mut self, by: ThreadId) {
        for (line, bytes) in self.take_handed(by) {
            self.write(line * LINE as u64, &bytes);
        }
    }

    /// Gives up what a failed `write_back` should have written.
    pub(crate) fn give_up(&mut self, memory: &Memory, bytes: Range<u64>) -> io::Result<()> {
        memory.each_unit(bytes, self.grain().bytes(), |offset, unit| {
            if self.at(offset, unit.len()) != unit {
                self.given_up.insert(offset, unit.into());
            }
        })
    }

    /// Gives up what a failed `drain` of the thread `by` should have waited for.
    pub(crate) fn give_up_handed(&mut self, by: ThreadId) {
        for (line, bytes) in self.take_handed(by) {
            self.given_up.insert(line * LINE as u64, bytes.into());
        }
    }

    /// The pages that hang in the balance, in order. `last` is an earlier cut.
    pub(crate) fn at_risk(&self, memory: &Memory, last: Option<&Cut>) -> io::Result<Vec<AtRisk>> {
        let mut at_risk = Vec::new();
        memory.each_page(
            |index| self.pages.has(index) || self.handed_in(index).next().is_some(),
            |index, page| {
                let handed = self.other_versions(index, page);
                if page != self.pages.get(index) || !handed.is_empty() {
                    let before = last.map_or_else(|| self.pages.share(index), |cut| cut.memory_of(index));
                    let memory = if *before == *page { Arc::clone(&before) } else { Arc::new(*page) };
                    at_risk.push(AtRisk { index, memory, before, handed });
                }
            },
        )?;
        Ok(at_risk)
    }

    /// Lets `bytes` at `offset`, a whole line or page, reach the medium by themselves; `version` says which they are.
    pub(crate) fn evict(&mut self, offset: u64, bytes: &[u8], version: Version) {
        if self.is_given_up(offset, bytes) {
            return;
        }
        self.write(offset, bytes);
        // By D2 what is older than what was written must go.
        for line in (offset..offset + bytes.len() as u64).step_by(LINE).map(|at| at / LINE as u64) {
            if version == Version::Memory {
                self.handed.remove(&line);
            } else if let Some(versions) = self.handed.get_mut(&line) {
                let written = versions.iter().rposition(|(_, handed)| handed == bytes);
                versions.drain(..written.map_or(0, |at| at + 1));
            }
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let (index, offset) = place(offset);
        if self.pages.get(index)[offset..offset + bytes.len()] != *bytes {
            self.pages.write(index, offset, bytes);
        }
    }

    fn hand_over(&mut self, offset: u64, bytes: &[u8], by: ThreadId) {
        let Ok(bytes) = Line::try_from(bytes) else { return };
        let line = offset / LINE as u64;
        let is_clean = self.at(offset, LINE) == bytes;
        match self.handed.get_mut(&line) {
            None if is_clean => {}
            Some(versions) if versions.last() == Some(&(by, bytes)) => {}
            Some(versions) => versions.push((by, bytes)),
            None => _ = self.handed.insert(line, vec![(by, bytes)]),
        }
    }

    /// Takes out, of each line, what the thread handed over last, and with it all that is older.
    fn take_handed(&mut self, by: ThreadId) -> Vec<(u64, Line)> {
        let mut taken = Vec::new();
        self.handed.retain(|line, versions| {
            if let Some(last) = versions.iter().rposition(|(thread, _)| *thread == by) {
                taken.push((*line, versions[last].1));
                versions.drain(..=last);
            }
            !versions.is_empty()
        });
        taken
    }

    /// Whether a call failed to write these bytes, and they have not changed since.
    fn is_given_up(&mut self, offset: u64, bytes: &[u8]) -> bool {
        match self.given_up.get(&offset) {
            Some(lost) if **lost == *bytes => true,
            Some(_) => {
                self.given_up.remove(&offset);
                false
            }
            None => false,
        }
    }

    fn handed_in(&self, index: usize) -> impl Iterator<Item = (&u64, &Vec<(ThreadId, Line)>)> {
        self.handed.range((index * LINES) as u64..((index + 1) * LINES) as u64)
    }

    /// What was handed over of page `index` and is neither on the medium nor in memory any more.
    fn other_versions(&self, index: usize, memory: &Page) -> Vec<(usize, Vec<Line>)> {
        let durable = self.pages.get(index);
        let of_line = |(line, versions): (&u64, &Vec<(ThreadId, Line)>)| {
            let line = *line as usize % LINES;
            let at = line * LINE..(line + 1) * LINE;
            let is_other = |bytes: &Line| durable[at.clone()] != *bytes && memory[at.clone()] != *bytes;
            let others: Vec<_> = versions.iter().map(|(_, bytes)| *bytes).filter(is_other).collect();
            (!others.is_empty()).then_some((line, others))
        };
        self.handed_in(index).filter_map(of_line).collect()
    }

    fn at(&self, offset: u64, len: usize) -> &[u8] {
        let (index, offset) = place(offset);
        &self.pages.get(index)[offset..offset + len]
    }
}

/// The page of an offset, and where in the page it is.
pub(crate) fn place(offset: u64) -> (usize, usize) {
    (offset as usize / PAGE, offset as usize % PAGE)
}
