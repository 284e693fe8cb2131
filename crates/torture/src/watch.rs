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

    /// The thread that has been in one call for longer than `patience`, and in which one.
    pub(crate) fn hanging(&self, patience: Duration) -> Option<String> {
        self.places.iter().enumerate().find_map(|(thread, place)| {
            let Doing { what, id, since } = (*lock(place)).filter(|doing| doing.since.elapsed() > patience)?;
            Some(format!("thread {thread} has been in {what} of file {id} for {:.1} s", since.elapsed().as_secs_f64()))
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
