//! The SVG picture, read back by a parser that knows nothing of the writer.

mod common;

use std::collections::BTreeMap;

use common::assert_golden;
use common::specimens::{self, file, free, parked, part, quarantined};
use pinfold_picture::{Chart, PinMark, Stretch, What, svg};
use roxmltree::{Document, Node};

const BYTES_MAX: usize = 1 << 20;

/// Colours of the map that no file has.
const FREE: &str = "#e8edf1";
const PARKED: &str = "#f2a52b";
const QUARANTINED: &str = "#d1202f";
const META: &str = "#4a5560";
const UNKNOWN: &str = "#ffffff";

#[test]
fn a_small_pool_looks_as_it_was_seen_and_kept() {
    assert_golden("small.svg", &svg(&specimens::small()));
}

#[test]
fn p1_a_chart_in_another_order_gives_the_same_bytes() {
    for (name, mut shuffled) in specimens::all() {
        let drawn = svg(&shuffled);
        assert_eq!(drawn, svg(&shuffled), "{name}");
        let mut random = fastrand::Rng::with_seed(1);
        random.shuffle(&mut shuffled.stretches);
        random.shuffle(&mut shuffled.pins);
        assert_eq!(drawn, svg(&shuffled), "{name}");
    }
}

#[test]
fn p2_p3_pictures_are_xml_of_a_few_elements_that_refer_to_nothing_outside() {
    let elements = ["svg", "title", "defs", "pattern", "path", "rect", "text", "g"];
    for (name, chart) in specimens::all() {
        let drawn = svg(&chart);
        let document = parsed(&drawn);
        for node in document.descendants().filter(Node::is_element) {
            assert!(elements.contains(&node.tag_name().name()), "{name}: {node:?}");
            for attribute in node.attributes() {
                let (key, value) = (attribute.name(), attribute.value());
                assert!(!key.starts_with("on") && key != "href", "{name}: {attribute:?}");
                assert_eq!(value.contains("url("), value.starts_with("url(#pinfold-"), "{name}: {attribute:?}");
            }
        }
    }
}

#[test]
fn p2_names_are_shown_as_text() {
    let drawn = svg(&specimens::hostile());
    let document = parsed(&drawn);
    let texts: Vec<_> = document.descendants().filter_map(|node| node.text()).collect();
    for name in ["\u{fffd}[1m<title>&\u{fffd}", "</title></svg><script>alert('x')</script>", "(no name)"] {
        assert!(texts.iter().any(|text| text.contains(name)), "{name:?} is not in it");
    }
    let control = |text: &&str| text.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}');
    assert_eq!(texts.iter().find(|text| control(text)), None);
}

#[test]
fn p3_a_picture_is_less_than_a_mebibyte_whatever_the_pool() {
    for (name, chart) in specimens::all() {
        assert!(svg(&chart).len() < BYTES_MAX, "{name}");
    }
    // A cell of the finest map has 2^19 blocks, one of the coarsest 2^22; the first of these needs the coarsest.
    for turn in [20, 22] {
        let chart = worst(1 << turn);
        let drawn = svg(&chart);
        assert!(drawn.len() < BYTES_MAX, "2^{turn}: {} bytes", drawn.len());
        assert_areas(&format!("2^{turn}"), &chart, &drawn);
    }
}

#[test]
fn every_block_is_drawn_once_and_as_large_as_it_is() {
    for (name, chart) in specimens::all() {
        assert_areas(name, &chart, &svg(&chart));
    }
    for seed in 0..40 {
        let chart = random(seed);
        assert_areas(&format!("seed {seed}"), &chart, &svg(&chart));
    }
}

#[test]
fn a_stuck_block_of_a_huge_pool_is_marked_and_named() {
    let drawn = svg(&specimens::huge());
    let document = parsed(&drawn);
    let marks =
        document.descendants().filter(|node| node.attribute("fill") == Some(PARKED) && node.has_attribute("stroke"));
    let widest =
        marks.flat_map(|node| rectangles(node.attribute("d").unwrap())).map(|place| place.width).reduce(f64::max);
    assert_eq!(widest, Some(4.0), "one block of 2^32 would not be seen");
    assert!(drawn.contains(">nic 0, for a chunk, 7200.1 s<"));
}

