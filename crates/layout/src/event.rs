//! Futures for who has a loop of descriptors, and no runtime.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Wake, Waker};

use rustix::event::{EventfdFlags, eventfd};

use crate::mechanism::error::AreaError;
use crate::sync::Arc;

/// An eventfd that becomes readable when a future wants to be polled: put it into your `epoll` or io_uring loop, and poll
/// the future when it fires.
///
/// ```
/// use std::task::{Context, Poll};
/// use std::pin::pin;
/// use pinfold_layout::{Access, Area, AreaOptions, Effect, EventWaker, PinSpec, Policy, Until};
///
/// let area = Area::embedded(AreaOptions::default())?;
/// let (holder, layout) = (area.holder()?, area.layout(1)?);
/// let transfer = holder.pin(&layout, 0..4096, PinSpec::device(Access::Write), Until::done(), || ())?;
///
/// let event = EventWaker::new()?;
/// let waker = event.waker();
/// let mut brk = area.break_layout(&[(&layout, 0..4096)], Policy::Wait, Effect::Frees)?;
/// let mut draining = pin!(brk.drain_async());
/// assert!(draining.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
///
/// drop(transfer);
/// let idle = loop {
///     event.wait()?; // or: your loop says that `event` is readable
///     event.clear();
///     if let Poll::Ready(idle) = draining.as_mut().poll(&mut Context::from_waker(&waker)) {
///         break idle?;
///     }
/// };
/// idle.commit(Vec::new);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct EventWaker {
    event: OwnedFd,
}

impl EventWaker {
    /// A new eventfd, not readable yet.
    ///
    /// # Errors
    /// [`AreaError::System`] when the process has no descriptor left.
    pub fn new() -> Result<Arc<Self>, AreaError> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let event = eventfd(0, flags).map_err(AreaError::system("create an eventfd"))?;
        Ok(Arc::new(Self { event }))
    }

    /// The waker to poll a future with.
    pub fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    /// Makes it unreadable again. Do so before polling, so that no wake-up in between is lost.
    pub fn clear(&self) {
        // It fails only when there is nothing to clear.
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
    }

    /// Sleeps until it is readable, where there is no loop that does.
    ///
    /// # Errors
    /// [`AreaError::System`] if the kernel cannot poll.
    pub fn wait(&self) -> Result<(), AreaError> {
        let mut poll = [rustix::event::PollFd::new(&self.event, rustix::event::PollFlags::IN)];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut poll, None))
            .map_err(AreaError::system("poll an eventfd"))?;
        Ok(())
    }
}

impl Wake for EventWaker {
    fn wake(self: Arc<Self>) {
        // It fails only when the counter is full: then it is readable.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }
}

impl AsFd for EventWaker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
