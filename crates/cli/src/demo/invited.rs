//! The second process, as the owner of the pool sees it.

use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use pinfold::File;

use super::heir::places;
use super::message::{ENDED, Order, count_of_text, places_to_text};
use super::socket::Socket;
use super::stage::Stage;
use crate::status::{CannotRun, doing};

/// Killed at the latest when this is dropped.
pub(crate) struct Invited {
    process: Child,
    socket: Socket,
}

impl Invited {
    /// Starts it.
    pub(crate) fn start() -> Result<Self, CannotRun> {
        let (socket, theirs) = Socket::pair()?;
        let program = std::env::current_exe().map_err(doing("cannot find this program"))?;
        let mut command = Command::new(program);
        let process = command.arg(super::guest::ARGUMENT).stdin(Stdio::from(theirs)).stdout(Stdio::null()).spawn();
        Ok(Self { process: process.map_err(doing("cannot start a second process"))?, socket })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Invites it to the pool, and has it start its transfers into a range of a file; how many are in flight.
    pub(crate) fn bring(&self, stage: &Stage, file: &File, order: &Order) -> Result<u64, CannotRun> {
        let invitation = stage.pool.area().invite(self.pid())?;
        let [header, segment] = invitation.as_fds();
        let region = stage.pool.region().file().ok_or_else(|| CannotRun("the pool cannot be mapped".to_owned()))?;
        self.socket.send(&order.to_text()?, &[header, segment, region, stage.source.device.as_fd()])?;
        let block = stage.pool.block_size();
        let bytes = order.blocks.start * block..order.blocks.end * block;
        loop {
            match self.socket.receive()?.0.as_str() {
                "where" => self.socket.send(&places_to_text(&places(&file.extents(), &bytes)), &[])?,
                count => return count_of_text(count),
            }
        }
    }

    /// Of one that was killed: whether its transfers had ended before.
    pub(crate) fn had_ended(&self) -> bool {
        self.socket.receive().is_ok_and(|(said, _)| said == ENDED)
    }

    /// `kill -9`; when it was reaped.
    pub(crate) fn kill(&mut self) -> Result<Instant, CannotRun> {
        self.process.kill().map_err(doing("cannot kill the second process"))?;
        self.process.wait().map_err(doing("cannot reap the second process"))?;
        Ok(Instant::now())
    }
}

impl Drop for Invited {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
