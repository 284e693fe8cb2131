//! Steps on files: names, bytes, blocks, layouts.

use std::ops::Range;

use pinfold::{Change, File, FileId, Policy, Rename};
use rustix::io::Errno;

use super::{Ended, InStep, Waiting, agree, ended};
use crate::model::Verdict;
use crate::steps::{Form, Op};

type Name = &'static str;

/// The change of a file that a step means.
fn change_of<'f>(file: &'f File, op: &'f Op<File>) -> Change<'f> {
    match op {
        Op::Truncate(len) => file.truncate(*len),
        Op::Punch(range) => file.punch(range.clone()),
        Op::Zero { range, keep_size: false } => file.zero(range.clone()),
        Op::Zero { range, keep_size: true } => file.zero(range.clone()).keep_size(),
        Op::Collapse(range) => file.collapse(range.clone()),
        Op::Insert { at, len } => file.insert(*at, *len),
        Op::Exchange { range, other, at } => file.exchange(range.clone(), other, *at),
    }
}

impl InStep {
    pub(super) fn create(&mut self, name: Name) {
        let model = self.model.check_create(name);
        let pool = self.pool.create(name).map_err(|error| error.errno());
        let Some(((), file)) = agree(Verdict::of(model), Ended::of(pool)) else { return };
        self.model.created(name, file.id());
        self.handles.push(file);
    }

    pub(super) fn open(&mut self, name: Name, or_create: bool) {
        let model = self.model.look_up(name);
        let pool = if or_create { self.pool.open_or_create(name) } else { self.pool.open(name) };
        if let (true, Err(Errno::NOENT), Ok(new)) = (or_create, model, &pool) {
            self.model.created(name, new.id());
            return self.handles.extend(pool);
        }
        let pool = pool.map_err(|error| error.errno());
        let Some((id, file)) = agree(Verdict::of(model), Ended::of(pool)) else { return };
        assert_eq!(file.id(), id);
        self.model.opened(id);
        self.handles.push(file);
    }

    pub(super) fn close(&mut self, nth: usize) {
        if self.handles.is_empty() {
            return;
        }
        let file = self.handles.remove(nth % self.handles.len());
        let id = file.id();
        drop(file);
        self.model.closed(id);
    }

    pub(super) fn unlink(&mut self, name: Name) {
        let pool = self.pool.unlink(name).map_err(|error| error.errno());
        agree(Verdict::of(self.model.unlink(name)), Ended::of(pool));
    }

    pub(super) fn rename(&mut self, from: Name, to: Name, how: Rename) {
        let pool = self.pool.rename(from, to, how).map_err(|error| error.errno());
        agree(Verdict::of(self.model.rename(from, to, how)), Ended::of(pool));
    }

    pub(super) fn link(&mut self, from: Name, to: Name) {
        let pool = self.pool.link(from, to).map_err(|error| error.errno());
        agree(Verdict::of(self.model.link(from, to)), Ended::of(pool));
    }

    pub(super) fn write(&mut self, file: usize, at: u64, len: u64) {
        let Some(file) = self.nth_handle(file) else { return };
        let bytes = self.stamped(len);
        let pool = file.write_at(at, &bytes).map_err(|error| error.errno());
        agree(Verdict::of(self.model.write(file.id(), at, &bytes)), Ended::of(pool));
    }

    pub(super) fn append(&mut self, file: usize, len: u64) {
        let Some(file) = self.nth_handle(file) else { return };
        let bytes = self.stamped(len);
        let pool = file.append(&bytes).map_err(|error| error.errno());
        if let Some((model, pool)) = agree(Verdict::of(self.model.append(file.id(), &bytes)), Ended::of(pool)) {
            assert_eq!(pool, model, "where it begins");
        }
    }

