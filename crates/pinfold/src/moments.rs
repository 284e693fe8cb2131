//! Moments in the middle of a call, in which a test lets something else happen: so a race is forced, not hoped for.
//! Nothing but in tests.

/// Where a call is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moment {
    /// A call by names knows where its paths lead, and has nothing locked.
    Found,
    /// One of the two names of a rename has changed.
    HalfRenamed,
    /// A write knows whether it makes the file longer, and is about to make its next step.
    NextStep,
    /// A step of a write is pinned, and has seen what the file is made of.
    Seen,
    /// An insertion has closed its range. The file may grow still, since that breaks nothing.
    Closed,
    /// A write would make the file longer after all, and is about to ask for that.
    Shorter,
    /// Who looks for a node by its id did not find it in the table: it may be cold.
    Unknown,
    /// A node that was cold is built, and has no name yet.
    Warming,
    /// An answer to a fault has pinned what it is about to look at.
    Answering,
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) fn pass(_: Moment) {}

#[cfg(test)]
pub(crate) use in_tests::{meanwhile, next, pass};

#[cfg(test)]
mod in_tests {
    use std::cell::RefCell;

    use super::Moment;

    type Awaited = (Moment, Box<dyn FnOnce()>);

    thread_local! {
        static AWAITED: RefCell<Option<Awaited>> = const { RefCell::new(None) };
    }

    pub(crate) fn pass(moment: Moment) {
        let awaited = AWAITED.with_borrow_mut(|awaited| awaited.take_if(|(at, _)| *at == moment));
        if let Some((_, happens)) = awaited {
            happens();
        }
    }

    /// Has something else happen in the middle of the call that this thread is in, once.
    pub(crate) fn next(at: Moment, happens: impl FnOnce() + 'static) {
        AWAITED.set(Some((at, Box::new(happens))));
    }

    /// Makes a call, in the middle of which something else happens, once.
    pub(crate) fn meanwhile<T>(at: Moment, happens: impl FnOnce() + 'static, call: impl FnOnce() -> T) -> T {
        next(at, happens);
        let returned = call();
        assert!(AWAITED.take().is_none(), "the call did not come to {at:?}");
        returned
    }
}
