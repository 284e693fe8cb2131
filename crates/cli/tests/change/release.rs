//! `release`: what devices of a dead process may still reach (G8).

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use pinfold::{Access, Pool, live_dir_of};
use pinfold_control::{Client, Pin, Request, rings_in};
use pinfold_dma::UringOptions;
use serde_json::Value;

use crate::pools::{BOTH, PoolFile};

const POOL: &str = "PINFOLD_CLI_TEST_POOL";

/// In a process of its own: one pin through a ring, and one through a device that leaves no proof, until it is killed.
#[test]
fn the_other_process() {
    let Some(path) = std::env::var_os(POOL) else { return };
    let pool = Pool::load(&path).unwrap();
    let file = pool.create("/file").unwrap();
    file.write_at(0, &[7; 65536]).unwrap();
    let rings = rings_in(live_dir_of(path.as_ref()));
    std::fs::create_dir_all(&rings).unwrap();
    let ring = UringOptions::new().lock_dir(rings).create().unwrap();
    let (reader, _writer) = std::io::pipe().unwrap();
    let by_ring = file.pin(0..4096, Access::Write).wait().unwrap();
    let _in_flight = ring.submit(pinfold_dma::Request::read_stream(&reader), by_ring).unwrap();
    let _by_nic = file.pin(8192..12288, Access::Write).labelled("nic 0", "chunk 17").unwrap().wait().unwrap();
    println!("\npinned");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read(&mut [0]);
}

/// A pool whose owner was killed with both in flight.
fn left_behind(owner: crate::pools::Owner) -> PoolFile {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = dir.path().join("pool");
    Pool::format(&path, 32 << 20).unwrap().close().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["release::the_other_process", "--exact", "--nocapture"])
        .env(POOL, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let says = BufReader::new(child.stdout.take().unwrap());
    assert!(says.lines().any(|line| line.unwrap() == "pinned"));
    child.kill().unwrap();
    child.wait().unwrap();
    PoolFile::there(owner, path, dir)
}

/// The pin that no ring speaks for.
fn by_nic(pool: &PoolFile) -> String {
    let ended = pool.run("release", &[]).expect(0);
    let line = ended.stdout.lines().find(|line| line.contains("nic 0")).expect("it is listed").to_owned();
    line.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn g8_pins_of_a_ring_that_is_gone_are_released_and_others_by_decision_alone() {
    for owner in BOTH {
        let pool = left_behind(owner);
        // The kernel ends the ring in its own time.
        let released = loop {
            let released = pool.run("release", &["--json"]).expect(0).json();
            if released["rings_gone"] != 0 {
                break released;
            }
        };
        assert_eq!(released, serde_json::json!({ "pins": 1, "rings_gone": 1, "rings_there": 0, "left": 1 }));
        let pin = by_nic(&pool);
        // Nobody is there to be asked, and no reason is no reason.
        pool.refuses("release", &["--pin", &pin, "--reason", "pulled"], "--yes");
        pool.refuses("release", &["--pin", &pin, "--reason", " ", "--yes"], "a reason");
        pool.refuses("release", &["--pin", "0.0.0", "--reason", "pulled", "--yes"], "0.0.0");
        assert_eq!(by_nic(&pool), pin);
        pool.refuses("truncate", &["-s", "0", "--try", "/file"], &pin);
        let said = pool.run("release", &["--pin", &pin, "--reason", "the card was pulled", "--yes"]).expect(0).stdout;
        assert!(said.starts_with("released: /file bytes 8192..12288: ") && said.contains("chunk 17"), "{said}");
        assert_eq!(pool.run("release", &["--json"]).expect(0).json()["left"], 0);
        pool.does("truncate", &["-s", "0", "--try", "/file"]);
        let log = std::fs::read_to_string(live_dir_of(&pool.path).join("decisions.log")).unwrap();
        let logged: Value = serde_json::from_str(&log).unwrap();
        assert_eq!((&logged["reason"], &logged["pin"]["id"]), (&"the card was pulled".into(), &pin.into()));
        let user = format!("({})", rustix::process::getuid().as_raw());
        assert!(logged["operator"].as_str().unwrap().contains(&user), "{log}");
    }
}

#[test]
fn a_program_reads_which_pin_was_released() {
    let pool = left_behind(crate::pools::Owner::Other);
    let pin = by_nic(&pool);
    let released = pool.run("release", &["--pin", &pin, "--reason", "pulled", "--yes", "--json"]).expect(0).json();
    let released: Pin = serde_json::from_value(released).unwrap();
    assert_eq!((released.id.to_string(), &*released.engine), (pin, "nic 0"));
    let mut client = Client::connect(live_dir_of(&pool.path)).unwrap();
    assert!(matches!(client.ask(&Request::Quarantine), Ok(pinfold_control::Answer::Pins(pins)) if pins.len() <= 1));
}
