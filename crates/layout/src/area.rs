//! The area: the owner's handle of everything that is pinned and broken in one pool of memory.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Weak;
use std::time::Duration;

use crate::liveness;
use crate::mechanism::attribution::{BreakInfo, BusyExtentInfo, Observer, PinInfo};
use crate::mechanism::busy_extents::BusyExtents;
use crate::mechanism::error::{AreaError, BreakError};
use crate::mechanism::fences::Fences;
use crate::mechanism::geometry::Geometry;
use crate::mechanism::header::{FLAG_LIMITED, FLAG_SHARED, Header, OWNER_CLOSED};
use crate::mechanism::holder::Holder;
use crate::mechanism::layout_break::{Effect, LayoutBreak, Policy};
use crate::mechanism::owner::Owner;
use crate::mechanism::quarantine::{OperatorDecision, Quiescent, ReleaseError};
use crate::mechanism::recall::RecallChore;
use crate::mechanism::revoke::Views;
use crate::mechanism::sleeper::{Chore, Sleeper, WordRef};
use crate::mechanism::view::{Layout, View};
use crate::mechanism::words::Words;
use crate::memory::{MapAs, Mapping, memfd, seal_for_readers};
use crate::prologue::{Stamp, boot_id};
use crate::segments::{Segments, Source};
use crate::sync::{Arc, AtomicU64, Futex, Mutex, Ordering, ProcessClock, asymmetric_fences_offered, fence, lock};

/// How an area is made.
#[derive(Clone)]
pub struct AreaOptions {
    pub(crate) geometry: Geometry,
    pub(crate) limited: bool,
    pub(crate) real_fences: bool,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) lasting_after: Duration,
}

impl AreaOptions {
    pub(crate) fn flags(&self) -> u64 {
        if self.limited { FLAG_LIMITED } else { 0 }
    }
}

impl Default for AreaOptions {
    fn default() -> Self {
        Self {
            geometry: Geometry::default(),
            limited: false,
            real_fences: false,
            observer: None,
            lasting_after: Duration::from_secs(1),
        }
    }
}

impl AreaOptions {
    /// Other capacities.
    #[must_use]
    pub fn geometry(mut self, geometry: Geometry) -> Self {
        self.geometry = geometry;
        self
    }

    /// Without pinning for devices: every device pin, long-term ones included, is refused ([`PinError::Limited`],
    /// `EOPNOTSUPP`). Copies by the CPU ([`PinSpec::cpu`]) go on, and are all that a break finds busy (G12; Linux:
    /// `CONFIG_FS_DAX_LIMITED`).
    ///
    /// [`PinError::Limited`]: crate::PinError::Limited
    /// [`PinSpec::cpu`]: crate::PinSpec::cpu
    #[must_use]
    pub fn limited(mut self, limited: bool) -> Self {
        self.limited = limited;
        self
    }

    /// Real fences on the pin's side of an embedded area too, where `membarrier`'s interruptions of every running
    /// thread cost more than the pins save.
    #[must_use]
    pub fn real_fences(mut self, real: bool) -> Self {
        self.real_fences = real;
        self
    }

    /// Who is told of what lasts, and from when on something counts as lasting (1 s unless told otherwise).
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>, lasting_after: Duration) -> Self {
        self.observer = Some(observer);
        self.lasting_after = lasting_after.max(Duration::from_millis(1));
        self
    }
}

/// The owner's handle of a layout area. Breaks run here; pins are made by its [holders](Area::holder), in this process
/// or in [invited](Area::invite) ones.
pub struct Area {
    pub(crate) owner: Arc<Owner>,
    pub(crate) segments: Segments,
    /// The header's file, where others may map it.
    pub(crate) header: Option<Arc<OwnedFd>>,
    chore: Arc<OwnerChore>,
}

impl Area {
    /// An area for this process alone: in private memory, with asymmetric fences where the kernel offers them.
    ///
    /// # Errors
    /// [`AreaError`] for unusable capacities, or for want of memory.
    pub fn embedded(options: AreaOptions) -> Result<Self, AreaError> {
        if !options.geometry.is_sound() {
            return Err(AreaError::BadGeometry);
        }
        let stamp = Stamp {
            flags: options.flags(),
            boot: [0; 2],
            incarnation: 0,
            owner_pid: std::process::id(),
            owner_started: 0,
            geometry: options.geometry,
        };
        let words = Words::new(Arc::new(Mapping::private(options.geometry.header().end)?));
        Self::over(words, Segments::new(Source::Private, 0), &stamp, options, None)?.serve()
    }

