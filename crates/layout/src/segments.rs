//! Where segments come from: private memory, memfds, or files beside the region.

use std::os::fd::OwnedFd;

use crate::memory::{Mapping, memfd};
use crate::mechanism::error::AreaError;
use crate::mechanism::geometry::Geometry;
use crate::mechanism::header::{AREA_VERSION, Growing};
use crate::mechanism::owner::{HOLDER_FREE, HOLDER_LINKED, Member, Owner};
use crate::mechanism::segment::{SEGMENT_MAGIC, Segment};
use crate::mechanism::view::Liveness;
use crate::mechanism::words::Words;
use crate::sync::{Arc, Mutex, Ordering, lock};

/// Makes segments, and remembers their descriptors.
pub(crate) struct Segments {
    shared: bool,
    places: Mutex<u32>,
}

impl Segments {
    pub(crate) fn private() -> Self {
        Self { shared: false, places: Mutex::new(0) }
    }

    pub(crate) fn are_shared(&self) -> bool {
        self.shared
    }

    /// A new segment for a holder, linked before anybody can pin in it.
    pub(crate) fn new_member(
        &self,
        owner: &Owner,
        liveness: Box<dyn Liveness>,
        local: bool,
    ) -> Result<Arc<Member>, AreaError> {
        let mut places = lock(&self.places);
        let index = free_place(owner, &mut places)?;
        let geometry = *owner.view.header.geometry();
        let mapping = Mapping::private(geometry.segment().end)?;
        let segment = Segment::new(Words::new(Arc::new(mapping)), geometry);
        begin_segment(&segment)?;
        let member = Arc::new(Member::new(Arc::new(segment), index, local, liveness));
        let entry = owner.view.header.holder(index);
        entry.pid.store(u64::from(member.liveness.pid()), Ordering::Relaxed);
        entry.serial.fetch_add(1, Ordering::Relaxed);
        entry.state.store(HOLDER_LINKED, Ordering::Release);
        owner.link(Arc::clone(&member));
        Ok(member)
    }
}

/// The index of a holder entry that nobody uses.
fn free_place(owner: &Owner, used: &mut u32) -> Result<u32, AreaError> {
    let header = &owner.view.header;
    let free = (0..*used).find(|index| header.holder(*index).state.load(Ordering::Acquire) == HOLDER_FREE);
    if let Some(index) = free {
        return Ok(index);
    }
    let holders_max = header.geometry().holders_max;
    if *used == holders_max {
        return Err(AreaError::NoHolder { holders_max });
    }
    header.allocate(Growing::Holders, *used)?;
    *used += 1;
    Ok(*used - 1)
}

fn begin_segment(segment: &Segment) -> Result<(), AreaError> {
    segment.allocate_head()?;
    segment.head().version.store(AREA_VERSION, Ordering::Relaxed);
    segment.head().magic.store(SEGMENT_MAGIC, Ordering::Release);
    Ok(())
}
