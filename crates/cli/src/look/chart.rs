//! What each block of a pool is, for its picture.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use pinfold::{PoolInfo, Snapshot};
use pinfold_picture::{Chart, Part, PinMark, Stretch, What};
use serde_json::{Value, json};

use super::held::{self, Held, Names, Parked, Pin};
use crate::names::{self, shown};

/// What the superblocks take, in bytes; the log comes after them.
const SUPERBLOCKS: u64 = 128 << 10;

/// A pool at one moment, as its medium and whoever holds pins say.
pub(crate) fn chart(pool: &Path, snapshot: &Snapshot, held: &Held) -> Chart {
    let info = snapshot.info();
    let names = Names::of(snapshot);
    let mut drawn = Drawn { block: info.block_size, stretches: Vec::new(), pins: Vec::new() };
    drawn.own(&info);
    for (file, extents) in snapshot.all_extents() {
        let name: Arc<str> = held::file(names.get(file.number()).as_ref(), file.number()).into();
        for extent in &extents {
            let of = Part { name: Arc::clone(&name), id: file.number(), offset: extent.offset };
            let place = extent.place..extent.place + extent.len;
            drawn.add(&place, What::File { of, unwritten: !extent.written });
            let in_file = extent.offset..extent.offset + extent.len;
            let pins = held.pins.iter().filter(|pin| pin.file == file.number());
            pins.for_each(|pin| drawn.pin(pin, &in_file, extent.place));
        }
    }
    held.parked.iter().for_each(|parked| drawn.parked(parked));
    drawn.free(info.len / info.block_size);
    Chart {
        title: shown(pool),
        block_size: info.block_size,
        blocks: info.len / info.block_size,
        stretches: drawn.stretches,
        pins: drawn.pins,
    }
}

struct Drawn {
    block: u64,
    stretches: Vec<Stretch>,
    pins: Vec<PinMark>,
}

impl Drawn {
    /// What holds a range of bytes of the pool, in blocks.
    fn blocks(&self, place: &Range<u64>) -> Range<u64> {
        place.start / self.block..place.end.div_ceil(self.block)
    }

    fn add(&mut self, place: &Range<u64>, what: What) {
        let blocks = self.blocks(place);
        if !blocks.is_empty() {
            self.stretches.push(Stretch { blocks, what });
        }
    }

    /// The pool's own.
    fn own(&mut self, info: &PoolInfo) {
        match self.block > SUPERBLOCKS {
            true => self.add(&(0..info.reserved), What::Meta("superblocks and log")),
            false => {
                self.add(&(0..SUPERBLOCKS), What::Meta("superblocks"));
                self.add(&(SUPERBLOCKS..info.reserved), What::Meta("log"));
            }
        }
        info.checkpoint.iter().for_each(|place| self.add(place, What::Meta("checkpoint")));
    }

    fn parked(&mut self, parked: &Parked) {
        let was = Part {
            name: held::file(parked.path.as_ref(), parked.file).into(),
            id: parked.file,
            offset: parked.bytes.start,
        };
        let holder = parked.pins.iter().find(|pin| pin.quarantine.is_none());
        let by = |pin: Option<&Pin>| pin.map_or_else(|| "not durable yet".to_owned(), Pin::who).into();
        let what = match (holder, parked.pins.first()) {
            (None, Some(pin)) => What::Quarantined { was, by: by(Some(pin)) },
            (holder, _) => What::Parked { was, by: by(holder) },
        };
        self.add(&parked.place, what);
        parked.pins.iter().for_each(|pin| self.pin(pin, &parked.bytes, parked.place.start));
    }

    /// Marks what a pin reaches of a part of its file that lies at `place`.
    fn pin(&mut self, pin: &Pin, part: &Range<u64>, place: u64) {
        let reached = pin.bytes.start.max(part.start)..pin.bytes.end.min(part.end);
        if reached.start < reached.end {
            let place = place + (reached.start - part.start)..place + (reached.end - part.start);
            let blocks = self.blocks(&place);
            self.pins.push(PinMark { blocks, who: pin.who().into(), quarantined: pin.quarantine.is_some() });
        }
    }

    /// What nobody named.
    fn free(&mut self, blocks: u64) {
        self.stretches.sort_by_key(|stretch| stretch.blocks.start);
        let mut free = Vec::new();
        let mut at = 0;
        for Stretch { blocks, .. } in &self.stretches {
            free.push(at..blocks.start);
            at = at.max(blocks.end);
        }
        free.push(at..blocks);
        let free = free.into_iter().filter(|blocks| blocks.start < blocks.end);
        self.stretches.extend(free.map(|blocks| Stretch { blocks, what: What::Free }));
        self.stretches.sort_by_key(|stretch| stretch.blocks.start);
    }
}

/// For programs. In blocks.
pub(crate) fn to_json(pool: &Path, chart: &Chart) -> Value {
    let of =
        |what: &str, part: &Part| json!({ "what": what, "file": part.id, "name": &*part.name, "offset": part.offset });
    let stretch = |stretch: &Stretch| {
        let mut value = match &stretch.what {
            What::Meta(what) => json!({ "what": "pool", "part": what }),
            What::File { of: part, unwritten } => {
                let mut value = of("file", part);
                value["written"] = (!unwritten).into();
                value
            }
            What::Free => json!({ "what": "free" }),
            What::Parked { was, by } => {
                let mut value = of("parked", was);
                value["by"] = by.to_string().into();
                value
            }
            What::Quarantined { was, by } => {
                let mut value = of("quarantined", was);
                value["by"] = by.to_string().into();
                value
            }
            What::Unknown => json!({ "what": "unknown" }),
        };
        value["blocks"] = json!([stretch.blocks.start, stretch.blocks.end]);
        value
    };
    let pin = |pin: &PinMark| json!({ "blocks": [pin.blocks.start, pin.blocks.end], "who": &*pin.who, "quarantined": pin.quarantined });
    json!({
        "pool": names::json(pool),
        "block_size": chart.block_size,
        "blocks": chart.blocks,
        "stretches": chart.stretches.iter().map(stretch).collect::<Vec<_>>(),
        "pins": chart.pins.iter().map(pin).collect::<Vec<_>>(),
    })
}