    /// An area that other processes can be [invited](Area::invite) to. It lies in memfds and has no name: it lives as
    /// long as its owner. Where devices may still write after the owner's death, use [`Area::open`].
    ///
    /// # Errors
    /// [`AreaError`] for unusable capacities, or for want of memory or descriptors.
    pub fn shared(options: AreaOptions) -> Result<Self, AreaError> {
        if !options.geometry.is_sound() {
            return Err(AreaError::BadGeometry);
        }
        let incarnation = random_incarnation()?;
        let stamp = Stamp::of_this_process(options.flags() | FLAG_SHARED, incarnation, options.geometry)?;
        let end = options.geometry.header().end;
        let file = Arc::new(memfd("pinfold-header", end)?);
        let words = Words::new(Arc::new(Mapping::of_file(&file, end, MapAs::Grown)?));
        seal_for_readers(&file)?;
        let segments = Segments::new(Source::Memfds, incarnation);
        let mut area = Self::over(words, segments, &stamp, options, None)?;
        area.header = Some(file);
        area.serve()
    }

    /// The area over a new header. It is served by nobody yet.
    ///
    /// `lasts` is dropped with the owner, after the header says that the area is closed.
    pub(crate) fn over(
        words: Words,
        segments: Segments,
        stamp: &Stamp,
        options: AreaOptions,
        lasts: Option<Box<dyn Send + Sync>>,
    ) -> Result<Self, AreaError> {
        let shared = segments.are_shared();
        let header = Header::new(words, stamp.geometry);
        stamp.write(&header)?;
        let asymmetric = !shared && !options.real_fences && asymmetric_fences_offered();
        let fences = Fences::new(asymmetric, shared);
        let clock = ProcessClock::start().map_err(AreaError::system("start the clock of this process"))?;
        let view = Arc::new(View { header, fences, clock, area: next_area(), limited: options.limited, owner: None });
        let sleeper = Arc::new(Sleeper::new(fences.futex(), shared, clock));
        let mut owner = Owner::new(Arc::clone(&view), sleeper, options.observer, options.lasting_after);
        if shared {
            owner.keep = Some(Box::new(Serving { view, _lasts: lasts }));
        }
        let owner = Arc::new(owner);
        let observer = owner.observer.clone();
        let chore = Arc::new(OwnerChore { owner: Mutex::new(Arc::downgrade(&owner)), observer, shared });
        Ok(Self { owner, segments, header: None, chore })
    }

    /// Starts the area's sleeper thread: the clock, recalls, the reaping of dead holders.
    pub(crate) fn serve(self) -> Result<Self, AreaError> {
        let as_chore: Arc<dyn Chore> = self.chore.clone();
        let sleeper = &self.owner.sleeper;
        sleeper.add_chore(Arc::downgrade(&as_chore));
        sleeper.start()?;
        Ok(self)
    }

    /// A new holder in this process. One is enough for a process; more where parts of it end on their own.
    ///
    /// # Errors
    /// [`AreaError::NoHolder`] when all places are taken; [`AreaError`] for want of memory.
    pub fn holder(&self) -> Result<Arc<Holder>, AreaError> {
        if !self.owner.view.clock.is_of_this_process() {
            return Err(AreaError::Forked);
        }
        let member = self.segments.new_member(&self.owner)?;
        let view = Arc::clone(&self.owner.view);
        let segment = Arc::clone(&member.segment);
        let mut holder = Holder::new(view, segment, member.index, true, Arc::clone(&self.owner.sleeper));
        let owner = Arc::downgrade(&self.owner);
        holder.on_leave = Some(Box::new(move || {
            if let Some(owner) = owner.upgrade() {
                owner.holder_left(&member);
            }
        }));
        let holder = Arc::new(holder);
        holder.serve_recalls();
        Ok(holder)
    }

    /// The layout of an object, which has state from now on, until the last handle of it is dropped and nobody pins it.
    /// Object ids are the caller's; an id is never used for a second object, and 0 is none.
    ///
    /// # Errors
    /// [`AreaError::NoFile`] when all places for files with state are taken.
    pub fn layout(&self, object: u64) -> Result<Layout, AreaError> {
        self.owner.layout(object)
    }

    /// A break of ranges of one object or of two. Nothing happens before it is drained.
    ///
    /// # Errors
    /// [`BreakError`] for ranges that are none, or overlap, and for what cannot be detached.
    pub fn break_layout(
        &self,
        ranges: &[(&Layout, Range<u64>)],
        policy: Policy,
        effect: Effect,
    ) -> Result<LayoutBreak, BreakError> {
        LayoutBreak::new(&self.owner, ranges, policy, effect)
    }

