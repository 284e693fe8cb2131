//! The log against histories whose truth is known.

use super::*;
use crate::device::first_stamp;
use crate::sectors::{BLOCK, FILE_BYTES};
use crate::stamp::{Ids, Word};

const WAITS: Promise = Promise { waits: true, stays: true };
const DETACHES: Promise = Promise { waits: false, stays: true };

struct Bench {
    findings: Arc<Findings>,
    ids: Arc<Ids>,
}

impl Bench {
    fn new() -> Self {
        Self { findings: Arc::new(Findings::new()), ids: Ids::new(8, 8) }
    }

    fn file(&self, blocks: u64) -> Arc<FileLog> {
        FileLog::new(self.ids.take().unwrap(), blocks * BLOCK, &self.findings)
    }

    /// The kinds of all that was found.
    fn found(&self) -> Vec<ViolationKind> {
        self.findings.told().iter().map(|violation| violation.kind).collect()
    }
}

fn blocks(range: std::ops::Range<u64>) -> Sectors {
    Sectors::of(range.start * BLOCK..range.end * BLOCK)
}

/// What a device's write of that generation leaves in some sectors.
fn stamps(log: &FileLog, sectors: Sectors, generation: u8) -> Vec<u8> {
    let mut bytes = vec![0; sectors.iter().count() * SECTOR as usize];
    for (sector, bytes) in sectors.iter().zip(bytes.chunks_exact_mut(SECTOR as usize)) {
        let first = first_stamp(log.id.number(), generation, sectors);
        crate::stamp::Stamp { sector: sector as u16, ..first }.word().fill(bytes);
    }
    bytes
}

fn zeros(sectors: Sectors) -> Vec<u8> {
    vec![0; sectors.iter().count() * SECTOR as usize]
}

/// A device's write that is in flight.
fn fly(log: &FileLog, sectors: Sectors, generation: u8) -> Ticket {
    let ticket = log.call_write(sectors, generation);
    log.entered(ticket);
    log.submitted(ticket);
    ticket
}

fn land(log: &FileLog, ticket: Ticket) {
    log.completed(ticket);
    log.gone(ticket);
}

/// A copy of some sectors finds these bytes.
fn copy_finds(log: &FileLog, sectors: Sectors, bytes: Vec<u8>) {
    let ticket = log.copy_out_begins(sectors);
    log.copy_out_ends(ticket, bytes);
}

fn begin(log: &FileLog, promise: Promise, change: Change) -> (operations::Begun, Change) {
    log.begin(promise, |_| Some(change)).expect("nothing else runs")
}

#[test]
fn what_a_device_wrote_is_there_and_nothing_else() {
    let bench = Bench::new();
    let (log, other) = (bench.file(4), bench.file(4));
    land(&log, fly(&log, blocks(0..1), 1));
    copy_finds(&log, blocks(0..1), stamps(&log, blocks(0..1), 1));
    copy_finds(&log, blocks(1..2), zeros(blocks(1..2)));
    assert_eq!(bench.found(), []);

    copy_finds(&log, blocks(0..1), stamps(&other, blocks(0..1), 1)); // foreign
    copy_finds(&log, blocks(0..1), zeros(blocks(0..1))); // lost
    copy_finds(&log, blocks(1..2), stamps(&log, blocks(0..1), 1)); // elsewhere
    assert_eq!(bench.found(), [ViolationKind::Corruption; 3]);
}

#[test]
fn a_stale_stamp_is_a_fault_once_a_later_write_has_ended() {
    let bench = Bench::new();
    let log = bench.file(4);
    land(&log, fly(&log, blocks(0..1), 1));
    let later = fly(&log, blocks(0..1), 2);
    copy_finds(&log, blocks(0..1), stamps(&log, blocks(0..1), 1));
    assert_eq!(bench.found(), [], "it is still in flight");
    land(&log, later);
    copy_finds(&log, blocks(0..1), stamps(&log, blocks(0..1), 1));
    assert_eq!(bench.found(), [ViolationKind::Corruption]);
}

#[test]
fn half_of_a_sector_may_be_written_while_a_transfer_is_in_flight() {
    let bench = Bench::new();
    let log = bench.file(1);
    let _in_flight = fly(&log, blocks(0..1), 1);
    let mut torn = stamps(&log, blocks(0..1), 1);
    Word::ZERO.fill(&mut torn[..256]);
    copy_finds(&log, blocks(0..1), torn);
    assert_eq!(bench.found(), []);
}

#[test]
fn a_wait_that_returns_while_a_transfer_is_in_is_too_early() {
    let bench = Bench::new();
    let log = bench.file(4);
    let _in_flight = fly(&log, blocks(1..2), 1);
    let (begun, change) = begin(&log, WAITS, Change::Punch(0..4 * BLOCK));
    assert!(begun.is_raced);
    log.end(begun, &change, Ended::Made);
    assert_eq!(bench.found(), [ViolationKind::TooEarly]);
}

