//! Pictures of a pool that is in use.

mod chart_of;

use chart_of::chart_of;
use pinfold::{Access, Pool, Region};
use pinfold_picture::{Chart, Look, Stretch, What, svg, text};

const MIB: u64 = 1 << 20;

/// Bytes of what a chart names so.
fn bytes(chart: &Chart, is: impl Fn(&What) -> bool) -> u64 {
    let stretches = chart.stretches.iter().filter(|Stretch { what, .. }| is(what));
    stretches.map(|Stretch { blocks, .. }| blocks.end - blocks.start).sum::<u64>() * chart.block_size
}

#[test]
fn g7_a_pool_with_a_pin_a_parked_and_a_quarantined_extent_is_drawn_as_it_says_it_is() {
    let pool = Pool::new(Region::memfd(16 * MIB).unwrap()).unwrap();
    pool.create_dir("/kv").unwrap();
    let file = pool.create("/kv/17").unwrap();
    file.write_at(0, &vec![1; 4 * MIB as usize]).unwrap();
    let weights = pool.create("/weights & <biases>").unwrap();
    weights.allocate(0..2 * MIB).wait().unwrap();

    let held = file.pin(0..MIB, Access::Read).labelled("gpu 0", "prefill").unwrap().wait().unwrap();
    let parked = file.pin(2 * MIB..3 * MIB, Access::Write).labelled("nic 0", "chunk 17").unwrap().wait().unwrap();
    file.punch(2 * MIB..3 * MIB).detach().wait().unwrap();
    file.pin(3 * MIB..4 * MIB, Access::Write).labelled("nic 1", "lost").unwrap().wait().unwrap().abandon();
    file.truncate(3 * MIB).detach().wait().unwrap();
    // Open, and without a name.
    let nameless = pool.create("/gone").unwrap();
    nameless.write_at(0, &[1; 8192]).unwrap();
    pool.unlink("/gone").unwrap();

    let chart = chart_of(&pool, "a live pool").unwrap();
    let stats = pool.stats();
    assert_eq!(bytes(&chart, |what| matches!(what, What::File { .. })), stats.in_files);
    assert_eq!(bytes(&chart, |what| *what == What::Free), stats.free);
    assert_eq!(bytes(&chart, |what| matches!(what, What::Parked { .. })), stats.parked);
    assert_eq!(bytes(&chart, |what| matches!(what, What::Quarantined { .. })), stats.quarantined);
    assert_eq!((stats.in_files, stats.parked, stats.quarantined), (4 * MIB + 8192, MIB, MIB));

    let drawn = svg(&chart);
    roxmltree::Document::parse(&drawn).unwrap();
    for said in [
        "/kv/17",
        "/weights &amp; &lt;biases&gt;",
        "gpu 0, prefill, process",
        "nic 0, chunk 17, process",
        "nic 1, lost, process",
    ] {
        assert!(drawn.contains(said), "{said} is not in the picture");
    }
    let plain = text(&chart, Look { columns: 110, coloured: false });
    let expected = [
        "  ~     parked                   1M    6.2%",
        "  !     quarantined              1M    6.2%",
        "  ^     pinned                   2M",
    ];
    for said in expected {
        assert!(plain.contains(said), "{said:?} is not in:\n{plain}");
    }
    drop((held, parked));
}

#[test]
fn a_new_pool_is_free_from_end_to_end() {
    let pool = Pool::new(Region::memfd(4 * MIB).unwrap()).unwrap();
    let chart = chart_of(&pool, "new").unwrap();
    assert_eq!(bytes(&chart, |what| *what == What::Free), 4 * MIB);
    assert!(svg(&chart).contains("4M in 1 run, the longest 4M."));
}