#[test]
fn a_shredded_file_is_told_with_its_extents_and_free_space_with_its_runs() {
    let drawn = svg(&specimens::shredded(1 << 20));
    for said in [">524,288<", ">2G in 524,288 runs, the longest 4K. Half of it lies in runs of 4K or more.<"] {
        assert!(drawn.contains(said), "{said} is not in it");
    }
    let small = svg(&specimens::small());
    assert!(drawn.contains("Finely hatched") && !small.contains("Finely hatched"));
}

#[test]
fn a_pool_without_blocks_and_one_without_files_say_so() {
    let drawn = svg(&Chart::default());
    parsed(&drawn);
    assert!(drawn.contains("The pool has no blocks."));
    let drawn = svg(&specimens::all_free());
    for said in ["There are no files.", "100% free", "Nothing is parked, quarantined or pinned."] {
        assert!(drawn.contains(said), "{said}");
    }
}

#[test]
fn a_chart_that_contradicts_itself_is_drawn_and_told_of() {
    let chart = Chart {
        block_size: 4096,
        blocks: 10,
        stretches: vec![file(0..6, part("/a", 1, 0)), file(5..12, part("/b", 2, 0))],
        ..Chart::default()
    };
    let drawn = svg(&chart);
    assert!(drawn.contains(">1 block is named twice; what begins first is shown.<"));
    assert!(drawn.contains(">2 blocks are named past the end of the pool.<"));
}

#[test]
fn numbers_without_sense_are_drawn_too() {
    let all = |what| Chart {
        block_size: u64::MAX,
        blocks: u64::MAX,
        stretches: vec![Stretch { blocks: 0..u64::MAX, what }],
        pins: vec![PinMark { blocks: 1..u64::MAX, who: "all".into(), quarantined: false }],
        ..Chart::default()
    };
    parsed(&svg(&all(What::File { of: part("/all", u64::MAX, u64::MAX), unwritten: true })));
    parsed(&svg(&all(What::Free)));
    parsed(&svg(&Chart { block_size: 0, blocks: 3, ..Chart::default() }));
}

#[track_caller]
fn parsed(drawn: &str) -> Document<'_> {
    Document::parse(drawn).unwrap_or_else(|error| panic!("it is no XML: {error}"))
}

#[derive(Debug)]
struct Rectangle {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// The rectangles of a path: `M x y h w v h h -w z`, again and again.
fn rectangles(data: &str) -> Vec<Rectangle> {
    let numbers = |piece: &str| -> Vec<f64> {
        let numbers = piece.split(['M', ' ', 'h', 'v']).filter(|number| !number.is_empty());
        numbers.map(|number| number.parse().expect("a number")).collect()
    };
    let pieces = data.split('z').filter(|piece| !piece.is_empty());
    pieces
        .map(|piece| match numbers(piece)[..] {
            [x, y, width, height, back] if back == -width => Rectangle { x, y, width, height },
            _ => panic!("no rectangle: {piece}"),
        })
        .collect()
}

/// The areas of the map: they lie side by side, and each colour's is its blocks' part of the whole.
#[track_caller]
fn assert_areas(name: &str, chart: &Chart, drawn: &str) {
    let document = parsed(drawn);
    let map = document.descendants().find(|node| node.attribute("id") == Some("blocks")).expect("a map");
    let mut areas: BTreeMap<&str, f64> = BTreeMap::new();
    for path in map.children().filter(Node::is_element) {
        for Rectangle { x, y, width, height } in rectangles(path.attribute("d").unwrap()) {
            assert!(x >= 136.0 && x + width <= 1160.001 && y >= 200.0, "{name}: off the map: {x} {y} {width} {height}");
            *areas.entry(path.attribute("fill").unwrap()).or_default() += width * height;
        }
    }
    let whole: f64 = areas.values().sum();
    let expected = amounts(chart);
    let of_files = areas.iter().filter(|(fill, _)| ![FREE, PARKED, QUARANTINED, META, UNKNOWN].contains(fill));
    let files: f64 = of_files.map(|(_, area)| area).sum();
    areas.insert("files", files);
    for (what, blocks) in expected {
        let part = areas.get(what).copied().unwrap_or(0.0) / whole.max(1.0);
        let should = blocks as f64 / chart.blocks.max(1) as f64;
        // A band's height is said to a hundredth, of a line that is 10 high.
        assert!((part - should).abs() < 1e-3, "{name}: {what} is {part} of the map, and {should} of the pool");
    }
}

/// Blocks of each colour, one by one and not by runs; the first to begin has a block.
fn amounts(chart: &Chart) -> BTreeMap<&'static str, u64> {
    let mut amounts = BTreeMap::from([FREE, PARKED, QUARANTINED, META, UNKNOWN, "files"].map(|what| (what, 0)));
    let mut sorted: Vec<_> =
        chart.stretches.iter().filter(|stretch| stretch.blocks.start < stretch.blocks.end).collect();
    sorted.sort_by_key(|stretch| stretch.blocks.start);
    let mut named = 0;
    for Stretch { blocks, what } in sorted {
        let what = match what {
            What::Meta(_) => META,
            What::File { .. } => "files",
            What::Free => FREE,
            What::Parked { .. } => PARKED,
            What::Quarantined { .. } => QUARANTINED,
            What::Unknown => UNKNOWN,
        };
        let start = blocks.start.clamp(named, chart.blocks);
        let end = blocks.end.clamp(start, chart.blocks);
        *amounts.get_mut(UNKNOWN).unwrap() += start.saturating_sub(named);
        *amounts.get_mut(what).unwrap() += end - start;
        named = end;
    }
    *amounts.get_mut(UNKNOWN).unwrap() += chart.blocks - named;
    amounts
}

