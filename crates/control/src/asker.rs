//! Who asks for something, and may go away before it is done.
//!
//! Stays true  A1: a wait that ends early has dropped its future: the operation has withdrawn, and left bytes and layout as
//!                 they were (G6).
//! Who calls   the thread that carries a request out. No lock is held while it sleeps.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd};
use rustix::io::{Errno, retry_on_intr};

use crate::refusal::Refusal;

/// Who asks: this process itself, or who is at the other end of a socket.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asker<'a> {
    socket: Option<BorrowedFd<'a>>,
}

/// How a wait ended.
pub(crate) enum Ended<T> {
    /// With what was waited for.
    Ready(T),
    /// The deadline passed.
    Late,
}

impl<'a> Asker<'a> {
    /// Whoever is at the other end. One that hangs up, or will say no more, has gone.
    pub(crate) fn behind(socket: BorrowedFd<'a>) -> Self {
        Self { socket: Some(socket) }
    }

    /// # Errors
    /// `ECANCELED` if the asker has gone.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let Some(socket) = self.socket else { return Ok(()) };
        let mut fds = [PollFd::from_borrowed_fd(socket, HUNG_UP)];
        match poll_until(&mut fds, Some(Instant::now())) {
            Ok(true) => Err(gone()),
            _ => Ok(()),
        }
    }

    /// Waits for a future, until a deadline, and no longer than the asker waits.
    ///
    /// # Errors
    /// `ECANCELED` if the asker went away. The future is dropped then (A1).
    pub(crate) fn wait_for<T>(
        &self,
        future: impl Future<Output = T>,
        until: Option<Instant>,
    ) -> Result<Ended<T>, Refusal> {
        let bell = Arc::new(Bell::new().map_err(|error| Refusal::io("cannot wait", &error))?);
        let waker = Waker::from(Arc::clone(&bell));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                return Ok(Ended::Ready(value));
            }
            let mut fds = vec![PollFd::new(&bell.0, PollFlags::IN)];
            fds.extend(self.socket.map(|socket| PollFd::from_borrowed_fd(socket, HUNG_UP)));
            if !poll_until(&mut fds, until).map_err(|errno| Refusal::io("cannot wait", &errno.into()))? {
                return Ok(Ended::Late);
            }
            // What was waited for comes first: it may be done by now.
            if !fds[0].revents().is_empty() {
                bell.silence();
                continue;
            }
            return Err(gone());
        }
    }
}

fn gone() -> Refusal {
    Refusal::of(Errno::CANCELED, "withdrawn, since the client went away")
}

/// What a socket says when nobody is at its other end any more. `HUP` and `ERR` are always told.
const HUNG_UP: PollFlags = PollFlags::RDHUP;

/// An eventfd that a waker rings.
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(crate) fn ring(&self) {
        // It fails only where it has been rung 2^64 times.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    fn silence(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

/// Waits until one of the descriptors has something to say; false if the time was over first.
pub(crate) fn poll_until(fds: &mut [PollFd<'_>], until: Option<Instant>) -> Result<bool, Errno> {
    let ready = retry_on_intr(|| {
        let left = until.map(|at| timespec(at.saturating_duration_since(Instant::now())));
        rustix::event::poll(fds, left.as_ref())
    })?;
    Ok(ready > 0)
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), tv_nsec: duration.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    use super::*;

    /// Tells when it is dropped.
    struct Never(mpsc::Sender<()>);

    impl Future for Never {
        type Output = ();

        fn poll(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }

    impl Drop for Never {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }

    #[test]
    fn g6_a_wait_ends_when_the_asker_hangs_up_or_the_deadline_passes() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let asker = Asker::behind(ours.as_fd());
        let (dropped, is_dropped) = mpsc::channel();
        asker.check().unwrap();
        let late = Some(Instant::now());
        assert!(matches!(asker.wait_for(Never(dropped.clone()), late), Ok(Ended::Late)));
        is_dropped.try_recv().unwrap();
        let hangs_up = std::thread::spawn(move || drop(theirs));
        let ended = asker.wait_for(Never(dropped), None).err().unwrap();
        assert_eq!(ended.errno, Errno::CANCELED.raw_os_error());
        is_dropped.try_recv().unwrap();
        assert_eq!(asker.check().unwrap_err().errno, Errno::CANCELED.raw_os_error());
        hangs_up.join().unwrap();
        // What is there already does not ask who is there.
        assert!(matches!(asker.wait_for(std::future::ready(7), late), Ok(Ended::Ready(7))));
    }

    #[test]
    fn a_wait_goes_on_when_it_is_woken() {
        let (send, receive) = mpsc::channel();
        let mut waker = Some(send);
        let mut polled = 0;
        let future = std::future::poll_fn(|context| {
            polled += 1;
            if let Some(send) = waker.take() {
                send.send(context.waker().clone()).unwrap();
                return Poll::Pending;
            }
            Poll::Ready(())
        });
        let wakes = std::thread::spawn(move || receive.recv().unwrap().wake());
        assert!(matches!(Asker::default().wait_for(future, None), Ok(Ended::Ready(()))));
        wakes.join().unwrap();
        assert_eq!(polled, 2);
    }
}
