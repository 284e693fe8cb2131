//! Memory that engines accept and nobody guards: what stores are made of that free without looking.
//!
//! Engines take pins. So there is a pool with one file that is all of the memory: a pin of a range of it gives a device
//! the addresses, and protects nothing, since nothing is ever taken out of that file.

use std::ops::Range;

use pinfold::{Access, File, Pinned, Pool, Region};

use super::Refused;
use crate::error::TortureError;
use crate::sectors::BLOCK;

pub(crate) struct Unguarded {
    pool: Pool,
    file: File,
}

impl Unguarded {
    /// On a new memfd of `len` bytes.
    pub(crate) fn new(len: u64) -> Result<Self, TortureError> {
        Self::on(Region::memfd(len)?)
    }

    /// All of a region, whose bytes are zeroed.
    pub(crate) fn on(region: Region) -> Result<Self, TortureError> {
        let failed = |error: &dyn std::error::Error| TortureError::Beginning(error.to_string());
        let pool = Pool::new(region)?;
        let len = pool.region().len() / BLOCK * BLOCK;
        let file = pool.create("memory").map_err(|error| failed(&error))?;
        file.truncate(len).wait().map_err(|error| failed(&error))?;
        // A pin puts memory under all of it, in one run.
        drop(file.pin(0..len, Access::Write).wait().map_err(|error| failed(&error))?);
        Ok(Self { pool, file })
    }

    pub(crate) fn pins(&self) -> u64 {
        self.pool.stats().pins
    }

    /// The addresses of some ranges of the memory, as one transfer.
    pub(crate) fn addresses(&self, places: &[Range<u64>], access: Access) -> Result<Pinned, Refused> {
        let other = |error: &dyn std::error::Error| Refused::Other(error.to_string());
        let mut pins = places.iter().map(|place| self.file.pin(place.clone(), access));
        let first = pins.next().ok_or(Refused::PastEnd)?;
        pins.fold(first, |all, more| all.and(more)).wait().map_err(|error| other(&error))
    }

    /// More of them for the same transfer.
    pub(crate) fn extend(&self, pinned: &mut Pinned, places: &[Range<u64>], access: Access) -> Result<(), Refused> {
        for place in places {
            let extended = pinned.extend(&self.file, place.clone(), access);
            extended.map_err(|error| Refused::Other(error.to_string()))?;
        }
        Ok(())
    }

    pub(crate) fn read(&self, place: u64, to: &mut [u8]) -> Result<(), Refused> {
        self.file.read_at(place, to).map(drop).map_err(|error| Refused::Other(error.to_string()))
    }

    /// Writes into places, one after the other: as many bytes as they have together.
    pub(crate) fn write_all(&self, places: impl IntoIterator<Item = Range<u64>>, from: &[u8]) -> Result<(), Refused> {
        let mut rest = from;
        for place in places {
            let (now, later) = rest.split_at((place.end - place.start) as usize);
            self.write(place.start, now)?;
            rest = later;
        }
        Ok(())
    }

    pub(crate) fn write(&self, place: u64, from: &[u8]) -> Result<(), Refused> {
        self.file.write_at(place, from).map_err(|error| Refused::Other(error.to_string()))
    }
}