/// A pool of any size, of runs of any length.
fn random(seed: u64) -> Chart {
    let mut random = fastrand::Rng::with_seed(seed);
    let blocks = 1 << random.u32(0..34);
    let blocks = random.u64(blocks / 2..=blocks).max(1);
    let longest = (blocks >> random.u32(2..14)).max(2);
    let mut stretches = Vec::new();
    let mut at = 0;
    while at < blocks && stretches.len() < 40_000 {
        let end = (at + random.u64(1..longest)).min(blocks);
        let of = part("/file", random.u64(0..50), at << 12);
        stretches.push(match random.u32(0..12) {
            0..5 => file(at..end, of),
            5 => Stretch { blocks: at..end, what: What::File { of, unwritten: true } },
            6 => parked(at..end, of, "nic"),
            7 => quarantined(at..end, of, "gone"),
            8 => Stretch { blocks: at..end, what: What::Meta("log") },
            9 => Stretch { blocks: at..end, what: What::Unknown },
            _ => free(at..end),
        });
        at = end;
    }
    Chart { title: format!("seed {seed}"), block_size: 4096, blocks, stretches, pins: vec![] }
}

/// What makes pictures long: everything everywhere, stuck and pinned, under names that are longer in XML; shredded and not in
/// turn, so many blocks each.
fn worst(turn: u64) -> Chart {
    let mut random = fastrand::Rng::with_seed(turn);
    let long = "\"".repeat(500);
    let blocks = 1 << 32;
    let mut stretches = Vec::new();
    let mut pins = Vec::new();
    let mut at = 0;
    while at < blocks {
        let shredded = (at / turn).is_multiple_of(2);
        let end = if shredded { at + random.u64(1 << 14..1 << 16) } else { (at / turn + 1) * turn }.min(blocks);
        let of = part(&long, random.u64(0..10_000), at << 12);
        stretches.push(match random.u32(0..9) {
            0 => parked(at..end, of, &long),
            1 => quarantined(at..end, of, &long),
            2 => free(at..end),
            3 => Stretch { blocks: at..end, what: What::Unknown },
            4 => Stretch { blocks: at..end, what: What::Meta("log") },
            5 => Stretch { blocks: at..end, what: What::File { of, unwritten: true } },
            _ => file(at..end, of),
        });
        if random.bool() {
            pins.push(PinMark {
                blocks: at..at + (end - at) / 2,
                who: long.as_str().into(),
                quarantined: random.bool(),
            });
        }
        at = end;
    }
    Chart { title: long, block_size: 4096, blocks, stretches, pins }
}
