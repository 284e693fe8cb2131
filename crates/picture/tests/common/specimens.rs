//! Pools to draw, from the smallest to the largest; the same whenever they are made.

use std::ops::Range;
use std::sync::Arc;

use pinfold_picture::{Chart, Part, PinMark, Stretch, What};

pub(crate) const BLOCK: u64 = 4096;

/// All of them, by name.
pub(crate) fn all() -> Vec<(&'static str, Chart)> {
    vec![
        ("small", small()),
        ("fragmented", fragmented()),
        ("huge", huge()),
        ("shredded", shredded(1 << 16)),
        ("hostile", hostile()),
        ("empty", Chart { title: "no blocks".into(), block_size: BLOCK, ..Chart::default() }),
        ("free", all_free()),
        ("tiny", tiny()),
    ]
}

pub(crate) fn part(name: &str, id: u64, offset: u64) -> Part {
    Part { name: name.into(), id, offset }
}

pub(crate) fn file(blocks: Range<u64>, of: Part) -> Stretch {
    Stretch { blocks, what: What::File { of, unwritten: false } }
}

pub(crate) fn free(blocks: Range<u64>) -> Stretch {
    Stretch { blocks, what: What::Free }
}

/// 16 MiB with two files, and one of everything.
pub(crate) fn small() -> Chart {
    let unwritten = What::File { of: part("/kv/17", 12, 3 << 20), unwritten: true };
    Chart {
        title: "/dev/shm/small.pool".into(),
        block_size: BLOCK,
        blocks: 4096,
        stretches: vec![
            Stretch { blocks: 0..1, what: What::Meta("superblock") },
            Stretch { blocks: 1..129, what: What::Meta("log") },
            file(129..897, part("/kv/17", 12, 0)),
            Stretch { blocks: 897..1409, what: unwritten },
            free(1409..1500),
            file(1500..2000, part("/weights", 11, 0)),
            parked(2000..2064, part("/kv/16", 10, 1 << 20), "nic 0, for chunk 16, 2.4 s"),
            file(2064..2700, part("/weights", 11, 500 * BLOCK)),
            free(2700..3000),
            quarantined(3000..3001, part("/kv/9", 9, 0), "process 4711 is gone, nic 1"),
            free(3001..4000),
        ],
        pins: vec![
            PinMark { blocks: 200..264, who: "gpu 0, for prefill".into(), quarantined: false },
            PinMark { blocks: 2000..2064, who: "nic 0, for chunk 16".into(), quarantined: false },
            PinMark { blocks: 3000..3001, who: "process 4711 is gone, nic 1".into(), quarantined: true },
        ],
    }
}

pub(crate) fn parked(blocks: Range<u64>, was: Part, by: &str) -> Stretch {
    Stretch { blocks, what: What::Parked { was, by: by.into() } }
}

pub(crate) fn quarantined(blocks: Range<u64>, was: Part, by: &str) -> Stretch {
    Stretch { blocks, what: What::Quarantined { was, by: by.into() } }
}

/// What a pool looks like whose files grow and shrink: runs of many lengths, by `what` from a random number.
fn grown(
    blocks: u64,
    seed: u64,
    length: impl Fn(&mut fastrand::Rng, u64) -> u64,
    what: impl Fn(&mut fastrand::Rng, u64) -> What,
) -> Vec<Stretch> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut stretches = Vec::new();
    let mut at = 0;
    while at < blocks {
        let end = (at + length(&mut random, at)).min(blocks);
        let what = what(&mut random, at);
        stretches.push(Stretch { blocks: at..end, what });
        at = end;
    }
    stretches
}

/// 1 GiB with 40 files, some in many extents, a shredded part, and blocks that are stuck.
pub(crate) fn fragmented() -> Chart {
    let names: Vec<Arc<str>> = (0..40).map(|id| format!("/cache/layer {id:02}/block-table.bin").into()).collect();
    let blocks = 1 << 18;
    let length = |random: &mut fastrand::Rng, at: u64| match (at * 8 / blocks, random.u32(0..10)) {
        // Two parts of the pool are churned.
        (3 | 4, _) => random.u64(1..40),
        (6, _) => random.u64(1..6),
        (_, 0..5) => random.u64(1..24),
        (_, 5..9) => random.u64(64..1500),
        _ => random.u64(3000..6000),
    };
    let what = |random: &mut fastrand::Rng, at: u64| {
        // Free space gathers towards the end.
        let free = 0.15 + 0.4 * at as f64 / blocks as f64;
        let id = random.u64(0..40).min(random.u64(0..40));
        let of = Part { name: Arc::clone(&names[id as usize]), id: id + 100, offset: at * BLOCK };
        match random.f64() {
            part if part < free => What::Free,
            part if part > 0.99 => {
                What::Parked { was: of, by: format!("nic {}, for chunk {id}, 1.{id} s", id % 3).into() }
            }
            part if part > 0.986 => {
                What::Quarantined { was: of, by: format!("process 47{id:02} is gone, rdma 0").into() }
            }
            _ => What::File { of, unwritten: random.u32(0..9) == 0 },
        }
    };
    let stretches = grown(blocks, 7, length, what);
    let mut random = fastrand::Rng::with_seed(8);
    let mut pins: Vec<_> = stretches
        .iter()
        .filter(|stretch| {
            matches!(stretch.what, What::Parked { .. } | What::Quarantined { .. }) || random.u32(0..60) == 0
        })
        .filter(|stretch| stretch.what != What::Free)
        .map(|stretch| PinMark {
            blocks: stretch.blocks.clone(),
            who: "gpu 0, for prefill".into(),
            quarantined: matches!(stretch.what, What::Quarantined { .. }),
        })
        .collect();
    pins.push(PinMark { blocks: 60_000..71_000, who: "rdma 1, a memory region".into(), quarantined: false });
    Chart { title: "/dev/shm/cache.pool".into(), block_size: BLOCK, blocks, stretches, pins }
}

