//! The suite, on io_uring: a transfer is a receive from a socket, which ends when the other end sends.

use std::io::Write;
use std::os::unix::net::UnixStream;

use pinfold::Pinned;
use pinfold_dma::conformance::{self, Begun, Rig};
use pinfold_dma::{InFlight, Request, Uring, UringOptions};

struct Sockets {
    attended: bool,
}

/// What ends a transfer.
struct Sender {
    socket: UnixStream,
    bytes: Vec<u8>,
}

impl Rig for Sockets {
    type Engine = Uring;
    type Handle = Sender;

    fn engine(&self) -> Uring {
        UringOptions::new().attended(self.attended).create().unwrap()
    }

    fn fill(&self, ring: &Uring, pinned: Pinned, byte: u8) -> Begun<Sender> {
        let (receiver, socket) = UnixStream::pair().unwrap();
        let bytes = vec![byte; pinned.len() as usize];
        let submitted = ring.submit(Request::receive(&receiver).whole(), pinned);
        // Our descriptor of the receiving end is closed here: the kernel has its own.
        Ok((submitted.map_err(|refused| refused.pinned)?, Sender { socket, bytes }))
    }

    fn finish(&self, _: &Uring, mut sender: Sender) {
        sender.socket.write_all(&sender.bytes).unwrap();
    }

    fn fail(&self, ring: &Uring, pinned: Pinned) -> InFlight {
        let directory = std::fs::File::open("/").unwrap();
        ring.submit(Request::read(&directory, 0), pinned).unwrap()
    }
}

#[test]
fn io_uring_passes_the_suite() {
    for attended in [false, true] {
        let report = conformance::check(&Sockets { attended }).unwrap();
        println!("{report}");
        assert_eq!(report.skipped.len(), 3, "{report}");
    }
}
