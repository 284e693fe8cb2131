//! How pinned memory becomes entries of a queue: in one, where it lies in a row and is not too long; else in several
//! parts, whose ends make one completion.
//!
//! Stays true  Y1: the parts of a transfer are its range, in order, from the start on.

use std::collections::HashMap;

use pinfold::Segment;

use crate::flights::{Outcome, Ticket};

/// The kernel's `MAX_RW_COUNT`, for pages of any size: the most bytes that one entry moves.
pub(super) const PART_BYTES_MAX: u64 = 0x7fff_0000;

/// The kernel's `IOV_MAX`.
const VECTORS_MAX: usize = 1024;

/// A `struct iovec`, as numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(super) struct Vector {
    address: usize,
    len: usize,
}

const _: () = assert!(size_of::<Vector>() == size_of::<libc::iovec>());

/// A `struct msghdr` that leads to some vectors.
pub(super) struct Header(Box<libc::msghdr>);

// SAFETY: the pointers in it are the kernel's to follow; nothing here does.
unsafe impl Send for Header {}

impl Header {
    fn of(vectors: &[Vector]) -> Self {
        // SAFETY: all-zero is a message without address, vectors, control data and flags.
        let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        header.msg_iov = vectors.as_ptr().cast_mut().cast();
        header.msg_iovlen = vectors.len() as _;
        Self(header)
    }

    pub(super) fn as_ptr(&self) -> *mut libc::msghdr {
        std::ptr::from_ref(&*self.0).cast_mut()
    }
}

/// The memory of one part.
pub(super) enum Memory<'v> {
    One {
        address: u64,
        len: u32,
    },
    /// In a registered buffer.
    Fixed {
        address: u64,
        len: u32,
        buffer: u16,
    },
    Several {
        vectors: &'v [Vector],
        header: &'v Header,
    },
}

/// A transfer in parts.
pub(super) enum Split {
    One { address: u64, len: u32 },
    Several(Vec<Scattered>),
}

/// One part, of several places in memory.
pub(super) struct Scattered {
    vectors: Box<[Vector]>,
    header: Header,
    /// Bytes of the range before it.
    skip: u64,
    len: u64,
}

impl Split {
    /// At most `parts_max` parts: what is left over is not moved, and the transfer ends short. So it does after one part
    /// where the other party has no places.
    pub(super) fn of(segments: &[Segment], parts_max: u32) -> Self {
        match segments {
            [one] if one.len <= PART_BYTES_MAX => Self::One { address: one.address, len: one.len as u32 },
            several => Self::Several(scatter(several, parts_max.max(1) as usize)),
        }
    }

    pub(super) fn parts(&self) -> u32 {
        match self {
            Self::One { .. } => 1,
            Self::Several(parts) => parts.len() as u32,
        }
    }
}

fn scatter(segments: &[Segment], parts_max: usize) -> Vec<Scattered> {
    let mut rest = rows(segments).into_iter().peekable();
    let mut parts = Vec::new();
    let mut skip = 0;
    while parts.len() < parts_max {
        let mut vectors = Vec::new();
        let mut room = PART_BYTES_MAX;
        while let Some(row) = rest.peek_mut().filter(|_| room > 0 && vectors.len() < VECTORS_MAX) {
            let len = row.1.min(room);
            vectors.push(Vector { address: row.0 as usize, len: len as usize });
            room -= len;
            *row = (row.0 + len, row.1 - len);
            if row.1 == 0 {
                rest.next();
            }
        }
        if vectors.is_empty() {
            break;
        }
        let (vectors, len) = (vectors.into_boxed_slice(), PART_BYTES_MAX - room);
        parts.push(Scattered { header: Header::of(&vectors), vectors, skip, len });
        skip += len;
    }
    parts
}

/// Segments as (address, length), those that follow on one another in memory joined.
fn rows(segments: &[Segment]) -> Vec<(u64, u64)> {
    let mut rows: Vec<(u64, u64)> = Vec::with_capacity(segments.len());
    for segment in segments {
        match rows.last_mut().filter(|last| last.0 + last.1 == segment.address) {
            Some(last) => last.1 += segment.len,
            None => rows.push((segment.address, segment.len)),
        }
    }
    rows
}

impl Scattered {
    pub(super) fn memory(&self) -> Memory<'_> {
        match &*self.vectors {
            // Its length is a part's at most.
            [one] => Memory::One { address: one.address as u64, len: one.len as u32 },
            several => Memory::Several { vectors: several, header: &self.header },
        }
    }

    pub(super) fn skip(&self) -> u64 {
        self.skip
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }
}

/// The transfers in several parts, and how far their parts are.
#[derive(Default)]
pub(super) struct Gathering {
    transfers: HashMap<Ticket, Vec<Part>>,
}

struct Part {
    len: u64,
    outcome: Option<Outcome>,
}

impl Gathering {
    pub(super) fn begin(&mut self, ticket: Ticket, parts: &[Scattered]) {
        let parts = parts.iter().map(|part| Part { len: part.len(), outcome: None });
        self.transfers.insert(ticket, parts.collect());
    }

    /// One part ended. What the whole came to, if it was the last.
    pub(super) fn ended(&mut self, ticket: Ticket, part: usize, outcome: Outcome) -> Option<Outcome> {
        let parts = self.transfers.get_mut(&ticket)?;
        parts.get_mut(part)?.outcome = Some(outcome);
        let outcomes: Option<Vec<(u64, Outcome)>> = parts.iter().map(|part| Some((part.len, part.outcome?))).collect();
        let whole = in_order(&outcomes?);
        self.transfers.remove(&ticket);
        Some(whole)
    }

    /// How many parts a transfer has, if it has several.
    pub(super) fn parts(&self, ticket: Ticket) -> Option<usize> {
        self.transfers.get(&ticket).map(Vec::len)
    }
}

/// The bytes that moved in order from the start on: whole parts, and what the first other one moved. An error says so only
/// if nothing moved before it.
fn in_order(parts: &[(u64, Outcome)]) -> Outcome {
    let mut moved = 0;
    for (len, outcome) in parts {
        match outcome {
            Ok(bytes) if bytes == len => moved += len,
            Ok(bytes) => return Ok(moved + bytes),
            Err(errno) if moved == 0 => return Err(*errno),
            Err(_) => return Ok(moved),
        }
    }
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_count_as_far_as_they_moved_in_order() {
        assert_eq!(in_order(&[(10, Ok(10)), (10, Ok(10)), (5, Ok(5))]), Ok(25));
        assert_eq!(in_order(&[(10, Ok(10)), (10, Ok(3)), (5, Ok(5))]), Ok(13));
        assert_eq!(in_order(&[(10, Ok(10)), (10, Err(5)), (5, Ok(5))]), Ok(10));
        assert_eq!(in_order(&[(10, Err(5)), (10, Ok(10))]), Err(5));
        assert_eq!(in_order(&[(10, Ok(0)), (10, Ok(10))]), Ok(0));
    }
}
