//! Views: a range of a file as ordinary memory, which follows the file's layout and is taken away while a break changes it.
//!
//! ```text
//!  a load or store ──▶ a page that is shown ──▶ the block itself: no call, no pin
//!                  └─▶ one that is trapped  ──▶ faults ──▶ shown: pin, look at the file's map, show, unpin, wake
//!  a break         ──▶ drain ▸ close ▸ nobody is in ▸ registry ──▶ shown: trap ▸ change ▸ wake
//! ```
//! A view is no pin: nothing waits for it, and it waits for breaks. Where the kernel does not trap accesses for this process,
//! a view is a long-term pin instead, which a break asks back (G11).

mod addresses;
mod faults;
mod registry;
mod shown;
mod table;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use pinfold_layout::{Access, LongTerm, Recall, Until};
use pinfold_region::{NoTraps, SharedBytes, Traps};

pub use self::addresses::AddressPinning;
use self::faults::Faults;
use self::registry::OfPool;
pub(crate) use self::registry::{FileViews, is_in_a_view};
use self::shown::Shown;
use crate::error::ViewError;
use crate::file::File;
use crate::lock::lock;
use crate::long_term::LongTermPinned;
use crate::pool::Shared;
use crate::units::FILE_BYTES_MAX;

/// A range of a file as memory of this process: the file's blocks themselves, at [`View::as_ptr`].
///
/// What is loaded is what the file holds, what is stored is in the file, at once, for every other view, copy and pin. A hole
/// reads as zeros, and is given blocks when something is stored there; where there is none left, the store is a `SIGBUS`. So is
/// an access past the page with the end of the file; a view that reaches further grows with it. While the layout of what is touched
/// is being changed, an access sleeps, and then finds what is there. All of this holds for the kernel's accesses as well (a
/// `read(2)` into the view), but for `SIGBUS`, which is `EFAULT` there.
///
/// A view is no pin, and keeps nobody waiting: devices get [`Pool::pin_addresses`](crate::Pool::pin_addresses). But see
/// [`View::revocable`]. A child after a `fork` has no view.
pub struct View {
    shown: Arc<Shown>,
    /// Where in the window it begins.
    skip: u64,
    range: Range<u64>,
    /// After `shown`: unpinned when it is mapped no more.
    pinned: Option<LongTermPinned>,
}

impl View {
    /// Its first byte. Good for loads, and (of a view for [`Access::Write`]) stores, of as many bytes as it has, for as long as
    /// the view lives and the file is long enough.
    pub fn as_ptr(&self) -> NonNull<u8> {
        // SAFETY: the window is at least as long as the blocks that the view lies in.
        unsafe { self.shown.window.base().add(self.skip as usize) }
    }

    /// The address of its first byte.
    pub fn address(&self) -> usize {
        self.as_ptr().addr().get()
    }

    /// Bytes, shown or not.
    #[expect(clippy::len_without_is_empty, reason = "a view is never empty")]
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Which bytes of the file it shows.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// What may be done with it.
    pub fn access(&self) -> Access {
        self.shown.access
    }

    /// The file.
    pub fn file(&self) -> File {
        File { open: Arc::clone(&self.shown.open) }
    }

    /// Whether a break takes it away by itself. If not, it is a long-term pin: it shows what the file had when it was made, and
    /// breaks ask it back by the handler that [`Mapping::recall`] gave.
    pub fn revocable(&self) -> bool {
        self.pinned.is_none()
    }

    /// Bytes of the view, to copy in and out; `range` is counted from its start.
    ///
    /// # Errors
    /// `Reversed`, `PastEnd`, and `NotOwner` in a child of the process that made it.
    pub fn bytes(&self, range: Range<u64>) -> Result<SharedBytes<'_>, pinfold_region::AccessError> {
        let end = self.skip + self.len();
        self.shown.window.bytes(self.skip..end)?.slice(range)
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Range { start, end } = self.range;
        write!(f, "View({start}..{end} of {} at {:#x})", self.shown.open.node.id, self.address())
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // In a child, a lock may be held for ever by a thread that it has not.
        if !self.shown.window.is_of_this_process() {
            return;
        }
        registry::remove(&self.shown);
        self.shown.open.body().views.remove(&self.shown);
    }
}

