//! Running one model.

use std::io::Write;
use std::sync::Once;

use crate::sync::{Patience, begin_execution};

/// How a model is explored.
#[derive(Clone, Copy)]
pub(crate) struct Check {
    preemptions: Option<usize>,
    patience: Patience,
}

/// Every interleaving.
pub(crate) const EXHAUSTIVE: Check = Check { preemptions: None, patience: Patience::Endless };

/// Every interleaving in which running threads are interrupted at most `preemptions` times. Threads that sleep or end
/// are not counted.
pub(crate) const fn bounded(preemptions: usize) -> Check {
    Check { preemptions: Some(preemptions), patience: Patience::Endless }
}

/// What a failing model prints before what it found.
pub(crate) const FAILED: &str = "a model failed:";

impl Check {
    /// Close opens again at once when it finds a copy.
    pub(crate) const fn without_patience(self) -> Self {
        Self { patience: Patience::None, ..self }
    }

    /// Explores `model`; ends the process if it fails.
    pub(crate) fn run(self, model: impl Fn() + Send + Sync + 'static) {
        end_the_process_on_panic();
        let executions = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counted = std::sync::Arc::clone(&executions);
        let since = std::time::Instant::now();
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = self.preemptions;
        builder.max_branches = 20_000;
        builder.check(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            begin_execution(self.patience);
            model();
        });
        let bound = self.preemptions.map_or("exhaustive".to_owned(), |bound| format!("at most {bound} preemptions"));
        let executions = executions.load(std::sync::atomic::Ordering::Relaxed);
        println!("{executions} executions, {bound}, {:.1} s", since.elapsed().as_secs_f64());
    }
}

/// The threads of a failed model cannot be unwound, since their destructors would go on with it. So it is reported
/// past the test harness, and the process ends.
fn end_the_process_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let thread = std::thread::current();
            let model = thread.name().unwrap_or("?");
            let _ = writeln!(std::io::stderr(), "{FAILED} {model}: {panic}");
            std::process::exit(101);
        }));
    });
}
