//! One thread of the load: what it does next.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::{Known, Load, Name};
use crate::sectors::{BLOCK, FILE_BYTES, SECTOR};
use crate::store::{Form, Store};
use crate::watch::Call;

pub(crate) struct Worker<S: Store> {
    pub(super) load: Arc<Load<S>>,
    pub(super) number: usize,
    pub(super) choices: fastrand::Rng,
}

impl<S: Store> Worker<S> {
    pub(crate) fn new(load: &Arc<Load<S>>, number: usize) -> Self {
        let seed = load.options.seed.wrapping_add((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self { load: Arc::clone(load), number, choices: fastrand::Rng::with_seed(seed) }
    }

    /// Until it is told to stop.
    pub(crate) fn run(mut self) {
        while !self.load.findings.is_stopped() {
            self.step();
        }
        // A device may cancel what belongs to a thread that ends.
        while self.load.in_flight.now() > 0 && !self.load.findings.hangs() {
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn step(&mut self) {
        self.load.arrivals.look_at_one();
        if self.load.in_flight.now() < self.load.scale.in_flight_min {
            self.bring_in_somewhere();
        }
        match self.choices.u32(0..100) {
            0..58 => self.race(),
            58..63 => self.operate_somewhere(),
            63..68 => self.bring_in_somewhere(),
            68..73 => self.take_out_somewhere(),
            73..80 => self.intrude(),
            80..87 => self.copy_out(),
            87..90 => self.copy_in(),
            90..92 => self.fill_holes(),
            92..95 => self.unlink(),
            95..97 => self.rename_over(),
            _ => self.reserve(),
        }
    }

    /// Transfers into a file, and an operation on the same range at once.
    fn race(&mut self) {
        let Some(known) = self.any_file() else { return };
        let mut near = None;
        for _ in 0..self.choices.u32(1..=2) {
            let taken_out = self.choices.u32(0..6) == 0;
            let range = if taken_out { self.take_out(&known) } else { self.bring_in(&known) };
            near = range.or(near);
        }
        self.operate(&known, near);
    }

    fn operate_somewhere(&mut self) {
        if let Some(known) = self.any_file() {
            self.operate(&known, None);
        }
    }

    fn bring_in_somewhere(&mut self) {
        if let Some(known) = self.any_file() {
            self.bring_in(&known);
        }
    }

    fn take_out_somewhere(&mut self) {
        if let Some(known) = self.any_file() {
            self.take_out(&known);
        }
    }

    /// A file that has a name at the moment.
    pub(super) fn any_file(&mut self) -> Option<Known<S::File>> {
        let index = self.any_name();
        let name: &Name<S::File> = &self.load.names[index];
        // Where one just gets another file, another is as good.
        name.file.try_lock().ok()?.clone()
    }

    pub(super) fn any_name(&mut self) -> usize {
        self.choices.usize(0..self.load.names.len())
    }

    /// Puts what comes into the watch's book, until the result is dropped.
    pub(super) fn call<'l>(load: &'l Load<S>, number: usize, what: &'static str, known: &Known<S::File>) -> Call<'l> {
        load.watch.call(number, what, known.log.id.number())
    }

    /// One of the four forms.
    pub(super) fn any_form(&mut self) -> Form {
        match self.choices.u32(0..20) {
            0..10 => Form::Wait,
            10..16 => Form::Async,
            16..18 => Form::Try,
            _ => Form::For(Duration::from_micros(self.choices.u64(20..2000))),
        }
    }

    /// A range of `granule`s in a file of `len` bytes, most of the time a few blocks. `None` in an empty file.
    pub(super) fn any_range(&mut self, len: u64, granule: u64) -> Option<Range<u64>> {
        let granules = len / granule;
        if granules == 0 {
            return None;
        }
        let most = match self.choices.u32(0..4) {
            0 => FILE_BYTES,
            _ => 4 * BLOCK,
        };
        let count = self.choices.u64(1..=(most / granule).min(granules));
        let start = self.choices.u64(0..=granules - count);
        Some(start * granule..(start + count) * granule)
    }

    /// Whole blocks most of the time, or else whole sectors.
    pub(super) fn any_granule(&mut self) -> u64 {
        if self.choices.u32(0..4) == 0 { SECTOR } else { BLOCK }
    }

    /// Takes a name for a moment, with its file; nobody else does.
    pub(super) fn with_name<T>(
        &self,
        index: usize,
        then: impl FnOnce(&str, &mut Option<Known<S::File>>) -> T,
    ) -> Option<T> {
        let name = &self.load.names[index];
        let mut file = name.file.try_lock().ok()?;
        Some(then(&name.path, &mut file))
    }

    /// Some room, where there is none: one file is cut.
    pub(super) fn no_space(&mut self) {
        self.load.tally.no_space.add(1);
        if let Some(known) = self.any_file() {
            self.cut(&known);
        }
    }
}
