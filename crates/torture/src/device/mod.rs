//! Devices: what brings stamps into files, and takes files' bytes out, while the load goes on.
//!
//! Stays true  V1: a transfer's memory goes to the device by value, and comes back with its completion, on a thread that
//!                 does nothing else. No thread of the load is needed for that, whatever it sleeps for.

mod completions;
mod late;
mod real;
mod scratch;

use std::io;

use pinfold::Pinned;

use crate::sectors::Sectors;
use crate::stamp::{Stamp, Writer};

pub(crate) use late::Late;
pub(crate) use real::Real;
use scratch::Slot;
pub(crate) use scratch::Stamps;

/// What a device is to do with some memory, all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// Fill it with stamps, the first of them this one, the others for the sectors that follow.
    In(Stamp),
    /// Take its bytes out.
    Out,
}

/// What is done with a completion: the memory and the bytes that were taken out of it, or why it was not moved.
pub(crate) type Then = Box<dyn FnOnce(Result<(Pinned, Arrived), String>) + Send>;

/// What a device took out of a file.
pub(crate) enum Arrived {
    /// Nothing: it brought something in.
    Nothing,
    /// It lies in the scratch file.
    OnDisk(Slot),
    /// It was copied.
    InMemory(Vec<u8>),
}

/// Something that moves data into and out of pinned memory.
pub(crate) trait Device: Send + Sync {
    /// Begins a transfer, and does not wait for it.
    fn start(&self, way: Way, pinned: Pinned, then: Then);

    /// What offsets and lengths of transfers have to be multiples of, in bytes.
    fn granule(&self) -> u64;

    /// As pins carry it.
    fn name(&self) -> &str;

    /// For a person.
    fn describe(&self) -> String;

    /// Whether it has transfers that it has not ended yet, and nobody but it could. (On a machine that is busy, the kernel's
    /// own thread that ends direct writes may not run for half a minute.)
    fn is_at_work(&self) -> bool;

    /// What it has in flight, and where that is: for a person who is told that something does not end.
    fn explain(&self) -> String;
}

impl Arrived {
    /// The bytes.
    pub(crate) fn bytes(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::OnDisk(slot) => slot.read(),
            Self::InMemory(bytes) => Ok(bytes),
        }
    }
}

/// The stamps that a device brings into some sectors of a file.
pub(crate) fn first_stamp(id: u16, generation: u8, sectors: Sectors) -> Stamp {
    let sector = sectors.iter().next().unwrap_or(0) as u16;
    Stamp { writer: Writer::Device, id, sector, generation }
}
