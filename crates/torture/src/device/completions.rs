//! The thread that takes completions: a small executor, whose futures are the transfers.
//!
//! It takes each as soon as it has come: a pin that is held for longer than its transfer keeps operations waiting.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle};

use pinfold_dma::{Completion, InFlight, WaitError};

/// What is done with a completion.
pub(super) type Hear = Box<dyn FnOnce(Result<Completion, WaitError>) + Send>;

/// Dropping it waits for what is in flight.
pub(super) struct Completions {
    inbox: Sender<News>,
    thread: Option<JoinHandle<()>>,
}

enum News {
    Begun(Flight),
    /// The flight of this number may have ended.
    Look(u64),
    /// No more will begin.
    Closed,
}

struct Flight {
    in_flight: InFlight,
    hear: Hear,
}

struct Look {
    number: u64,
    inbox: Sender<News>,
}

impl Wake for Look {
    fn wake(self: Arc<Self>) {
        // Nobody listens once all flights have ended.
        let _ = self.inbox.send(News::Look(self.number));
    }
}

impl Completions {
    pub(super) fn start() -> io::Result<Self> {
        let (inbox, news) = channel();
        let wakers = inbox.clone();
        let thread = thread::Builder::new().name("completions".to_owned()).spawn(move || serve(&news, &wakers))?;
        Ok(Self { inbox, thread: Some(thread) })
    }

    /// Calls `hear` when the transfer has ended.
    pub(super) fn of(&self, in_flight: InFlight, hear: Hear) {
        if let Err(refused) = self.inbox.send(News::Begun(Flight { in_flight, hear }))
            && let News::Begun(Flight { in_flight, hear }) = refused.0
        {
            // The thread has ended: then this one waits.
            hear(in_flight.wait());
        }
    }
}

impl Drop for Completions {
    fn drop(&mut self) {
        let _ = self.inbox.send(News::Closed);
        if let Some(thread) = self.thread.take() {
            // If it panicked, its transfers were cancelled and waited for.
            let _ = thread.join();
        }
    }
}

fn serve(news: &Receiver<News>, inbox: &Sender<News>) {
    let mut flights: HashMap<u64, (Flight, Waker)> = HashMap::new();
    let mut begun = 0;
    let mut is_closed = false;
    while !is_closed || !flights.is_empty() {
        let number = match news.recv() {
            Ok(News::Begun(flight)) => {
                begun += 1;
                let waker = Waker::from(Arc::new(Look { number: begun, inbox: inbox.clone() }));
                flights.insert(begun, (flight, waker));
                begun
            }
            Ok(News::Look(number)) => number,
            Ok(News::Closed) | Err(_) => {
                is_closed = true;
                continue;
            }
        };
        look(&mut flights, number);
    }
}

fn look(flights: &mut HashMap<u64, (Flight, Waker)>, number: u64) {
    let Some((flight, waker)) = flights.get_mut(&number) else { return };
    if let Poll::Ready(ended) = Pin::new(&mut flight.in_flight).poll(&mut Context::from_waker(waker))
        && let Some((flight, _)) = flights.remove(&number)
    {
        (flight.hear)(ended);
    }
}
