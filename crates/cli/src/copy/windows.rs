//! What of a file is moved, and in which pieces.
//!
//! Stays true  W1: a direct window begins and ends on multiples of [`ALIGNED`]; what lies behind the last multiple in a file
//!                 is a window of its own, and buffered.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::engine::Moving;
use super::failed::Failed;

/// What direct I/O needs offsets and lengths to be multiples of: no disk asks for more.
pub(super) const ALIGNED: u64 = 4096;

/// Bytes of one transfer.
const WINDOW: u64 = 2 << 20;

/// Transfers of one file that are in flight.
const IN_FLIGHT: usize = 8;

/// A part of a file that is moved at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Window {
    pub(super) range: Range<u64>,
    /// Past the page cache.
    pub(super) direct: bool,
}

impl Window {
    fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Divides ranges with data into windows (W1).
    pub(super) fn all_of(data: &[Range<u64>], direct: bool) -> Vec<Self> {
        let mut windows = Vec::new();
        for Range { mut start, end } in data.iter().cloned() {
            while start < end {
                let whole = (start / WINDOW + 1) * WINDOW;
                let stop = match end < whole && end - end % ALIGNED > start {
                    true => end - end % ALIGNED,
                    false => end.min(whole),
                };
                let aligned = start.is_multiple_of(ALIGNED) && stop.is_multiple_of(ALIGNED);
                windows.push(Self { range: start..stop, direct: direct && aligned });
                start = stop;
            }
        }
        windows
    }
}

/// The ranges of a file of `len` bytes that hold data, widened to multiples of [`ALIGNED`]. All of it where nobody says.
pub(super) fn data_of(file: impl AsFd, len: u64) -> io::Result<Vec<Range<u64>>> {
    let mut data: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    while at < len {
        let start = match seek(&file, SeekFrom::Data(at)) {
            Ok(start) if start < len => start,
            Ok(_) | Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::SPIPE) => at,
            Err(errno) => return Err(errno.into()),
        };
        let end = seek(&file, SeekFrom::Hole(start)).unwrap_or(len).clamp(start + 1, len);
        add(&mut data, start..end, len);
        at = end;
    }
    Ok(data)
}

/// Adds a range behind all others.
fn add(data: &mut Vec<Range<u64>>, range: Range<u64>, len: u64) {
    let wide = range.start - range.start % ALIGNED..range.end.next_multiple_of(ALIGNED).min(len);
    match data.last_mut().filter(|last| last.end >= wide.start) {
        Some(last) => last.end = last.end.max(wide.end),
        None => data.push(wide),
    }
}

/// Moves all windows, several at once: `begin` begins with one, `moved` is told how many bytes came.
///
/// What a device moves in part is begun again, buffered; and so is what it refuses because it is direct.
pub(super) fn move_all(
    windows: impl IntoIterator<Item = Window>,
    begin: impl Fn(&Window) -> Result<Moving, Failed>,
    moved: impl Fn(u64),
) -> Result<(), Failed> {
    let mut in_flight: VecDeque<(Window, Moving)> = VecDeque::new();
    let mut windows = windows.into_iter();
    loop {
        while in_flight.len() < IN_FLIGHT {
            let Some(window) = windows.next() else { break };
            let moving = begin(&window)?;
            in_flight.push_back((window, moving));
        }
        let Some((window, moving)) = in_flight.pop_front() else { return Ok(()) };
        finish(window, moving, &begin, &moved)?;
    }
}

fn finish(
    mut window: Window,
    mut moving: Moving,
    begin: &impl Fn(&Window) -> Result<Moving, Failed>,
    moved: &impl Fn(u64),
) -> Result<(), Failed> {
    loop {
        let bytes = match moving.wait() {
            Ok(0) if !window.direct => return Err(Failed::new("became shorter while it was copied; try again")),
            Ok(bytes) => bytes,
            Err(error) if window.direct && error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => 0,
            Err(error) => return Err(error.into()),
        };
        moved(bytes);
        window = Window { range: window.range.start + bytes..window.range.end, direct: false };
        if window.len() == 0 {
            return Ok(());
        }
        moving = begin(&window)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The windows of one range with data.
    fn of_one(data: Range<u64>) -> Vec<Window> {
        Window::all_of(std::slice::from_ref(&data), true)
    }

    fn ranges(windows: &[Window]) -> Vec<(Range<u64>, bool)> {
        windows.iter().map(|window| (window.range.clone(), window.direct)).collect()
    }

    #[test]
    fn a_tail_that_is_not_aligned_is_buffered_and_the_rest_is_direct() {
        let all = of_one(0..5_000);
        assert_eq!(ranges(&all), [(0..4096, true), (4096..5000, false)]);
        assert_eq!(ranges(&of_one(0..100)), [(0..100, false)]);
        let large = of_one(4096..(5 << 20) + 1);
        let expected = [
            (4096..2 << 20, true),
            (2 << 20..4 << 20, true),
            (4 << 20..5 << 20, true),
            (5 << 20..(5 << 20) + 1, false),
        ];
        assert_eq!(ranges(&large), expected);
        assert!(Window::all_of(&[0..8192, 16384..20480], false).iter().all(|window| !window.direct));
        assert_eq!(Window::all_of(&[], true), []);
    }

    #[test]
    fn ranges_of_data_are_widened_and_do_not_meet() {
        let mut data = Vec::new();
        for range in [10..20, 4000..4200, 20_000..20_001, 30_000..30_100] {
            add(&mut data, range, 30_050);
        }
        assert_eq!(data, [0..8192, 16_384..20_480, 28_672..30_050]);
    }
}
