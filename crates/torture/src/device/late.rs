//! A device that completes late, for machines without a real one: it moves the bytes at the end, a while after it was asked.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pinfold::Pinned;
use pinfold_dma::late::{LateDevice, LateOptions, LateRequest, Pace};

use super::completions::Completions;
use super::{Arrived, Device, Then, Way};
use crate::lock::lock;
use crate::sectors::SECTOR;
use crate::stamp::Stamp;

/// When transfers end, after they were submitted.
const TIMES: Range<Duration> = Duration::from_micros(20)..Duration::from_micros(600);

pub(crate) struct Late {
    /// Before `device`: it waits for what is in flight.
    completions: Completions,
    device: LateDevice,
}

impl Late {
    pub(crate) fn start() -> io::Result<Self> {
        let device = LateOptions::new().pace(Pace::After(TIMES)).start()?;
        Ok(Self { completions: Completions::start()?, device })
    }
}

impl Device for Late {
    fn start(&self, way: Way, pinned: Pinned, then: Then) {
        let out: Arc<Mutex<Vec<u8>>> = Arc::default();
        let request = match way {
            Way::In(first) => LateRequest::fill(stamps(first, pinned.len())),
            Way::Out => LateRequest::drain(&out),
        };
        let arrived = move || match way {
            Way::In(_) => Arrived::Nothing,
            Way::Out => Arrived::InMemory(std::mem::take(&mut *lock(&out))),
        };
        match self.device.submit(request, pinned) {
            Err(refused) => then(Err(refused.error.to_string())),
            Ok(in_flight) => self.completions.of(
                in_flight,
                Box::new(move |ended| {
                    let whole = ended.map_err(|e| e.to_string()).and_then(|c| c.whole().map_err(|e| e.to_string()));
                    then(whole.map(|pinned| (pinned, arrived())));
                }),
            ),
        }
    }

    fn granule(&self) -> u64 {
        SECTOR
    }

    fn name(&self) -> &str {
        self.device.name()
    }

    fn describe(&self) -> String {
        let Range { start, end } = TIMES;
        format!("a test device that completes {} to {} µs late", start.as_micros(), end.as_micros())
    }

    /// Its thread is one of this process's, so what it does not end hangs.
    fn is_at_work(&self) -> bool {
        false
    }

    fn explain(&self) -> String {
        format!("{} transfers are in the device", self.device.in_flight())
    }
}

fn stamps(first: Stamp, len: u64) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    for (step, sector) in bytes.chunks_exact_mut(SECTOR as usize).enumerate() {
        Stamp { sector: first.sector + step as u16, ..first }.word().fill(sector);
    }
    bytes
}
