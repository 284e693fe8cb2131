//! A log of checksummed records, as small as it can be; and the same with one mistake each.
//!
//! Page 0 holds how many records count; from page 1 on they lie one after the other.

use std::thread;

use fastrand::Rng;
use pinfold_region::{FlushError, Region};

use crate::{load_u64, store};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    /// A record is not flushed.
    RecordNotFlushed,
    /// The count is written before its record.
    CountFirst,
    /// An append returns before its last fence, which comes with the next one.
    ReturnsBeforeFence,
    /// Nothing waits for the record before the count is flushed.
    OneFence,
    /// Another thread flushes the record, this one fences.
    FlushedElsewhere,
    /// A flush that failed is tried again.
    TriesAgain,
}

pub(crate) struct Log<'r> {
    region: &'r Region,
    mistake: Mistake,
    count: u64,
    end: u64,
}

const RECORDS: u64 = 4096;
const HEADER: u64 = 16;

impl<'r> Log<'r> {
    pub(crate) fn new(region: &'r Region, mistake: Mistake) -> Self {
        Self { region, mistake, count: 0, end: RECORDS }
    }

    /// Reads what survived, and goes on behind it.
    pub(crate) fn recover(region: &'r Region) -> Result<Self, String> {
        let mut log = Self::new(region, Mistake::None);
        let count = load_u64(region, 0);
        while log.count < count {
            log.end = log.check(log.count)?;
            log.count += 1;
        }
        Ok(log)
    }

    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    /// Appends the next record. Once it returns, the record is there for ever.
    pub(crate) fn append(&mut self) -> Result<(), FlushError> {
        use Mistake::{CountFirst, ReturnsBeforeFence};
        if self.mistake == ReturnsBeforeFence {
            self.region.fence()?;
        }
        let steps = if self.mistake == CountFirst { [Self::count, Self::record] } else { [Self::record, Self::count] };
        steps.iter().try_for_each(|step| step(self))?;
        self.count += 1;
        self.end += HEADER + record(self.count - 1).len() as u64;
        Ok(())
    }

    fn record(&mut self) -> Result<(), FlushError> {
        let payload = record(self.count);
        store(self.region, self.end, &(payload.len() as u64).to_le_bytes());
        store(self.region, self.end + 8, &checksum(&payload).to_le_bytes());
        store(self.region, self.end + HEADER, &payload);
        let range = self.end..self.end + HEADER + payload.len() as u64;
        match self.mistake {
            Mistake::RecordNotFlushed => {}
            Mistake::FlushedElsewhere => {
                thread::scope(|scope| scope.spawn(|| self.region.flush(range)).join().unwrap())?;
            }
            Mistake::TriesAgain => self.region.flush(range.clone()).or_else(|_| self.region.flush(range))?,
            _ => self.region.flush(range)?,
        }
        if self.mistake == Mistake::OneFence { Ok(()) } else { self.region.fence() }
    }

    fn count(&mut self) -> Result<(), FlushError> {
        store(self.region, 0, &(self.count + 1).to_le_bytes());
        self.region.flush(0..8)?;
        if self.mistake == Mistake::ReturnsBeforeFence { Ok(()) } else { self.region.fence() }
    }

    /// Checks the record at the end; returns where it ends.
    fn check(&self, number: u64) -> Result<u64, String> {
        let expected = record(number);
        let len = load_u64(self.region, self.end);
        if len != expected.len() as u64 {
            return Err(format!("record {number} is {len} bytes long"));
        }
        let mut payload = vec![0; expected.len()];
        let start = self.end + HEADER;
        self.region.bytes(start..start + len).unwrap().copy_out(0, &mut payload).unwrap();
        let is_whole = load_u64(self.region, self.end + 8) == checksum(&payload) && payload == expected;
        if is_whole { Ok(start + len) } else { Err(format!("record {number} is torn")) }
    }
}

/// What record `number` says: some words, in a few lines or in more than a page.
fn record(number: u64) -> Vec<u8> {
    let mut rng = Rng::with_seed(number);
    let words = if number % 5 == 4 { 700 } else { rng.usize(1..40) };
    (0..words).flat_map(|_| rng.u64(1..).to_le_bytes()).collect()
}

fn checksum(payload: &[u8]) -> u64 {
    payload.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
