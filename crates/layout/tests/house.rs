//! What holds of the sources themselves.

use std::path::Path;

/// The mechanism's source runs under model checkers too, so it must not reach past `crate::sync`. A line that does says
/// `Not modelled:` and why, on the line above.
#[test]
fn the_mechanism_takes_the_machine_from_sync_alone() {
    let machine = ["std::sync::", "std::thread", "core::sync", "std::time::Instant", "std::time::{", "rustix::"];
    let harmless = ["std::sync::Weak", "use rustix::io::Errno;", "std::sync::PoisonError"];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mechanism");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let source = std::fs::read_to_string(&path).unwrap();
        let mut above = "";
        for (number, line) in source.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            let reaches =
                machine.iter().any(|name| code.contains(name)) && !harmless.iter().any(|name| code.contains(name));
            assert!(!reaches || above.contains("Not modelled:"), "{}:{}: {line}", path.display(), number + 1);
            above = line;
        }
        read += 1;
    }
    assert!(read > 20, "the mechanism was not found");
}
