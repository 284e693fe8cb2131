//! What owner and guest say to each other.

use std::ops::Range;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::source::{Piece, SECTOR, Source};
use crate::status::CannotRun;

/// What the guest is told to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Order {
    /// The layout of the file, as its token names it.
    pub(crate) object: u64,
    pub(crate) cell: u32,
    /// Which blocks of the file to pin.
    pub(crate) blocks: Range<u64>,
    /// Bytes of the pool's region.
    pub(crate) region: u64,
    /// How often to fill the blocks.
    pub(crate) rounds: u64,
    pub(crate) engine: Engine,
}

/// Through what the guest's pins move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Engine {
    /// A ring of the guest's own, with its lock in this directory.
    RingWithLockIn(PathBuf),
    /// A device of the owner's, of this name, which writes on the guest's behalf.
    Owners(String),
}

impl Engine {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::RingWithLockIn(_) => "",
            Self::Owners(name) => name,
        }
    }
}

impl Order {
    pub(crate) fn to_text(&self) -> Result<String, CannotRun> {
        let engine = match &self.engine {
            Engine::RingWithLockIn(dir) => {
                let dir = dir.to_str().ok_or_else(|| CannotRun(format!("{} is no text", dir.display())))?;
                json!({ "lock_dir": dir })
            }
            Engine::Owners(name) => json!({ "name": name }),
        };
        let Self { object, cell, blocks, region, rounds, .. } = self;
        Ok(json!([object, cell, blocks.start, blocks.end, region, rounds, engine]).to_string())
    }

    pub(crate) fn of_text(text: &str) -> Result<Self, CannotRun> {
        let order: Value = serde_json::from_str(text)?;
        let number = |index: usize| order[index].as_u64().ok_or_else(not_understood);
        let engine = match (order[6]["lock_dir"].as_str(), order[6]["name"].as_str()) {
            (Some(dir), _) => Engine::RingWithLockIn(dir.into()),
            (None, Some(name)) => Engine::Owners(name.to_owned()),
            (None, None) => return Err(not_understood()),
        };
        Ok(Self {
            object: number(0)?,
            cell: number(1)? as u32,
            blocks: number(2)?..number(3)?,
            region: number(4)?,
            rounds: number(5)?,
            engine,
        })
    }

    /// What to read in one of the rounds: each time the blocks get other bytes, so that every transfer leaves a trace.
    pub(crate) fn pieces(&self, source: &Source, round: u64) -> Vec<Piece> {
        source.pieces(round * SECTOR, 0, (self.blocks.end - self.blocks.start) * SECTOR)
    }

    /// At least as many places as its transfers need, as far as a queue has them.
    pub(crate) fn transfers(&self, source: &Source) -> u32 {
        let pieces = self.rounds * self.pieces(source, 1).len() as u64;
        pieces.clamp(1, 8192) as u32
    }
}

fn not_understood() -> CannotRun {
    CannotRun("a message of the other process makes no sense".to_owned())
}

/// Why the guest does nothing.
pub(crate) fn refusal(why: &CannotRun) -> String {
    format!("{REFUSAL}{why}")
}

/// How many transfers the guest says it has in flight.
pub(crate) fn count_of_text(text: &str) -> Result<u64, CannotRun> {
    match text.strip_prefix(REFUSAL) {
        Some(why) => Err(CannotRun(format!("the second process: {why}"))),
        None => text.parse().map_err(|_| not_understood()),
    }
}

/// The guest's transfers have ended: it lets go.
pub(crate) const ENDED: &str = "ended";

const REFUSAL: &str = "cannot: ";

/// Places in the region, for the guest.
pub(crate) fn places_to_text(places: &[Range<u64>]) -> String {
    Value::from(places.iter().map(|place| json!([place.start, place.end])).collect::<Vec<_>>()).to_string()
}

pub(crate) fn places_of_text(text: &str) -> Result<Vec<Range<u64>>, CannotRun> {
    let places: Value = serde_json::from_str(text)?;
    let place = |place: &Value| Some(place[0].as_u64()?..place[1].as_u64()?);
    let places = places.as_array().ok_or_else(not_understood)?;
    places.iter().map(|one| place(one).ok_or_else(not_understood)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_what_is_heard() {
        for engine in [Engine::RingWithLockIn("/tmp/a b".into()), Engine::Owners("device 1".to_owned())] {
            let order = Order { object: 7, cell: 3, blocks: 0..16, region: 1 << 20, rounds: 8, engine };
            assert_eq!(Order::of_text(&order.to_text().unwrap()).unwrap(), order);
        }
        assert_eq!(places_of_text(&places_to_text(&[0..8, 16..24])).unwrap(), [0..8, 16..24]);
        assert!(Order::of_text("[1, 2]").is_err() && places_of_text("7").is_err() && count_of_text("x").is_err());
        assert_eq!(count_of_text("7").unwrap(), 7);
        let refused = count_of_text(&refusal(&CannotRun("no ring".to_owned()))).unwrap_err();
        assert_eq!(refused.to_string(), "the second process: no ring");
    }
}