/// A view that is about to be made: one of four forms makes it.
#[must_use = "nothing is mapped before one of the four forms is called"]
pub struct Mapping<'f> {
    file: &'f File,
    range: Range<u64>,
    access: Access,
    recall: Option<Arc<dyn Recall>>,
}

impl File {
    /// A view of a range of bytes, which may reach past the end of the file: it grows with it up to there.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pinfold::{Access, Pool, Recalled, Region};
    ///
    /// let pool = Pool::new(Region::memfd(16 << 20)?)?;
    /// let file = pool.create("/table")?;
    /// file.truncate(1 << 20).wait()?;
    ///
    /// // Where the kernel traps no accesses for this process, breaks ask the view back by this handler.
    /// let view = file.map(0..1 << 20, Access::Write).recall(|_: &Recalled| { /* drop it soon */ }).wait()?;
    /// view.bytes(0..5)?.copy_in(0, b"bytes")?; // or by `view.as_ptr()`
    ///
    /// let mut seen = [0; 5];
    /// file.read_at(0, &mut seen)?;
    /// assert_eq!(&seen, b"bytes");
    /// # Ok(()) }
    /// ```
    pub fn map(&self, range: Range<u64>, access: Access) -> Mapping<'_> {
        Mapping { file: self, range, access, recall: None }
    }
}

/// How a view is kept from showing what is not the file's any more.
enum Manner {
    Trapped(Arc<Traps>),
    Pinned(Arc<dyn Recall>),
}

impl Mapping<'_> {
    /// What gives the view back where a break cannot take it away ([`View::revocable`]): it is called on the area's own thread,
    /// and has the view dropped soon. Without it such a view is refused.
    pub fn recall(mut self, handler: impl Recall + 'static) -> Self {
        self.recall = Some(Arc::new(handler));
        self
    }

    /// Makes it. A revocable view never waits; one that is a long-term pin does as [`File::pin_long_term`].
    ///
    /// # Errors
    /// [`ViewError`]: nothing is mapped then.
    pub fn wait(self) -> Result<View, ViewError> {
        self.until(Until::done())
    }

    /// As [`Mapping::wait`], as long as `until` says.
    ///
    /// # Errors
    /// As there, and `ETIMEDOUT`, `EINTR`.
    pub fn until(self, until: Until) -> Result<View, ViewError> {
        match self.manner()? {
            Manner::Trapped(traps) => self.trapped(&traps),
            Manner::Pinned(recall) => {
                let pinned = self.file.pin_long_term(self.range.clone(), self.term(recall)).until(until)?;
                self.pinned(pinned)
            }
        }
    }

    /// Only looks.
    ///
    /// # Errors
    /// As [`Mapping::wait`], and `EBUSY` if a break is in the way of a pin.
    pub fn try_now(self) -> Result<View, ViewError> {
        match self.manner()? {
            Manner::Trapped(traps) => self.trapped(&traps),
            Manner::Pinned(recall) => {
                let pinned = self.file.pin_long_term(self.range.clone(), self.term(recall)).try_now()?;
                self.pinned(pinned)
            }
        }
    }

    /// As [`Mapping::wait`], as a future of no particular runtime.
    ///
    /// # Errors
    /// As there.
    pub async fn wait_async(self) -> Result<View, ViewError> {
        match self.manner()? {
            Manner::Trapped(traps) => self.trapped(&traps),
            Manner::Pinned(recall) => {
                let pinned = self.file.pin_long_term(self.range.clone(), self.term(recall)).wait_async().await?;
                self.pinned(pinned)
            }
        }
    }

    fn term(&self, recall: Arc<dyn Recall>) -> LongTerm {
        LongTerm::new(self.access, Some(recall))
    }

    /// Refuses what can never be mapped, and decides how it is.
    fn manner(&self) -> Result<Manner, ViewError> {
        let (file, pool) = (self.file.id(), &self.file.open.pool);
        if self.range.start >= self.range.end || self.range.end > FILE_BYTES_MAX {
            return Err(ViewError::BadRange { file, range: self.range.clone() });
        }
        let (block, page) = (pool.block.bytes(), pool.region.granule());
        if !block.is_multiple_of(page) {
            return Err(ViewError::SmallBlocks { block, page });
        }
        match (pool.views.traps(pool)?, &self.recall) {
            (Ok(traps), _) => Ok(Manner::Trapped(traps)),
            (Err(_), Some(recall)) => Ok(Manner::Pinned(Arc::clone(recall))),
            (Err(why), None) => Err(ViewError::NotRevocable { file, why }),
        }
    }

    fn trapped(&self, traps: &Arc<Traps>) -> Result<View, ViewError> {
        let view = self.window(Some(traps), None)?;
        view.shown.show_what_is_there().map_err(self.not_mapped())?;
        Ok(view)
    }

    fn pinned(&self, pinned: LongTermPinned) -> Result<View, ViewError> {
        let segments: Vec<_> = pinned.segments().to_vec();
        let view = self.window(None, Some(pinned))?;
        let block = self.file.open.pool.block;
        for segment in segments {
            let blocks = block.outward(&(segment.offset..segment.offset + segment.len));
            let bytes = block.to_bytes(&blocks);
            let place = segment.place - (segment.offset - bytes.start);
            let range = bytes.start - view.shown.first..bytes.end - view.shown.first;
            view.shown.show_pinned(range, place).map_err(self.not_mapped())?;
        }
        Ok(view)
    }

    /// A view that shows nothing yet, known to who changes the file.
    fn window(&self, traps: Option<&Arc<Traps>>, pinned: Option<LongTermPinned>) -> Result<View, ViewError> {
        let open = &self.file.open;
        let whole = open.pool.block.to_bytes(&open.pool.block.outward(&self.range));
        let (len, stores) = (whole.end - whole.start, self.access == Access::Write);
        let window = open.pool.region.window(whole.start, len, stores, traps).map_err(self.not_mapped())?;
        open.layout()?;
        let shown = Arc::new(Shown::new(open, window, whole.start, self.access));
        registry::add(&shown);
        open.body().views.add(&shown);
        Ok(View { shown, skip: self.range.start - whole.start, range: self.range.clone(), pinned })
    }

    fn not_mapped(&self) -> impl Fn(pinfold_region::WindowError) -> ViewError + use<> {
        let file = self.file.id();
        move |source| ViewError::Window { file, source }
    }
}

