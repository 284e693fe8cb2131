//! Names: each rule by itself, random calls in step with a dull model and with Linux, and many threads at once.

mod calls;
mod held;
mod in_step;
mod linux;
mod model;
mod rules;
mod threads;

use pinfold::{Pool, Region};

fn pool() -> Pool {
    Pool::new(Region::memfd(16 << 20).unwrap()).unwrap()
}