    pub(super) fn read(&mut self, file: usize, at: u64, len: u64) {
        let Some(file) = self.nth_handle(file) else { return };
        let mut bytes = vec![0xaa; len as usize];
        let read = file.read_at(at, &mut bytes).unwrap();
        let model = self.model.read(file.id(), at, len);
        assert!(bytes[..read] == model, "bytes {at}.. of {file:?} are not what the model says");
        assert!(bytes[read..].iter().all(|byte| *byte == 0xaa), "more was written than was read");
    }

    pub(super) fn copy(&mut self, from: usize, range: Range<u64>, to: usize, at: u64) {
        let (Some(from), Some(to)) = (self.nth_handle(from), self.nth_handle(to)) else { return };
        let pool = from.copy_range(range.clone(), &to, at).map_err(|error| error.errno());
        let model = self.model.copy(from.id(), range, to.id(), at);
        if let Some((model, pool)) = agree(Verdict::of(model), Ended::of(pool)) {
            assert_eq!(pool, model, "bytes copied");
        }
    }

    pub(super) fn seek(&mut self, file: usize, at: u64) {
        let Some(file) = self.nth_handle(file) else { return };
        assert_eq!(file.seek_data(at), self.model.seek(file.id(), at, true), "data from {at} on");
        assert_eq!(file.seek_hole(at), self.model.seek(file.id(), at, false), "a hole from {at} on");
    }

    pub(super) fn allocate(&mut self, file: usize, range: Range<u64>, keep_size: bool, form: Form) {
        let Some(file) = self.nth_handle(file) else { return };
        let model = self.model.allocate(file.id(), range.clone(), keep_size, form);
        let allocation = file.allocate(range);
        let allocation = if keep_size { allocation.keep_size() } else { allocation };
        agree(model, ended!(allocation, form, model));
    }

    pub(super) fn change(&mut self, file: usize, op: &Op<usize>, policy: Policy, form: Form) {
        let Some((file, op)) = self.named(file, op) else { return };
        let model = self.model.change(file.id(), &op.named(File::id), policy, form);
        agree(model, ended!(change_of(&file, &op).policy(policy), form, model));
    }

    /// Begins a change that may wait, unless one does.
    pub(super) fn begin(&mut self, file: usize, op: &Op<usize>) {
        let Some((file, op)) = self.named(file, op).filter(|_| self.waiting.is_none()) else { return };
        let files = opened_by(file.id(), &op);
        let model = self.model.begin(file.id(), &op.named(File::id));
        let mut future = Box::pin(async move { change_of(&file, &op).wait_async().await });
        let ended = match super::poll_once(future.as_mut()) {
            Some(result) => Ended::of(result.map_err(|error| error.errno())),
            None => Ended::Pending,
        };
        agree(model, ended);
        if model == Verdict::Pending {
            files.iter().for_each(|file| self.model.opened(*file));
            self.waiting = Some(Waiting { future, files });
        }
    }

    pub(super) fn poll(&mut self) {
        let Some(Waiting { mut future, files }) = self.waiting.take() else { return };
        let model = self.model.poll();
        let ended = match super::poll_once(future.as_mut()) {
            Some(result) => Ended::of(result.map_err(|error| error.errno())),
            None => Ended::Pending,
        };
        agree(model, ended);
        match model {
            Verdict::Pending => self.waiting = Some(Waiting { future, files }),
            _ => self.let_go(Waiting { future, files }),
        }
    }

    pub(super) fn withdraw(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            self.model.pending = None;
            self.let_go(waiting);
        }
    }

    fn let_go(&mut self, Waiting { future, files }: Waiting) {
        drop(future);
        files.into_iter().for_each(|file| self.model.closed(file));
    }

    fn named(&self, file: usize, op: &Op<usize>) -> Option<(File, Op<File>)> {
        let file = self.nth_handle(file)?;
        Some((file, op.named(|other| self.nth_handle(*other).expect("there is one"))))
    }
}

fn opened_by(file: FileId, op: &Op<File>) -> Vec<FileId> {
    match op {
        Op::Exchange { other, .. } => vec![file, other.id()],
        _ => vec![file],
    }
}
