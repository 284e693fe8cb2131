//! What is compared after each step, and what must be there at the end.

use std::collections::{BTreeMap, BTreeSet};

use pinfold::{File, FileId, Place, Stats};

use super::{Held, InStep};
use crate::model::{BlockId, ModelPin};
use crate::steps::{ENGINES, NAMES, Step};

/// How many blocks from the start of a file are read after each step. Beyond, only those that are there and their
/// neighbours.
const READ_BLOCKS: u64 = 28;

impl InStep {
    pub(super) fn check(&mut self) {
        self.check_stats();
        self.check_pins();
        self.check_views();
        self.check_parked();
        let mut handles: Vec<File> = self.handles.clone();
        handles.sort_by_key(File::id);
        handles.dedup_by_key(|file| file.id());
        for file in handles {
            self.check_file(&file);
        }
    }

    /// S1: every block is free, in a file, parked, or in quarantine.
    fn check_stats(&self) {
        let model = &self.model;
        let bytes = |blocks: u64| blocks * model.block;
        let (parked, quarantined) = model.parked();
        let stats = self.pool.stats();
        let expected = Stats {
            block_size: model.block,
            total: bytes(model.total),
            free: bytes(model.free()),
            longest_free: stats.longest_free,
            in_files: bytes(model.in_files()),
            parked: bytes(parked),
            quarantined: bytes(quarantined),
            not_durable: 0,
            // The root and one more directory.
            nodes: model.files.len() as u64 + 2,
            pins: model.pins.len() as u64,
        };
        assert_eq!(stats, expected);
        assert!(stats.longest_free <= stats.free && (stats.longest_free > 0) == (stats.free > 0), "{stats:?}");
        assert_eq!(stats.total, stats.free + stats.in_files + stats.parked + stats.quarantined);
        assert_eq!(self.pool.breaks().len(), usize::from(self.waiting.is_some()), "operations that run");
    }

    /// G7: every pin is listed as what it is.
    fn check_pins(&self) {
        let mut reports = self.pool.pins();
        for pin in &self.model.pins {
            let at = reports.iter().position(|report| report.pin.id == pin.id);
            let report = reports.swap_remove(at.unwrap_or_else(|| panic!("{pin:?} is not listed")));
            let of_pin = (pin.file, pin.range.clone(), pin.facts.access, pin.facts.long_term, pin.transfer.is_none());
            let info = &report.pin;
            let listed = (report.file, info.range.clone(), info.access, info.long_term, info.quarantine.is_some());
            assert_eq!(listed, of_pin);
            assert_eq!(info.engine, pin.facts.engine.map_or("", |engine| ENGINES[engine]));
        }
        assert!(reports.is_empty(), "nobody holds {reports:?}");
    }

    /// G1: whoever reaches a block reaches its bytes, wherever it went.
    fn check_views(&self) {
        for transfer in &self.transfers {
            let Held::Short(pinned) = &transfer.held else { continue };
            let model = self.model.view(transfer.number);
            let mut view = vec![0; pinned.len() as usize];
            pinned.copy_out(0, &mut view).unwrap();
            assert!(view == model, "{pinned:?} sees other bytes than the model");
        }
        let by_address = |pin: &&ModelPin| pin.transfer.is_none() || pin.facts.long_term;
        for pin in self.model.pins.iter().filter(by_address).filter(|pin| !self.model.is_unsettled(pin.file)) {
            for part in &pin.parts {
                let mut bytes = vec![0; part.bytes.len()];
                self.memory_of(part).copy_out(0, &mut bytes).unwrap();
                let model = &self.model.blocks[&part.block].bytes[part.bytes.clone()];
                assert!(bytes == model, "{pin:?} reaches other bytes than the model");
            }
        }
    }

    fn check_parked(&self) {
        let reports = self.pool.parked();
        let places = reports.iter().flat_map(|report| report.place.clone().step_by(self.model.block as usize));
        let places: Vec<u64> = places.collect();
        let kept: BTreeSet<BlockId> = self.model.pins.iter().flat_map(ModelPin::keeps).collect();
        assert_eq!(places.len(), kept.len(), "blocks parked");
        let seen = kept.iter().filter_map(|block| self.model.blocks[block].place);
        for place in seen {
            assert!(places.contains(&place), "the block at {place} is not parked");
        }
    }

    fn check_file(&mut self, file: &File) {
        let id = file.id();
        let model = self.model.file(id);
        assert_eq!(file.len(), model.len, "length of {id}");
        let metadata = file.metadata();
        let allocated = model.map.len() as u64 * self.model.block;
        assert_eq!((metadata.len, metadata.allocated, metadata.links), (model.len, allocated, model.links));
        self.check_extents(file);
        self.check_bytes(file);
    }

