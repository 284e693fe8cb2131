//! The layout area beside a pool: what devices reach, compared with what the medium says.
//!
//! Stays true  V1: it is only looked at (see `pinfold_layout::AreaLook`).
//!             V2: beside an owner that works, what counts as parked is what was so before the medium was read, and after.

use std::path::{Path, PathBuf};

use pinfold_layout::{Area, AreaLook, ParkedLook};

use super::blocks::Owned;
use super::finding::{Finding, Owner};
use super::report::Findings;
use super::state::{Body, State};
use crate::lasting::AREA;
use crate::medium::superblock::Superblock;
use crate::token::this_boot;

/// What lies beside a pool.
pub(super) struct Beside {
    /// The directory.
    dir: Option<PathBuf>,
    pub(super) area: Option<AreaLook>,
    /// Why the area could not be looked at.
    unreadable: Option<String>,
}

/// The owner's control socket.
const SOCKET: &str = "socket";

impl Beside {
    /// Looks at the directory, if there is to be one.
    pub(super) fn look(dir: Option<&Path>) -> Self {
        let mut beside = Self { dir: dir.map(Path::to_owned), area: None, unreadable: None };
        match dir.map(|dir| Area::look(&dir.join(AREA))) {
            Some(Ok(area)) => beside.area = area,
            Some(Err(error)) => beside.unreadable = Some(error.to_string()),
            None => {}
        }
        beside
    }

    /// Whether it is not known what devices of this boot reach, because nobody said where to look.
    pub(super) fn is_missing_for(&self, superblock: &Superblock) -> bool {
        self.dir.is_none() && is_needed(superblock)
    }

    /// A control socket that nobody serves.
    pub(super) fn stale_socket(&self) -> Option<PathBuf> {
        let path = self.dir.as_ref()?.join(SOCKET);
        (!self.is_served() && path.exists()).then_some(path)
    }

    /// Whether a living process serves it.
    pub(super) fn is_served(&self) -> bool {
        self.area.as_ref().is_some_and(|area| area.is_served)
    }

    /// Looks once more, after the medium was read, and keeps what was so both times (V2).
    pub(super) fn look_again(&mut self) {
        let (true, Some(before)) = (self.is_served(), &mut self.area) else { return };
        let after = Self::look(self.dir.as_deref());
        let Some(after) = after.area else { return };
        let same = |one: &ParkedLook, other: &ParkedLook| (one.extent, one.commit) == (other.extent, other.commit);
        before.parked.retain(|parked| after.parked.iter().any(|after| same(parked, after)));
        before.pins.retain(|pin| after.pins.iter().any(|after| after.pin.id == pin.pin.id));
    }

    /// The blocks that are parked, and not in their file still: the log comes to say so just after.
    pub(super) fn parked(&self, state: &State) -> Vec<Owned> {
        let parked = self.area.iter().flat_map(|area| &area.parked);
        parked.flat_map(|parked| parts_that_left(state, parked)).collect()
    }

    pub(super) fn check(&self, superblock: &Superblock, state: &State, findings: &mut Findings) {
        if let Some(why) = &self.unreadable {
            findings.add(Finding::AreaUnreadable { why: why.clone() });
        }
        if self.dir.is_none() {
            return;
        }
        self.stale_socket().into_iter().for_each(|path| findings.add(Finding::StaleSocket { path }));
        let needed = is_needed(superblock);
        let Some(area) = self.area.as_ref().filter(|area| area.is_of_this_boot) else {
            if needed && self.unreadable.is_none() {
                findings.add(Finding::AreaLost);
            }
            return;
        };
        if area.is_served {
            findings.add(Finding::Owned { pid: area.owner_pid });
        }
        let quarantined = area.pins.iter().filter(|pin| pin.pin.quarantine.is_some()).count() as u64;
        if quarantined > 0 {
            findings.add(Finding::Quarantine { pins: quarantined });
        }
        if area.parked_lost > 0 && quarantined > 0 {
            findings.add(Finding::ParkedLost { count: area.parked_lost });
        }
        for path in &area.unknown {
            findings.add(Finding::SegmentUnknown { path: path.clone() });
        }
        check_pins(area, state, findings);
    }
}

fn is_needed(superblock: &Superblock) -> bool {
    superblock.area_needed && superblock.boot == this_boot()
}

/// A device's pin reaches what its file has, or what is parked.
fn check_pins(area: &AreaLook, state: &State, findings: &mut Findings) {
    for pin in area.pins.iter().filter(|pin| pin.pin.device) {
        let file = state.nodes.get(&pin.pin.object).and_then(|node| match &node.body {
            Body::File(file) => Some(file),
            Body::Directory(_) | Body::Symlink(_) | Body::Special(_) => None,
        });
        for range in &pin.in_object {
            let there: u64 =
                file.map_or(0, |file| file.extents.pieces_in(range.clone()).iter().map(|piece| piece.len).sum());
            if there < range.end - range.start {
                findings.add(Finding::PinOnNothing { pin: Box::new(pin.pin.clone()), blocks: range.clone() });
            }
        }
    }
}

/// The parts of a parked extent that its file does not have at the same place.
fn parts_that_left(state: &State, parked: &ParkedLook) -> Vec<Owned> {
    let extent = &parked.extent;
    let quarantined = !parked.pins.is_empty() && parked.pins.iter().all(|pin| pin.quarantine.is_some());
    let mut left = Vec::new();
    let mut add = |start: u64, end: u64| {
        if start < end {
            let block = extent.block + (start - extent.start);
            let owner = Owner::Parked { node: extent.object, at: start };
            left.push(Owned { quarantined, ..Owned::new(block..block + (end - start), owner) });
        }
    };
    let mut at = extent.start;
    if let Some(Body::File(file)) = state.nodes.get(&extent.object).map(|node| &node.body) {
        for piece in file.extents.pieces_in(extent.start..extent.end) {
            let same = piece.run.is_some_and(|run| run.block == extent.block + (piece.at - extent.start));
            if same {
                add(at, piece.at);
                at = piece.end();
            }
        }
    }
    add(at, extent.end);
    left
}
