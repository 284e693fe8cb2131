//! Models of the layout mechanism: the very source of `pinfold-layout`'s mechanism, under checkers that run its threads
//! in every order (loom), or in thousands of random ones (shuttle).
//!
//! There is nothing in this library; the models are its tests, and `cargo test` runs them:
//!
//! - `tests/loom`: few threads, all interleavings, and all values that a weak memory may show. Each model's own text
//!   says which guarantee it checks, and `EXHAUSTIVE` or `bounded(n)` in it whether every interleaving is tried or
//!   those in which running threads are interrupted at most `n` times. `needed.rs` takes out each fence and each
//!   wake-up of the mechanism in turn, and a model must fail: that makes the models a proof.
//! - `tests/shuttle`: a crowd of ten threads and a shadow of the pool. Memory is sequentially consistent there.
//! - `tests/common`: the `sync` under which the mechanism is compiled here, and a small area.
//!
//! How it works: a test file is the root of a crate, and the mechanism takes atomics, locks, futexes, threads and clocks
//! from `crate::sync` alone. So each root includes the mechanism's source, beside a `sync` of its own.
//!
//! What a model must know: a word that is written more than once and read without order is watched (`Watch`), since
//! an unwatched one shows its newest value at once, which may be one that the reader's other words do not go with.
//! Killing a process is ending its thread between any two of its steps in shared memory (`killed_after`). Time does not
//! pass, so every sleep must be ended by a wake-up: the backstops of the product, 50 ms here and 1 ms there, hide nothing.
//!
//! What the models leave out: the asynchronous forms and their sleeper thread, labels and listings, the growth of
//! tables, what outlives the owner, and `membarrier` itself, which stands as the full fence that it promises. Loom makes a
//! `SeqCst` fence also an acquire and a release between any two such fences, which is more than the language promises.
