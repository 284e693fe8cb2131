//! Moments in the middle of a call, in which a test lets something else happen: so a race is forced, not hoped for.
//! Nothing but in tests.

/// Where a call is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moment {
    /// It knows where its paths lead, and has nothing locked.
    Found,
    /// One of the two names of a rename has changed.
    HalfRenamed,
}

#[cfg(not(test))]
#[inline(always)]
pub(super) fn pass(_: Moment) {}

#[cfg(test)]
pub(super) use in_tests::{meanwhile, pass};

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

    /// Makes a call, in the middle of which something else happens, once.
    pub(crate) fn meanwhile<T>(at: Moment, happens: impl FnOnce() + 'static, call: impl FnOnce() -> T) -> T {
        AWAITED.set(Some((at, Box::new(happens))));
        let returned = call();
        assert!(AWAITED.take().is_none(), "the call did not come to {at:?}");
        returned
    }
}
