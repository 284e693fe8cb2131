//! Copies by the host, and blocks set aside.

use std::sync::Arc;

use super::Worker;
use crate::sectors::{FILE_BYTES, SECTOR, Sectors};
use crate::stamp::{Stamp, Writer};
use crate::store::{Refused, Store};

impl<S: Store> Worker<S> {
    /// Looks at a range of a file, past its end too.
    pub(super) fn copy_out(&mut self) {
        let Some(known) = self.any_file() else { return };
        let Some(range) = self.any_range(FILE_BYTES, SECTOR) else { return };
        let ticket = known.log.copy_out_begins(Sectors::of(range.clone()));
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let copied = {
            let _call = Self::call(&self.load, self.number, "a copy out", &known);
            self.load.store.read_at(&known.file, range.start, &mut bytes)
        };
        self.load.tally.copies.add(1);
        match copied {
            Ok(len) => {
                bytes.truncate(len);
                known.log.copy_out_ends(ticket, bytes);
            }
            Err(error) => {
                known.log.refused(ticket);
                self.load.unexplained("a copy out", &error);
            }
        }
    }

    /// Writes a range of a file, which stays as long as it is.
    pub(super) fn copy_in(&mut self) {
        let Some(known) = self.any_file() else { return };
        let Some(range) = self.any_range(known.log.len(), SECTOR) else { return };
        let generation = known.log.id.host_generation();
        let sectors = Sectors::of(range.clone());
        let Some(ticket) = known.log.copy_in_begins(sectors, generation) else { return };
        if known.log.len() < range.end {
            // It was cut before the copy was in the log.
            return known.log.copy_in_ends(ticket, 0);
        }
        let mut bytes = vec![0; (range.end - range.start) as usize];
        for (sector, bytes) in sectors.iter().zip(bytes.chunks_exact_mut(SECTOR as usize)) {
            let id = known.log.id.number();
            Stamp { writer: Writer::Host, id, sector: sector as u16, generation }.word().fill(bytes);
        }
        let copied = {
            let _call = Self::call(&self.load, self.number, "a copy in", &known);
            self.load.store.write_at(&known.file, range.start, &bytes)
        };
        self.load.tally.copies.add(1);
        let done = *copied.as_ref().unwrap_or(&0);
        known.log.copy_in_ends(ticket, done as u64);
        let all = copied.and_then(|done| if done < bytes.len() { Err(Refused::NoSpace) } else { Ok(()) });
        self.end_of_filling("a copy in", all);
    }

    /// Sets blocks aside, which frees nothing and so waits for no transfer (G5).
    pub(super) fn fill_holes(&mut self) {
        let Some(known) = self.any_file() else { return };
        let Some(range) = self.any_range(known.log.len(), SECTOR) else { return };
        let Some(ticket) = known.log.allocation_begins(Sectors::outward(range.clone())) else { return };
        let load = Arc::clone(&self.load);
        let filled = match known.log.len() < range.end {
            true => Ok(()),
            false => {
                let _call = Self::call(&load, self.number, "an allocation", &known);
                load.store.allocate(&known.file, range)
            }
        };
        known.log.allocation_ends(ticket);
        self.end_of_filling("an allocation", filled);
    }

    fn end_of_filling(&mut self, what: &str, filled: Result<(), Refused>) {
        match filled {
            Ok(()) => {}
            Err(Refused::NoSpace) => self.no_space(),
            Err(error) => self.load.unexplained(what, &error),
        }
    }
}