/// 16 TiB with five files, and one parked block.
pub(crate) fn huge() -> Chart {
    let tib = 1 << 28;
    let gib = 1 << 18;
    Chart {
        title: "/dev/dax0.0".into(),
        block_size: BLOCK,
        blocks: 16 * tib,
        stretches: vec![
            Stretch { blocks: 0..1, what: What::Meta("superblock") },
            Stretch { blocks: 1..gib, what: What::Meta("log") },
            file(gib..3 * tib, part("/models/large/weights", 1, 0)),
            file(3 * tib..3 * tib + 700 * gib, part("/models/small/weights", 2, 0)),
            free(3 * tib + 700 * gib..4 * tib),
            file(4 * tib..9 * tib, part("/kv", 3, 0)),
            Stretch { blocks: 9 * tib..10 * tib, what: What::File { of: part("/kv", 3, 20 << 40), unwritten: true } },
            free(10 * tib..11 * tib),
            parked(11 * tib..11 * tib + 1, part("/old", 4, 0), "nic 0, for a chunk, 7200.1 s"),
            free(11 * tib + 1..12 * tib),
            file(12 * tib..12 * tib + 64, part("/notes", 5, 0)),
            free(12 * tib + 64..16 * tib),
        ],
        pins: vec![PinMark {
            blocks: 5 * tib..5 * tib + 512 * gib,
            who: "gpu 3, a registration".into(),
            quarantined: false,
        }],
    }
}

/// A pool of which one file has every second block; at 2^20 blocks it is in a million pieces.
pub(crate) fn shredded(blocks: u64) -> Chart {
    let name: Arc<str> = "/log".into();
    let piece = |at: u64| {
        let of = Part { name: Arc::clone(&name), id: 3, offset: at / 2 * BLOCK };
        if at.is_multiple_of(2) { file(at..at + 1, of) } else { free(at..at + 1) }
    };
    Chart {
        title: "every second block".into(),
        block_size: BLOCK,
        blocks,
        stretches: (0..blocks).map(piece).collect(),
        pins: (0..blocks / 4)
            .step_by(2)
            .map(|at| PinMark { blocks: at..at + 1, who: "nic".into(), quarantined: at % 3 == 0 })
            .collect(),
    }
}

/// Names that would break a page or a terminal, and stretches that contradict one another.
pub(crate) fn hostile() -> Chart {
    let names = [
        "</title></svg><script>alert('x')</script>",
        "\"quoted\" & 'quoted' &amp; <![CDATA[ ]]> <!-- -->",
        "\u{1b}[2J\u{1b}]0;title\u{7}\r\n\t\0\u{9b}31m",
        "right\u{202e}tfel\u{200b}\u{feff}\u{ffff}",
        "\u{fffd}\u{fffd} from bytes, 日本語のファイル名, 🦀🦀",
        "",
    ];
    let long = "&<>\"'".repeat(400);
    let names = names.into_iter().chain([long.as_str()]);
    let mut stretches: Vec<_> =
        (0..).zip(names).map(|(id, name)| file(id * 100..id * 100 + 150, part(name, id, u64::MAX - 5))).collect();
    stretches.push(parked(900..950, part(&long, 77, u64::MAX), &long));
    stretches.push(quarantined(950..100_000, part("\u{1b}[31m", 78, 0), "\u{1b}[31m<b>"));
    stretches.push(free(u64::MAX - 3..u64::MAX));
    #[expect(clippy::reversed_empty_ranges, reason = "a chart may hold anything")]
    stretches.push(free(9..3));
    let pins = vec![PinMark { blocks: 0..u64::MAX, who: "<who>\n\u{1b}[7m".into(), quarantined: true }];
    Chart { title: "\u{1b}[1m<title>&\n".into(), block_size: BLOCK, blocks: 1000, stretches, pins }
}

pub(crate) fn all_free() -> Chart {
    Chart {
        title: "nothing yet".into(),
        block_size: 2 << 20,
        blocks: 3000,
        stretches: vec![free(0..3000)],
        pins: vec![],
    }
}

/// Five blocks.
pub(crate) fn tiny() -> Chart {
    let stretches = vec![file(0..2, part("/a", 1, 0)), free(2..3), file(3..5, part("/b", 2, 0))];
    Chart { title: "five blocks".into(), block_size: BLOCK, blocks: 5, stretches, pins: vec![] }
}
