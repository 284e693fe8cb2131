//! Pinfold with one fault.

use std::collections::HashMap;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use pinfold::{Access, FileExtent, FileId, Pinned, Policy, Region, Reservation};
use rustix::mm::{MapFlags, ProtFlags, mmap};

use crate::lock::lock;
use crate::log::Change;
use crate::sectors::BLOCK;
use crate::store::{Form, Guarded, InUse, Refused, Store, Unguarded, Viewed};

/// What is wrong with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The device has the addresses, and the pin is gone.
    UnpinsTooEarly,
    /// A `Wait` is made like a `Detach`.
    DoesNotWait,
    /// Who finds a break in his way gets in when he tries again.
    LetsNewcomersPast,
    /// A try is refused now and then.
    BusyForNothing,
    /// Stores of the host land where the file's bytes were when the first of them was made, as through a view that nobody took away.
    StoresWhereItWas,
    /// A range that is zeroed keeps what it held.
    DoesNotZero,
    /// A call does not return, one day.
    Hangs,
    /// A reservation is forgotten.
    LosesBlocks,
}

pub(super) struct Broken {
    fault: Fault,
    /// The same memory, without its guard.
    unguarded: Unguarded,
    inner: Guarded,
    calls: AtomicU64,
    lost: Mutex<Vec<Reservation>>,
    /// What files were made of when they were first stored into.
    seen: Mutex<HashMap<FileId, Vec<FileExtent>>>,
}

/// One in so many calls goes wrong, where the fault is one of now and then.
const NOW_AND_THEN: u64 = 50;

impl Broken {
    pub(super) fn new(len: u64, fault: Fault) -> Self {
        let inner = Guarded::new(len).unwrap();
        let file = inner.pool().region().file().unwrap();
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let again = unsafe {
            mmap(ptr::null_mut(), len as usize, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, file, 0)
        };
        // SAFETY: it is never unmapped. That the pool writes the same memory is what this store is for.
        let region = unsafe { Region::adopt(NonNull::new(again.unwrap().cast()).unwrap(), len) }.unwrap();
        let unguarded = Unguarded::on(region).unwrap();
        Self { fault, unguarded, inner, calls: AtomicU64::new(0), lost: Mutex::default(), seen: Mutex::default() }
    }

    /// Every so many calls.
    fn is_the_time(&self, every: u64) -> bool {
        // ORDER: relaxed; it only counts.
        self.calls.fetch_add(1, Ordering::Relaxed) % every == every - 1
    }

    /// What a device gets that nobody protects.
    fn unprotected(&self, places: &[Range<u64>], access: Access) -> Result<Pinned, Refused> {
        self.unguarded.addresses(places, access)
    }
}

/// Where a range of a file lies, if all of it has memory.
fn places_in(extents: &[FileExtent], range: &Range<u64>) -> Option<Vec<Range<u64>>> {
    let mut places = Vec::new();
    for extent in extents {
        let (start, end) = (range.start.max(extent.offset), range.end.min(extent.offset + extent.len));
        if start < end {
            let place = extent.place + (start - extent.offset);
            places.push(place..place + (end - start));
        }
    }
    let there: u64 = places.iter().map(|place| place.end - place.start).sum();
    (there == range.end - range.start).then_some(places)
}

fn places_of(pinned: &Pinned) -> Vec<Range<u64>> {
    pinned.segments().iter().map(|segment| segment.place()..segment.place() + segment.len).collect()
}

impl Store for Broken {
    type File = Viewed;
    type Reservation = Reservation;

    const NAME: &'static str = "a broken store";
    const WAITS: bool = true;

    fn create(&self, name: &str) -> Result<Viewed, Refused> {
        self.inner.create(name)
    }

    fn unlink(&self, name: &str) -> Result<(), Refused> {
        self.inner.unlink(name)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Refused> {
        self.inner.rename(from, to)
    }

    fn pin(&self, file: &Viewed, range: Range<u64>, access: Access, form: Form) -> Result<Pinned, Refused> {
        let pinned = self.inner.pin(file, range.clone(), access, form);
        match (self.fault, &pinned) {
            (Fault::UnpinsTooEarly, Ok(guarded)) => self.unprotected(&places_of(guarded), access),
            (Fault::LetsNewcomersPast, Err(Refused::Busy)) if self.is_the_time(2) => {
                places_in(&file.file.extents(), &range).map_or(pinned, |places| self.unprotected(&places, access))
            }
            _ => pinned,
        }
    }

    fn extend(&self, pinned: &mut Pinned, file: &Viewed, range: Range<u64>, access: Access) -> Result<(), Refused> {
        match self.fault {
            Fault::UnpinsTooEarly | Fault::LetsNewcomersPast => Err(Refused::NoSpace),
            _ => self.inner.extend(pinned, file, range, access),
        }
    }

    fn change(&self, file: &Viewed, change: &Change, policy: Policy, form: Form) -> Result<(), Refused> {
        let frees = matches!(change, Change::Truncate { .. } | Change::Punch(_) | Change::Zero(_));
        match self.fault {
            Fault::DoesNotWait if frees => self.inner.change(file, change, Policy::Detach, form),
            Fault::BusyForNothing if form == Form::Try && self.is_the_time(NOW_AND_THEN) => Err(Refused::Busy),
            Fault::DoesNotZero if matches!(change, Change::Zero(_)) => Ok(()),
            Fault::Hangs if self.is_the_time(NOW_AND_THEN) => loop {
                std::thread::park();
            },
            _ => self.inner.change(file, change, policy, form),
        }
    }

    fn exchange(&self, one: (&Viewed, Range<u64>), other: (&Viewed, u64), form: Form) -> Result<(), Refused> {
        self.inner.exchange(one, other, form)
    }

    fn allocate(&self, file: &Viewed, range: Range<u64>) -> Result<(), Refused> {
        self.inner.allocate(file, range)
    }

    fn read_at(&self, file: &Viewed, offset: u64, to: &mut [u8]) -> Result<usize, Refused> {
        self.inner.read_at(file, offset, to)
    }

    fn write_at(&self, file: &Viewed, offset: u64, from: &[u8]) -> Result<usize, Refused> {
        let range = offset..offset + from.len() as u64;
        let places = (self.fault == Fault::StoresWhereItWas).then(|| {
            let mut seen = lock(&self.seen);
            places_in(seen.entry(file.file.id()).or_insert_with(|| file.file.extents()), &range)
        });
        let Some(places) = places.flatten() else { return self.inner.write_at(file, offset, from) };
        self.unguarded.write_all(places, from)?;
        Ok(from.len())
    }

    fn reserve(&self, len: u64) -> Result<Reservation, Refused> {
        if self.fault == Fault::LosesBlocks && lock(&self.lost).is_empty() {
            lock(&self.lost).push(self.inner.reserve(BLOCK)?);
        }
        self.inner.reserve(len)
    }

    fn pin_reserved(&self, reservation: &Reservation, range: Range<u64>) -> Result<Pinned, Refused> {
        self.inner.pin_reserved(reservation, range)
    }

    fn publish(&self, reservation: Reservation, name: &str) -> Result<Viewed, Refused> {
        self.inner.publish(reservation, name)
    }

    fn explain(&self) -> String {
        self.inner.explain()
    }

    fn in_use(&self) -> InUse {
        self.inner.in_use()
    }

    fn through_views(&self) -> u64 {
        self.inner.through_views()
    }
}
