//! The suite, on the device that completes late.

use std::time::Duration;

use pinfold::Pinned;
use pinfold_dma::conformance::{self, Begun, Rig};
use pinfold_dma::late::{Cancels, LateDevice, LateOptions, LateRequest};
use pinfold_dma::{InFlight, Ticket};

struct Late;

impl Rig for Late {
    type Engine = LateDevice;
    type Handle = Ticket;

    fn engine(&self) -> LateDevice {
        LateDevice::new().unwrap()
    }

    fn stubborn_engine(&self) -> Option<LateDevice> {
        let options = LateOptions::new().cancels(Cancels::Ignored).patience(Duration::from_millis(1));
        Some(options.start().unwrap())
    }

    fn fill(&self, device: &LateDevice, pinned: Pinned, byte: u8) -> Begun<Ticket> {
        let bytes = vec![byte; pinned.len() as usize];
        let in_flight = device.submit(LateRequest::fill(bytes), pinned).map_err(|refused| refused.pinned)?;
        let ticket = in_flight.ticket();
        Ok((in_flight, ticket))
    }

    fn finish(&self, device: &LateDevice, ticket: Ticket) {
        device.complete(ticket);
    }

    fn again(&self, ticket: &Ticket) -> Option<Ticket> {
        Some(*ticket)
    }

    fn fail(&self, device: &LateDevice, pinned: Pinned) -> InFlight {
        let request = LateRequest::fill([0; 512]).and_say(Err(libc::EIO));
        let in_flight = device.submit(request, pinned).unwrap();
        device.complete(in_flight.ticket());
        in_flight
    }
}

#[test]
fn a_device_that_completes_late_passes_the_suite() {
    let report = conformance::check(&Late).unwrap();
    assert_eq!(report.skipped, []);
    println!("{report}");
}
