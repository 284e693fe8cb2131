//! Stamps: what every sector of the load says of itself.
//!
//! A sector is one word, 64 times: whose it is (a file's number), where in the file it was meant for, which generation
//! of that file's transfers wrote it, and a check. So a sector that is half written can be read too, word by word, and
//! bytes from anywhere else are no stamp. The word 0 is what nobody wrote.
//!
//! Stays true  T1: no two writes that can be told apart have the same word: a generation is used again only when
//!                 [`Ids`] has given out all others of its file, and never while it is in flight.
//!             T2: words are eight bytes, aligned: no machine that pinfold runs on moves a part of one.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use crate::lock::lock;
use crate::sectors::SECTOR;

/// What one sector says of itself, as the number that fills it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Word(pub(crate) u64);

/// Who wrote a sector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Writer {
    /// A device, out of the scratch file.
    Device,
    /// The host, by a copy.
    Host,
}

/// What a word means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    pub(crate) writer: Writer,
    /// The file's number.
    pub(crate) id: u16,
    /// For which sector of the file it was meant.
    pub(crate) sector: u16,
    pub(crate) generation: u8,
}

const DEVICE: u64 = 0xd1;
const HOST: u64 = 0x40;

impl Word {
    /// What nobody wrote.
    pub(crate) const ZERO: Self = Self(0);

    /// What the word means; `None` if it is no stamp.
    pub(crate) fn stamp(self) -> Option<Stamp> {
        let body = self.0 >> 16;
        let writer = match body >> 40 {
            DEVICE => Writer::Device,
            HOST => Writer::Host,
            _ => return None,
        };
        let stamp = Stamp { writer, id: (body >> 24) as u16, sector: (body >> 8) as u16, generation: body as u8 };
        (stamp.word() == self).then_some(stamp)
    }

    /// The words of some bytes, in order.
    pub(crate) fn all_in(bytes: &[u8]) -> impl Iterator<Item = Self> + '_ {
        bytes.as_chunks::<8>().0.iter().map(|word| Self(u64::from_le_bytes(*word)))
    }

    /// Fills sectors with the word.
    pub(crate) fn fill(self, bytes: &mut [u8]) {
        bytes.as_chunks_mut::<8>().0.iter_mut().for_each(|word| *word = self.0.to_le_bytes());
    }
}

impl Stamp {
    pub(crate) fn word(self) -> Word {
        let writer = match self.writer {
            Writer::Device => DEVICE,
            Writer::Host => HOST,
        };
        let body = writer << 40 | u64::from(self.id) << 24 | u64::from(self.sector) << 8 | u64::from(self.generation);
        Word(body << 16 | body.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.stamp()) {
            (0, _) => write!(f, "zeros"),
            (_, None) => write!(f, "{:#018x}, which is no stamp", self.0),
            (_, Some(Stamp { writer, id, sector, generation })) => {
                let by = if writer == Writer::Device { "a device" } else { "the host" };
                write!(f, "file {id} offset {} generation {generation} by {by}", u64::from(sector) * SECTOR)
            }
        }
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The numbers of files, and the generations of each. A number that came back is given out again as late as possible.
pub(crate) struct Ids {
    free: Mutex<VecDeque<u16>>,
    of: Box<[Mutex<Generations>]>,
    /// How many generations the scratch file has.
    generations: u8,
}

#[derive(Default)]
struct Generations {
    device: u8,
    host: u8,
    in_flight: Vec<u8>,
}

/// A file's number: its own while this lives.
pub(crate) struct Id {
    ids: Arc<Ids>,
    number: u16,
}

impl Ids {
    pub(crate) fn new(ids: u16, generations: u8) -> Arc<Self> {
        let of = (0..ids).map(|_| Mutex::default()).collect();
        Arc::new(Self { free: Mutex::new((0..ids).collect()), of, generations })
    }

    /// A number that no other file has. `None` if all are taken.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Id> {
        let number = lock(&self.free).pop_front()?;
        Some(Id { ids: Arc::clone(self), number })
    }
}

impl Id {
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    fn generations(&self) -> &Mutex<Generations> {
        &self.ids.of[usize::from(self.number)]
    }

    /// The generation of a device's next write. `None` while all are in flight.
    pub(crate) fn device_generation(&self) -> Option<u8> {
        let mut of = lock(self.generations());
        let all = self.ids.generations;
        let next = (0..all).map(|step| (of.device + step) % all).find(|next| !of.in_flight.contains(next))?;
        of.device = (next + 1) % all;
        of.in_flight.push(next);
        Some(next)
    }

    /// The device's write of that generation is over.
    pub(crate) fn device_is_done(&self, generation: u8) {
        lock(self.generations()).in_flight.retain(|other| *other != generation);
    }

    /// The generation of the host's next write.
    pub(crate) fn host_generation(&self) -> u8 {
        let mut of = lock(self.generations());
        of.host = of.host.wrapping_add(1);
        of.host
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        lock(&self.ids.free).push_back(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_says_what_was_stamped() {
        for writer in [Writer::Device, Writer::Host] {
            let stamp = Stamp { writer, id: 0xabc, sector: 127, generation: 9 };
            assert_eq!(stamp.word().stamp(), Some(stamp));
            assert_eq!(Word(stamp.word().0 ^ 1 << 40).stamp(), None, "a bit that flipped is seen");
        }
        assert_eq!(Word::ZERO.stamp(), None);
    }

    #[test]
    fn a_generation_in_flight_is_not_given_out_again() {
        let ids = Ids::new(1, 3);
        let id = ids.take().unwrap();
        assert!(ids.take().is_none());
        assert_eq!([(); 4].map(|()| id.device_generation()), [Some(0), Some(1), Some(2), None]);
        id.device_is_done(1);
        assert_eq!(id.device_generation(), Some(1));
        drop(id);
        assert!(ids.take().is_some());
    }
}
