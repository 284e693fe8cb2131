//! What the fuzz targets do, for a little while: the corpus, and inputs that are made of it.

use std::fs;
use std::path::PathBuf;

use pinfold_fuzz::{TARGETS, Target};

/// Inputs of a target beside its corpus; of the layout area fewer, since its files are long.
const INPUTS: usize = 150;
const INPUTS_OF_AREA: usize = 40;

fn target(name: &str) -> Target {
    TARGETS.into_iter().find(|target| target.name == name).unwrap()
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// An input made of one or two others.
fn mutated(corpus: &[Vec<u8>], choices: &mut fastrand::Rng) -> Vec<u8> {
    let mut input = corpus[choices.usize(..corpus.len())].clone();
    for _ in 0..choices.usize(1..5) {
        let at = choices.usize(..=input.len());
        match choices.u8(0..6) {
            0 => input.truncate(at),
            1 => input.insert(at, choices.u8(..)),
            2 => drop(input.splice(at..at, corpus[choices.usize(..corpus.len())].clone())),
            3 if at + 8 <= input.len() => {
                let number = [0, 1, 4096, u64::MAX, 1 << 60, choices.u64(..)][choices.usize(..6)];
                input[at..at + 8].copy_from_slice(&number.to_le_bytes());
            }
            _ if at < input.len() => input[at] ^= 1 << choices.u8(..8),
            _ => {}
        }
    }
    input
}

fn holds(name: &str, inputs: usize) {
    let (target, corpus) = (target(name), corpus(name));
    assert!(!corpus.is_empty(), "there is a corpus");
    corpus.iter().chain(&(target.seeds)()).for_each(|input| (target.run)(input));
    let mut choices = fastrand::Rng::with_seed(name.len() as u64);
    for _ in 0..inputs {
        let input = mutated(&corpus, &mut choices);
        // Told with the panic, if there is one.
        println!("{name}: {input:02x?}");
        (target.run)(&input);
    }
}

#[test]
fn g9_any_superblock_is_refused_or_right() {
    holds("superblock", INPUTS);
}

#[test]
fn g9_any_checkpoint_is_refused_or_right() {
    holds("checkpoint", INPUTS);
}

#[test]
fn g9_any_chunk_of_a_checkpoint_is_refused_or_right() {
    holds("chunk", INPUTS);
}

#[test]
fn g9_any_records_anywhere_in_the_log_are_refused_or_right() {
    holds("records", INPUTS);
}

#[test]
fn g9_any_log_is_refused_or_right() {
    holds("log", INPUTS);
}

#[test]
fn g9_any_damage_to_a_pool_is_refused_or_right() {
    holds("pool", INPUTS);
}

#[test]
fn g8_any_layout_area_is_refused_or_taken_over() {
    holds("layout_area", INPUTS_OF_AREA);
}

#[test]
#[ignore = "it writes the corpus anew, from what pinfold writes now"]
fn write_the_corpus() {
    for target in TARGETS {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target.name);
        fs::create_dir_all(&dir).unwrap();
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(dir.join(format!("seed-{number}")), seed).unwrap();
        }
    }
}