    fn check_extents(&mut self, file: &File) {
        let block = self.model.block;
        let mut listed: BTreeMap<u64, (u64, bool)> = BTreeMap::new();
        for extent in file.extents() {
            for skip in (0..extent.len).step_by(block as usize) {
                let twice = listed.insert((extent.offset + skip) / block, (extent.place + skip, extent.written));
                assert_eq!(twice, None, "extents of {file:?} overlap");
            }
        }
        let model: Vec<(u64, BlockId)> = self.model.file(file.id()).map.iter().map(|(at, id)| (*at, *id)).collect();
        let blocks: Vec<u64> = model.iter().map(|(at, _)| *at).collect();
        assert_eq!(listed.keys().copied().collect::<Vec<_>>(), blocks, "blocks of {file:?}");
        for (at, id) in model {
            let (place, written) = listed[&at];
            assert_eq!(written, self.model.blocks[&id].written, "whether block {at} of {file:?} is written");
            self.model.saw(id, place);
        }
    }

    fn check_bytes(&self, file: &File) {
        let (block, model) = (self.model.block, self.model.file(file.id()));
        let near = READ_BLOCKS * block;
        self.compare_bytes(file, 0, near);
        let far = model.map.keys().filter(|at| **at >= READ_BLOCKS);
        for at in far {
            self.compare_bytes(file, (at - 1) * block, 3 * block);
        }
        self.compare_bytes(file, model.len.saturating_sub(block), 2 * block);
    }

    fn compare_bytes(&self, file: &File, at: u64, len: u64) {
        let model = self.model.read(file.id(), at, len);
        let mut bytes = vec![0xaa; len as usize];
        let read = file.read_at(at, &mut bytes).unwrap();
        assert_eq!(read, model.len(), "how much is read at {at} of {file:?}");
        if bytes[..read] != model {
            let first = bytes.iter().zip(&model).position(|(is, should)| is != should).unwrap_or_default();
            let (is, should) = (bytes[first], model[first]);
            panic!("byte {} of {file:?} is {is:#x}, not {should:#x}", at + first as u64);
        }
    }

    /// Every block of the pool is what the model says, in the files that nobody has open too.
    pub(super) fn look_around(&mut self) {
        let block = self.model.block;
        let mut found: BTreeMap<&str, u64> = BTreeMap::new();
        for index in 0..self.model.total {
            let place = index * block;
            let what = match self.pool.what_is_at(place + index % block) {
                Place::File { file, offset, .. } => {
                    self.saw_in_file(file, offset - index % block, place);
                    "in files"
                }
                Place::Parked(report) => {
                    assert!(report.place.contains(&place) && !report.pins.is_empty(), "{report:?}");
                    "parked"
                }
                Place::Free => {
                    assert_eq!(self.model.at_place(place).next(), None, "the block at {place} is not free");
                    "free"
                }
                Place::Unknown => panic!("nobody knows what is at {place}"),
            };
            *found.entry(what).or_default() += 1;
        }
        let (parked, quarantined) = self.model.parked();
        let expected =
            [("free", self.model.free()), ("in files", self.model.in_files()), ("parked", parked + quarantined)];
        assert_eq!(found, expected.into_iter().filter(|(_, blocks)| *blocks > 0).collect());
        assert!(matches!(self.pool.what_is_at(self.model.total * block), Place::Unknown), "past the end");
    }

    fn saw_in_file(&mut self, file: FileId, offset: u64, place: u64) {
        let model =
            self.model.files.get(&file).unwrap_or_else(|| panic!("{file} is gone, and has the block at {place}"));
        let block = model.map.get(&(offset / self.model.block));
        let block = *block.unwrap_or_else(|| panic!("{file} has a block at {offset}, which is a hole"));
        self.model.saw(block, place);
    }

    /// Everybody leaves, everything is unlinked: then all of it is free.
    pub(super) fn end(mut self) {
        self.look_around();
        self.withdraw();
        while !self.transfers.is_empty() {
            self.unpin(0);
        }
        self.prove(None);
        while !self.given_up.is_empty() {
            self.complete_late(0);
        }
        self.check();
        while !self.reservations.is_empty() {
            self.drop_reservation(0);
        }
        while !self.redeemed.is_empty() {
            self.drop_redeemed(0);
        }
        while !self.handles.is_empty() {
            self.close(0);
        }
        // Files that were closed are still what they were.
        for name in NAMES.into_iter().filter(|name| self.model.names.contains_key(name)).collect::<Vec<_>>() {
            self.take(Step::Open { name, or_create: false });
            self.check();
            self.close(0);
            self.unlink(name);
        }
        self.check();
        assert_eq!((self.pool.pins(), self.pool.quarantine()), (Vec::new(), Vec::new()));
        let stats = self.pool.stats();
        assert_eq!(
            (stats.free, stats.longest_free),
            (stats.total, stats.total),
            "everything came back, and in one piece"
        );
    }
}
