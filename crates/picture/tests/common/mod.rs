//! What the tests of this crate share.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod specimens;

use std::path::Path;

/// Compares a picture with the one that was looked at and kept. A picture that changed is written beside the test's other
/// output: look at it, and put it in the old one's place.
#[track_caller]
pub(crate) fn assert_golden(name: &str, drawn: &str) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::fs::read_to_string(&kept).is_ok_and(|kept| kept == drawn) {
        return;
    }
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&fresh, drawn).expect("the target directory is writable");
    panic!("{name} is not what it was; look at {} and keep it, or not", fresh.display());
}
