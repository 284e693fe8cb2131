//! Random sequences of all operations on files, with pins and transfers held and let go between them, in step with a
//! plain model in memory that is compared after each step; and many threads at once, without a model.

mod in_step;
mod model;
mod steps;
mod threads;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use in_step::InStep;
use steps::steps;

/// What fails is kept beside this file, and tried first from then on. `PROPTEST_CASES` asks for more.
fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let config = ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("failures"))),
        ..ProptestConfig::default()
    };
    if asked { config } else { ProptestConfig { cases, ..config } }
}

proptest! {
    #![proptest_config(config(192))]

    #[test]
    fn files_pins_and_blocks_are_what_a_plain_model_says(steps in steps(4096)) {
        InStep::run(4096, steps);
    }
}

proptest! {
    #![proptest_config(config(32))]

    #[test]
    fn large_blocks_are_what_a_plain_model_says(steps in steps(65536)) {
        InStep::run(65536, steps);
    }
}