    /// Has breaks take away what shows their ranges, from now on: to be called before anything is shown.
    pub fn revoke_views_of(&self, views: Arc<dyn Views>) {
        self.owner.set_views(views);
    }

    /// What has left its file and is not free yet.
    pub fn busy_extents(&self) -> BusyExtents {
        BusyExtents { owner: Arc::clone(&self.owner) }
    }

    /// Every pin of the area: those of dead holders in quarantine too (G7).
    pub fn pins(&self) -> Vec<PinInfo> {
        self.owner.pins()
    }

    /// The first busy pin of a range, and who holds it. It only looks (Linux: `dax_layout_busy_page()`).
    pub fn first_busy(&self, layout: &Layout, range: Range<u64>) -> Option<PinInfo> {
        self.owner.first_busy(layout, range)
    }

    /// Every running break, and the pin it sleeps for.
    pub fn breaks(&self) -> Vec<BreakInfo> {
        self.owner.running_breaks()
    }

    /// Every parked extent, and who keeps it.
    pub fn parked(&self) -> Vec<BusyExtentInfo> {
        self.busy_extents().list()
    }

    /// How many objects have state.
    pub fn files(&self) -> usize {
        self.owner.files()
    }

    /// How many holders have a segment, those in quarantine included.
    pub fn holders(&self) -> usize {
        self.owner.members().len()
    }

    /// Whether pins use compiler fences only, and breaks fence for them.
    pub fn has_asymmetric_fences(&self) -> bool {
        self.owner.view.fences.asymmetric()
    }

    /// The pins without a holder (G8).
    pub fn quarantine(&self) -> Vec<PinInfo> {
        self.owner.reap_dead();
        self.owner.quarantined().into_iter().map(|(_, _, info)| info).collect()
    }

    /// Lets the pins go that a proof covers, out of quarantine; how many there were. Breaks that waited for them go on.
    ///
    /// # Errors
    /// [`ReleaseError::NoMark`] when the table of void marks is full.
    pub fn release(&self, proof: &dyn Quiescent) -> Result<usize, ReleaseError> {
        self.owner.reap_dead();
        self.owner.release(proof)
    }

    /// Lets one pin go, out of quarantine, because a person says that no device reaches it. The decision is logged, as
    /// a `tracing` event and to the area's [`Observer`]. Returns what the pin was.
    ///
    /// # Errors
    /// [`ReleaseError::HasHolder`] for a pin that is not in quarantine.
    pub fn release_by_operator(&self, decision: &OperatorDecision) -> Result<PinInfo, ReleaseError> {
        self.owner.reap_dead();
        let released = self.owner.release_by_operator(decision)?;
        say_released(decision, &released);
        self.owner.observer.iter().for_each(|observer| observer.pin_released(decision, &released));
        Ok(released)
    }

    /// Looks after holders that died. The area does so by itself when it waits for one; this is for who wants to know
    /// now.
    pub fn reap_dead_holders(&self) {
        self.owner.reap_dead();
    }
}

impl std::fmt::Debug for Area {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Area").field("files", &self.files()).field("holders", &self.holders()).finish()
    }
}

impl Holder {
    /// Lets the sleeper of this process call the handlers of recalled pins.
    pub(crate) fn serve_recalls(self: &Arc<Self>) {
        let chore: Arc<dyn Chore> = Arc::new(RecallChore {
            view: Arc::clone(&self.view),
            segment: self.index,
            recalls: Arc::clone(&self.recalls),
        });
        self.sleeper.add_chore(Arc::downgrade(&chore));
        *crate::sync::lock(&self.recalls.chore) = Some(chore);
    }
}

/// A number for each area of this process.
pub(crate) fn next_area() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Tells this area's segments from those of any other.
fn random_incarnation() -> Result<u64, AreaError> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(AreaError::system("get a random number"))?;
    Ok(u64::from_ne_bytes(bytes))
}

impl Stamp {
    /// The stamp of an area of this boot that this process owns.
    pub(crate) fn of_this_process(flags: u64, incarnation: u64, geometry: Geometry) -> Result<Self, AreaError> {
        let owner_pid = std::process::id();
        let owner_started = liveness::started(owner_pid)
            .ok_or(AreaError::System { what: "read when this process started", source: rustix::io::Errno::NOENT })?;
        Ok(Self { flags, boot: boot_id()?, incarnation, owner_pid, owner_started, geometry })
    }
}