#[test]
fn a_transfer_outside_the_range_is_not_waited_for_and_races_nothing() {
    let bench = Bench::new();
    let log = bench.file(4);
    let _in_flight = fly(&log, blocks(3..4), 1);
    let (begun, change) = begin(&log, WAITS, Change::Punch(0..BLOCK));
    assert!(!begun.is_raced);
    log.end(begun, &change, Ended::Made);
    assert_eq!(bench.found(), []);
}

#[test]
fn what_was_detached_must_not_show_in_the_file() {
    let bench = Bench::new();
    let log = bench.file(4);
    let in_flight = fly(&log, blocks(0..1), 1);
    let (begun, change) = begin(&log, DETACHES, Change::Punch(0..BLOCK));
    log.end(begun, &change, Ended::Made);
    land(&log, in_flight);
    copy_finds(&log, blocks(0..1), zeros(blocks(0..1)));
    assert_eq!(bench.found(), []);
    copy_finds(&log, blocks(0..1), stamps(&log, blocks(0..1), 1));
    assert_eq!(bench.found(), [ViolationKind::Corruption]);
}

#[test]
fn a_device_that_reads_what_was_detached_sees_what_was_there() {
    let bench = Bench::new();
    let log = bench.file(4);
    land(&log, fly(&log, blocks(0..1), 1));
    let reads = |seen: Vec<u8>| {
        let reader = log.call_read(blocks(0..1));
        log.entered(reader);
        let (begun, change) = begin(&log, DETACHES, Change::Punch(0..BLOCK));
        log.end(begun, &change, Ended::Made);
        land(&log, fly(&log, blocks(0..1), 2));
        land(&log, reader);
        log.arrived(reader, seen);
    };
    reads(stamps(&log, blocks(0..1), 1));
    assert_eq!(bench.found(), []);
    reads(zeros(blocks(0..1)));
    assert_eq!(bench.found(), [ViolationKind::Corruption]);
}

#[test]
fn who_came_while_an_operation_ran_may_have_come_before_or_after_it() {
    for seen_after in [true, false] {
        let bench = Bench::new();
        let log = bench.file(4);
        let (begun, change) = begin(&log, WAITS, Change::Punch(0..BLOCK));
        land(&log, fly(&log, blocks(0..1), 1));
        log.end(begun, &change, Ended::Made);
        let seen = if seen_after { stamps(&log, blocks(0..1), 1) } else { zeros(blocks(0..1)) };
        copy_finds(&log, blocks(0..1), seen);
        assert_eq!(bench.found(), []);
    }
}

#[test]
fn what_is_seen_is_judged_once_the_operation_has_returned() {
    let bench = Bench::new();
    let log = bench.file(4);
    land(&log, fly(&log, blocks(0..1), 1));
    let (begun, change) = begin(&log, WAITS, Change::Punch(0..BLOCK));
    copy_finds(&log, blocks(0..1), zeros(blocks(0..1)));
    copy_finds(&log, blocks(1..2), stamps(&log, blocks(0..1), 1));
    assert_eq!(bench.found(), [], "the second is wrong either way, but is judged with the first");
    log.end(begun, &change, Ended::Made);
    assert_eq!(bench.found(), [ViolationKind::Corruption]);
}

#[test]
fn blocks_that_move_take_their_stamps_with_them() {
    let bench = Bench::new();
    let (log, other) = (bench.file(4), bench.file(4));
    land(&log, fly(&log, blocks(2..3), 1));
    let (begun, change) = begin(&log, WAITS, Change::Collapse(0..BLOCK));
    log.end(begun, &change, Ended::Made);
    assert_eq!(log.len(), 3 * BLOCK);
    copy_finds(&log, blocks(1..2), stamps(&log, blocks(2..3), 1));

    let exchange = log.begin_exchange(&other, WAITS, |_, _| Some((BLOCK..2 * BLOCK, 3 * BLOCK))).unwrap();
    log.end_exchange(&other, exchange, Ended::Made);
    copy_finds(&other, blocks(3..4), stamps(&log, blocks(2..3), 1));
    copy_finds(&log, blocks(1..2), zeros(blocks(1..2)));
    assert_eq!(bench.found(), []);
}

#[test]
fn a_block_that_is_kept_in_part_may_miss_what_a_detached_transfer_wrote_later() {
    let bench = Bench::new();
    let log = bench.file(4);
    let in_flight = fly(&log, blocks(0..1), 1);
    let (begun, change) = begin(&log, DETACHES, Change::Truncate { len: 512 });
    log.end(begun, &change, Ended::Made);
    land(&log, in_flight);
    let first = Sectors::of(0..512);
    copy_finds(&log, first, zeros(first));
    copy_finds(&log, first, stamps(&log, first, 1));
    assert_eq!(bench.found(), []);
}

