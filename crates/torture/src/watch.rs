//! Who has been doing what for how long: so that what hangs is seen, and can be named.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::lock::lock;

/// One place for each thread of the load.
pub(crate) struct Watch {
    places: Box<[Mutex<Option<Doing>>]>,
}

/// What a thread does.
#[derive(Clone, Copy, Debug)]
struct Doing {
    what: &'static str,
    /// With the file of this number.
    id: u16,
    since: Instant,
}

/// A call that a thread is in, while this lives.
pub(crate) struct Call<'w> {
    place: &'w Mutex<Option<Doing>>,
    since: Instant,
}

impl Watch {
    pub(crate) fn new(threads: usize) -> Self {
        Self { places: (0..threads).map(|_| Mutex::default()).collect() }
    }

    /// A thread goes into a call.
    pub(crate) fn call(&self, thread: usize, what: &'static str, id: u16) -> Call<'_> {
        let (place, since) = (&self.places[thread], Instant::now());
        *lock(place) = Some(Doing { what, id, since });
        Call { place, since }
    }

    /// The thread that has been in one call for longest, if that is longer than `patience`: for how long, and in which one.
    pub(crate) fn hanging(&self, patience: Duration) -> Option<(Duration, String)> {
        let in_calls = self.places.iter().enumerate().filter_map(|(thread, place)| Some((thread, (*lock(place))?)));
        let (thread, Doing { what, id, since }) = in_calls.min_by_key(|(_, doing)| doing.since)?;
        let lasts = since.elapsed();
        (lasts > patience).then(|| {
            let seconds = lasts.as_secs_f64();
            (lasts, format!("thread {thread} has been in {what} of file {id} for {seconds:.1} s"))
        })
    }
}

impl Call<'_> {
    /// How long it has taken.
    pub(crate) fn took(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        *lock(self.place) = None;
    }
}