/// Dropped with the owner of a shared area.
struct Serving {
    view: Arc<View>,
    /// The name of the area is free after this.
    _lasts: Option<Box<dyn Send + Sync>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.view.clock.is_of_this_process() {
            close(&self.view.header);
        }
    }
}

/// Nobody serves this area any more: nobody pins from here on, and whoever unpins rings, for who may serve it next.
///
/// As a break: of this and a pin at least one sees the other, so whoever scans afterwards sees every pin there is.
pub(crate) fn close(header: &Header) {
    let prologue = header.prologue();
    prologue.owner_state.store(OWNER_CLOSED, Ordering::Release);
    let used = prologue.cells_used.load(Ordering::Acquire).min(u64::from(header.geometry().files_max)) as u32;
    for cell in 0..used {
        header.cell(cell).object.store(0, Ordering::Relaxed);
        header.cell(cell).waited.store(u64::MAX, Ordering::Relaxed);
    }
    // ORDER: pairs with the fence of a pin between its slot and its look at the cell's id, and with that of an unpin
    // between its slot and its look at `waited`. Between processes all of these are real.
    fence(Ordering::SeqCst);
    let futex = Futex::new(true);
    (0..used).for_each(|cell| futex.wake(&header.cell(cell).word));
}

/// The owner's part of the sleeper's work: what lasts, who died.
struct OwnerChore {
    /// Locked while it is upgraded, so that an area which is dropped can wait until the sleeper has let go of it.
    owner: Mutex<Weak<Owner>>,
    observer: Option<Arc<dyn Observer>>,
    shared: bool,
}

impl OwnerChore {
    /// What lasts, after a look after holders that died.
    fn look_after(&self) -> Option<(Vec<BreakInfo>, Vec<BusyExtentInfo>)> {
        let owner = lock(&self.owner);
        let owner = owner.upgrade()?;
        if self.shared {
            owner.reap_dead();
        }
        Some((owner.lasting_breaks(), owner.lasting_extents()))
    }
}

impl Chore for OwnerChore {
    fn look(&self, _waits: &mut Vec<(WordRef, u32)>) {
        let Some((breaks, extents)) = self.look_after() else { return };
        for info in breaks {
            say_break_lasts(&info);
            self.observer.iter().for_each(|observer| observer.break_lasts(&info));
        }
        for info in extents {
            say_extent_lasts(&info);
            self.observer.iter().for_each(|observer| observer.extent_lasts(&info));
        }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        if self.owner.view.clock.is_of_this_process() {
            // From here on the sleeper does not keep the owner: what the area holds is given back when this returns.
            *lock(&self.chore.owner) = Weak::new();
        }
    }
}

#[cfg(feature = "tracing")]
fn say_break_lasts(info: &BreakInfo) {
    let behind = info.behind.as_ref().map(ToString::to_string);
    tracing::warn!(ranges = ?info.ranges, running_ms = info.running_for.as_millis() as u64, behind, "a layout break lasts");
}

#[cfg(feature = "tracing")]
fn say_extent_lasts(info: &BusyExtentInfo) {
    let pins: Vec<_> = info.pins.iter().map(ToString::to_string).collect();
    tracing::warn!(object = info.object, blocks = ?info.blocks, ?pins, "a parked extent stays busy");
}

#[cfg(feature = "tracing")]
fn say_released(decision: &OperatorDecision, pin: &PinInfo) {
    let OperatorDecision { operator, reason, .. } = decision;
    tracing::warn!(%pin, operator, reason, "an operator released a pin from quarantine");
}

#[cfg(not(feature = "tracing"))]
fn say_released(_: &OperatorDecision, _: &PinInfo) {}

#[cfg(not(feature = "tracing"))]
fn say_break_lasts(_: &BreakInfo) {}

#[cfg(not(feature = "tracing"))]
fn say_extent_lasts(_: &BusyExtentInfo) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_unpins_from_a_closed_area_rings() {
        let area = Area::shared(AreaOptions::default()).unwrap();
        let layout = area.layout(7).unwrap();
        let view = Arc::clone(&area.owner.view);
        drop((area, layout.clone()));
        drop(layout);
        let cell = view.header.cell(0);
        assert_eq!(cell.object.load(Ordering::Relaxed), 0, "nobody pins");
        // A sleeper of the next owner looks again after 50 ms in any case, so only this shows it.
        assert_eq!(cell.waited.load(Ordering::Relaxed), u64::MAX);
    }
}