#[test]
fn a_newcomer_must_not_get_in_past_an_operation_that_is_held_back() {
    let bench = Bench::new();
    let log = bench.file(4);
    let holder = fly(&log, blocks(0..1), 1);
    let (begun, change) = begin(&log, WAITS, Change::Punch(0..4 * BLOCK));
    let refused = log.call_write(blocks(2..3), 2);
    let held_back = log.is_kept_out_by(refused).expect("the holder is still in");
    log.refused(refused);
    log.got_in_past(fly(&log, blocks(2..3), 3), held_back);
    assert_eq!(bench.found(), [ViolationKind::NotKeptOut]);
    land(&log, holder);
    log.end(begun, &change, Ended::Made);
}

#[test]
fn busy_is_explained_by_whoever_came_meanwhile() {
    let bench = Bench::new();
    let log = bench.file(4);
    let (begun, change) = begin(&log, WAITS, Change::Punch(0..BLOCK));
    let _came = fly(&log, blocks(0..1), 1);
    log.end(begun, &change, Ended::Busy);
    assert_eq!(bench.found(), []);
    let (begun, change) = begin(&log, WAITS, Change::Punch(BLOCK..2 * BLOCK));
    log.end(begun, &change, Ended::Busy);
    assert_eq!(bench.found(), [ViolationKind::NotLetThrough]);
}

#[test]
fn what_shifts_runs_alone_and_what_frees_runs_together() {
    let bench = Bench::new();
    let log = bench.file(4);
    let (begun, change) = begin(&log, WAITS, Change::Punch(0..BLOCK));
    let (other, same) = begin(&log, DETACHES, Change::Zero(0..BLOCK));
    assert!(log.begin(WAITS, |_| Some(Change::Collapse(0..BLOCK))).is_none());
    log.end(begun, &change, Ended::Made);
    log.end(other, &same, Ended::Made);
    let (_begun, _) = begin(&log, WAITS, Change::Collapse(0..BLOCK));
    assert!(log.begin(WAITS, |_| Some(Change::Punch(0..BLOCK))).is_none());
}

#[test]
fn a_copy_is_short_only_at_the_end_of_the_file() {
    let bench = Bench::new();
    let log = bench.file(2);
    copy_finds(&log, Sectors::of(BLOCK..FILE_BYTES), zeros(blocks(1..2)));
    assert_eq!(bench.found(), []);
    copy_finds(&log, Sectors::of(BLOCK..FILE_BYTES), zeros(Sectors::of(0..512)));
    assert_eq!(bench.found(), [ViolationKind::Corruption]);
}

#[test]
fn an_edge_that_is_zeroed_under_a_transfer_may_be_zeros_whatever_ran_beside_it() {
    let bench = Bench::new();
    let log = bench.file(4);
    let (slow, punch) = begin(&log, WAITS, Change::Punch(0..BLOCK));
    let in_flight = fly(&log, blocks(0..1), 1);
    let (quick, edges) = begin(&log, DETACHES, Change::Punch(512..2 * BLOCK));
    log.end(quick, &edges, Ended::Made);
    log.end(slow, &punch, Ended::Made);
    land(&log, in_flight);
    let edge = Sectors::of(512..1024);
    copy_finds(&log, edge, zeros(edge));
    copy_finds(&log, edge, stamps(&log, edge, 1));
    assert_eq!(bench.found(), []);
}

#[test]
fn a_store_that_stops_wrote_its_first_part_and_nothing_else() {
    let bench = Bench::new();
    let log = bench.file(2);
    let mut stored = stamps(&log, blocks(0..2), 3);
    let host = crate::stamp::Stamp { writer: Writer::Host, ..first_stamp(log.id.number(), 3, blocks(0..2)) };
    for (sector, bytes) in stored.chunks_exact_mut(SECTOR as usize).enumerate() {
        crate::stamp::Stamp { sector: sector as u16, ..host }.word().fill(bytes);
    }
    // One block, and of the sector behind it the first half.
    let ticket = log.copy_in_begins(blocks(0..2), 3).unwrap();
    log.copy_in_ends(ticket, BLOCK + SECTOR / 2);
    stored[(BLOCK + SECTOR / 2) as usize..].fill(0);
    copy_finds(&log, blocks(0..2), stored.clone());
    assert_eq!(bench.found(), []);
    copy_finds(&log, blocks(0..1), zeros(blocks(0..1)));
    assert_eq!(bench.found(), [ViolationKind::Corruption], "the first block is there");
    let last = Sectors::of(BLOCK + SECTOR..BLOCK + 2 * SECTOR);
    copy_finds(&log, last, stored[SECTOR as usize..2 * SECTOR as usize].to_vec());
    assert_eq!(bench.found(), [ViolationKind::Corruption; 2], "and nothing behind the part");
}
