//! The area: the owner's handle of everything that is pinned and broken in one pool of memory.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::liveness::ThisProcess;
use crate::memory::Mapping;
use crate::mechanism::attribution::{BreakInfo, BusyExtentInfo, Observer, PinInfo};
use crate::mechanism::busy_extents::BusyExtents;
use crate::mechanism::error::{AreaError, BreakError};
use crate::mechanism::fences::Fences;
use crate::mechanism::geometry::Geometry;
use crate::mechanism::header::{AREA_VERSION, FLAG_LIMITED, FLAG_SHARED, Growing, HEADER_MAGIC, Header};
use crate::mechanism::holder::Holder;
use crate::mechanism::layout_break::{Effect, LayoutBreak, Policy};
use crate::mechanism::owner::Owner;
use crate::mechanism::recall::RecallChore;
use crate::mechanism::sleeper::{Chore, Sleeper, WordRef};
use crate::mechanism::view::{Layout, View};
use crate::mechanism::words::Words;
use crate::segments::Segments;
use crate::sync::{Arc, AtomicU64, Ordering, SameProcess, asymmetric_fences_offered, boot_ms};

/// How an area is made.
#[derive(Clone)]
pub struct AreaOptions {
    pub(crate) geometry: Geometry,
    pub(crate) limited: bool,
    pub(crate) real_fences: bool,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) lasting_after: Duration,
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

    /// Without pinning: every pin is refused, and every break finds nothing busy (G12; Linux:
    /// `CONFIG_FS_DAX_LIMITED`).
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
    _chore: Arc<OwnerChore>,
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
        let words = Words::new(Arc::new(Mapping::private(options.geometry.header().end)?));
        let segments = Segments::private();
        Self::over(words, segments, options)
    }

    /// The area over a new header.
    pub(crate) fn over(words: Words, segments: Segments, options: AreaOptions) -> Result<Self, AreaError> {
        let shared = segments.are_shared();
        let header = Header::new(words, options.geometry);
        write_prologue(&header, shared, options.limited)?;
        let asymmetric = !shared && !options.real_fences && asymmetric_fences_offered();
        let fences = Fences::new(asymmetric, shared);
        let view = Arc::new(View {
            header,
            fences,
            process: SameProcess::mark().map_err(AreaError::system("mark this process"))?,
            area: next_area(),
            limited: options.limited,
            owner: None,
        });
        let sleeper = Arc::new(Sleeper::new(fences.futex(), shared));
        let owner = Arc::new(Owner::new(view, Arc::clone(&sleeper), options.observer, options.lasting_after));
        let chore = Arc::new(OwnerChore { owner: Arc::downgrade(&owner), shared });
        let as_chore: Arc<dyn Chore> = chore.clone();
        sleeper.add_chore(Arc::downgrade(&as_chore));
        sleeper.start()?;
        Ok(Self { owner, segments, _chore: chore })
    }

    /// A new holder in this process. One is enough for a process; more where parts of it end on their own.
    ///
    /// # Errors
    /// [`AreaError::NoHolder`] when all places are taken; [`AreaError`] for want of memory.
    pub fn holder(&self) -> Result<Arc<Holder>, AreaError> {
        if !self.owner.view.process.holds() {
            return Err(AreaError::Forked);
        }
        let member = self.segments.new_member(&self.owner, Box::new(ThisProcess::new()), true)?;
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

fn write_prologue(header: &Header, shared: bool, limited: bool) -> Result<(), AreaError> {
    header.allocate(Growing::Prologue, 0)?;
    let prologue = header.prologue();
    let mut flags = 0;
    if shared {
        flags |= FLAG_SHARED;
    }
    if limited {
        flags |= FLAG_LIMITED;
    }
    prologue.version.store(AREA_VERSION, Ordering::Relaxed);
    prologue.flags.store(flags, Ordering::Relaxed);
    prologue.owner_pid.store(u64::from(std::process::id()), Ordering::Relaxed);
    prologue.tick.store(boot_ms(), Ordering::Relaxed);
    for (word, value) in prologue.geometry.iter().zip(header.geometry().to_words()) {
        word.store(value, Ordering::Relaxed);
    }
    prologue.magic.store(HEADER_MAGIC, Ordering::Release);
    Ok(())
}

/// How often the coarse clock moves.
const TICK: Duration = Duration::from_millis(100);

/// The owner's part of the sleeper's work: the clock, what lasts, who died.
struct OwnerChore {
    owner: std::sync::Weak<Owner>,
    shared: bool,
}

impl Chore for OwnerChore {
    fn look(&self, _waits: &mut Vec<(WordRef, u32)>) -> Option<Instant> {
        let owner = self.owner.upgrade()?;
        owner.view.header.prologue().tick.store(boot_ms(), Ordering::Relaxed);
        if self.shared {
            owner.reap_dead();
        }
        for info in owner.lasting_breaks() {
            say_break_lasts(&info);
            owner.observer.iter().for_each(|observer| observer.break_lasts(&info));
        }
        for info in owner.lasting_extents() {
            say_extent_lasts(&info);
            owner.observer.iter().for_each(|observer| observer.extent_lasts(&info));
        }
        Some(Instant::now() + TICK)
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

#[cfg(not(feature = "tracing"))]
fn say_break_lasts(_: &BreakInfo) {}

#[cfg(not(feature = "tracing"))]
fn say_extent_lasts(_: &BusyExtentInfo) {}