/// How the views of a pool are trapped.
#[derive(Default)]
pub(crate) struct PoolViews {
    state: Mutex<Trapping>,
}

#[derive(Default)]
enum Trapping {
    /// Nobody has asked yet.
    #[default]
    Unknown,
    By(Arc<Faults>),
    /// Not for this process, or not wanted.
    Never(NoTraps),
}

impl PoolViews {
    /// Views are long-term pins, whatever the kernel offers.
    pub(crate) fn never_trapped() -> Self {
        Self { state: Mutex::new(Trapping::Never(NoTraps::NotWanted)) }
    }

    /// What traps the pool's views, from the first of them on; or why nothing does.
    fn traps(&self, pool: &Shared) -> Result<Result<Arc<Traps>, NoTraps>, ViewError> {
        let mut state = lock(&self.state);
        match &*state {
            Trapping::By(faults) => return Ok(Ok(Arc::clone(faults.traps()))),
            Trapping::Never(why) => return Ok(Err(*why)),
            Trapping::Unknown => {}
        }
        let traps = match Traps::new() {
            Ok(traps) => Arc::new(traps),
            Err(NoTraps::Os(errno)) => return Err(ViewError::Threads(errno.into())),
            Err(why) => {
                *state = Trapping::Never(why);
                return Ok(Err(why));
            }
        };
        let faults = Faults::answer(Arc::clone(&traps)).map_err(ViewError::Threads)?;
        // Before anything is shown.
        pool.area.revoke_views_of(Arc::new(OfPool { nodes: Arc::clone(&pool.nodes) }));
        *state = Trapping::By(faults);
        Ok(Ok(traps))
    }
}

impl Drop for PoolViews {
    fn drop(&mut self) {
        if let Trapping::By(faults) = &*lock(&self.state) {
            faults.end();
        }
    }
}
