//! What brings the source in: an io_uring, or the device that stands in for it and is made of a thread.

use std::time::{Duration, Instant};

use pinfold::Pinned;
use pinfold_dma::late::{LateDevice, LateRequest};
use pinfold_dma::{Completion, InFlight, Request, Uring, UringOptions};

use super::source::{Piece, Source};
use crate::status::{CannotRun, doing};

/// Transfers that are in flight at most.
const DEPTH: u32 = 1024;

/// How long the stand-in takes for a load.
pub(crate) const STAND_IN_TAKES: Duration = Duration::from_millis(50);

/// A device that writes into pinned memory.
pub(crate) enum Device {
    Ring(Uring),
    StandIn(LateDevice),
}

impl Device {
    /// An io_uring.
    pub(crate) fn ring() -> Result<Self, CannotRun> {
        Ok(Self::Ring(UringOptions::new().depth(DEPTH).create()?))
    }

    /// A device that needs nothing of the machine.
    pub(crate) fn stand_in() -> Result<Self, CannotRun> {
        Ok(Self::StandIn(LateDevice::new().map_err(doing("cannot start a thread"))?))
    }

    /// As pins carry it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Ring(ring) => ring.name(),
            Self::StandIn(device) => device.name(),
        }
    }

    /// Starts a transfer for each piece into the memory beside it.
    pub(crate) fn start(&self, source: &Source, pieces: Vec<(Piece, Pinned)>) -> Result<Transfers<'_>, CannotRun> {
        let begun = Instant::now();
        let (pieces, pinned): (Vec<_>, Vec<_>) = pieces.into_iter().unzip();
        let started = match self {
            Self::Ring(ring) => {
                let requests = pieces.iter().map(|piece| Request::read(&source.device, piece.from));
                let submitted = ring.submit_all(requests.zip(pinned));
                submitted.into_iter().map(|one| one.map_err(|refused| CannotRun(refused.to_string()))).collect()
            }
            Self::StandIn(device) => {
                let each = pieces.iter().zip(pinned);
                each.map(|(piece, pinned)| fill(device, source, piece, pinned)).collect::<Result<Vec<_>, _>>()
            }
        };
        let flights = pieces.into_iter().zip(started?);
        let flights = flights.map(|(piece, in_flight)| Flight { piece, in_flight, ended: None }).collect();
        Ok(Transfers { device: self, begun, flights })
    }
}

fn fill(device: &LateDevice, source: &Source, piece: &Piece, pinned: Pinned) -> Result<InFlight, CannotRun> {
    let mut bytes = vec![0; piece.in_file as usize];
    source.read(piece.from, &mut bytes).map_err(doing("cannot read the source"))?;
    device.submit(LateRequest::fill(bytes), pinned).map_err(|refused| CannotRun(refused.to_string()))
}

/// Transfers that were started together.
pub(crate) struct Transfers<'d> {
    device: &'d Device,
    begun: Instant,
    flights: Vec<Flight>,
}

struct Flight {
    piece: Piece,
    in_flight: InFlight,
    ended: Option<Completion>,
}

/// When transfers ended, and how many were left then.
pub(crate) type Levels = Vec<(Instant, u64)>;

impl Transfers<'_> {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.flights.len()
    }

    /// Whether the device has not ended the last one.
    pub(crate) fn are_under_way(&mut self) -> Result<bool, CannotRun> {
        let Some(last) = self.flights.last_mut() else { return Ok(false) };
        if last.ended.is_none() {
            last.ended = last.in_flight.try_now()?;
        }
        Ok(last.ended.is_none())
    }

    /// Takes every completion, in order, and lets go of its memory. `gone` is called after each, with the moment before.
    pub(crate) fn land(self, mut gone: impl FnMut(&Piece, Instant)) -> Result<Levels, CannotRun> {
        let all = self.flights.len() as u32;
        let mut left = u64::from(all);
        let mut levels = vec![(self.begun, left)];
        for mut flight in self.flights {
            if let Device::StandIn(device) = self.device {
                std::thread::sleep(STAND_IN_TAKES / all);
                device.complete(flight.in_flight.ticket());
            }
            let Completion { pinned, result, .. } = match flight.ended.take() {
                Some(ended) => ended,
                None => flight.in_flight.wait()?,
            };
            left -= 1;
            let pinned_until = Instant::now();
            levels.push((pinned_until, left));
            drop(pinned);
            gone(&flight.piece, pinned_until);
            let Piece { from, in_file, .. } = flight.piece;
            let moved = result?;
            if moved < in_file {
                return Err(CannotRun(format!("the device read {moved} of {in_file} bytes at {from} of the source")));
            }
        }
        Ok(levels)
    }
}
