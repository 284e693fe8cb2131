//! Steps of devices and holders: pins, transfers, quarantine, tokens.

use std::ops::Range;
use std::sync::Arc;

use pinfold::{Access, File, FileId, LongTerm, OperatorDecision, PinInfo, Pinning, Quiescent, Recall, Recalled};
use pinfold::{Segment, Token};
use rustix::io::Errno;

use super::{Ended, Held, InStep, Transfer, agree, ended};
use crate::model::{Extended, ModelPin, ModelWant, Part, PinFacts, Verdict, cut_parts};
use crate::steps::{ENGINES, Form, Saying, Want};

/// No device of this engine, or of any, moves data by itself: only the test does.
struct Quiet(Option<usize>);

// SAFETY: no device reaches any memory here. The test, which plays one, does so through pins that the model has, and
// the model forgets those that this covers.
unsafe impl Quiescent for Quiet {
    fn covers(&self, pin: &PinInfo) -> bool {
        self.0.is_none_or(|engine| pin.engine == ENGINES[engine])
    }
}

impl InStep {
    pub(super) fn pin(&mut self, wants: &[Want], engine: Option<usize>, hand_over: bool, elsewhere: bool, form: Form) {
        // A wait would be another thread's, so nobody would wait for himself.
        let form = if elsewhere { Form::Try } else { form };
        let Some(wanted) = wants.iter().map(|want| self.wanted(want)).collect::<Option<Vec<_>>>() else { return };
        let model = self.model.pin(&wanted, form);
        let handles: Vec<Option<File>> = wants.iter().map(|want| self.handle_of(want)).collect();
        let pinning = wants.iter().zip(&handles).map(|(want, file)| self.pinning(want, file.as_ref()));
        let Some(mut pinning) = pinning.reduce(Pinning::and) else { return };
        if let Some(engine) = engine {
            pinning = pinning.labelled(ENGINES[engine], "").unwrap();
        }
        let ended = match elsewhere {
            true => std::thread::scope(|scope| scope.spawn(|| ended!(pinning, form, model)).join().unwrap()),
            false => ended!(pinning, form, model),
        };
        let Some(((), pinned)) = agree(model, ended) else { return };
        let number = self.new_transfer();
        let mut segments = pinned.segments();
        for want in &wanted {
            let facts = PinFacts { access: want.access, engine, long_term: false };
            segments = self.entered(number, want, facts, segments);
        }
        assert_eq!(segments, [], "more segments than were asked for");
        self.model.set_ours(number, !elsewhere);
        self.transfers.push(Transfer { number, held: Held::Short(pinned) });
        if hand_over {
            self.say(self.transfers.len() - 1, Saying::HandOver);
        }
    }

    /// What a step wants to pin, in the model's words.
    fn wanted(&self, want: &Want) -> Option<ModelWant> {
        let plain = |file, range: &Range<u64>, access| {
            Some(ModelWant { file, range: range.clone(), access, reserved: false, token: None })
        };
        match want {
            Want::File { file, range, access } => plain(self.nth_handle(*file)?.id(), range, *access),
            Want::Reserved { nth, range } => {
                let reservation = self.nth_reservation(*nth)?;
                plain(reservation.id(), range, Access::Write).map(|want| ModelWant { reserved: true, ..want })
            }
            Want::Redeemed { nth, access } => {
                let (_, token) = self.redeemed.get(nth % self.redeemed.len().max(1))?;
                let want = plain(token.file, &token.range, *access)?;
                Some(ModelWant { token: Some(token.generation), ..want })
            }
        }
    }

    fn handle_of(&self, want: &Want) -> Option<File> {
        match want {
            Want::File { file, .. } => self.nth_handle(*file),
            Want::Reserved { .. } | Want::Redeemed { .. } => None,
        }
    }

    fn pinning<'s>(&'s self, want: &Want, file: Option<&'s File>) -> Pinning<'s> {
        match want {
            Want::File { range, access, .. } => file.expect("it is open").pin(range.clone(), *access),
            Want::Reserved { nth, range } => self.nth_reservation(*nth).expect("there is one").pin(range.clone()),
            Want::Redeemed { nth, access } => self.redeemed[nth % self.redeemed.len()].0.pin(*access),
        }
    }

    pub(super) fn pin_long_term(&mut self, file: usize, range: Range<u64>, access: Access, recall: bool, form: Form) {
        let Some(file) = self.nth_handle(file) else { return };
        let want = ModelWant { file: file.id(), range: range.clone(), access, reserved: false, token: None };
        // Whoever has it gives it back when he likes.
        let handler: Arc<dyn Recall> = Arc::new(|_: &Recalled| {});
        let term = LongTerm::new(access, recall.then_some(handler));
        let model = match (recall, self.model.check_want(&want)) {
            (false, Ok(())) => Verdict::Refused(Errno::OPNOTSUPP),
            _ => self.model.pin(std::slice::from_ref(&want), form),
        };
        let Some(((), pinned)) = agree(model, ended!(file.pin_long_term(range, term), form, model)) else { return };
        let number = self.new_transfer();
        let facts = PinFacts { access, engine: None, long_term: true };
        let rest = self.entered(number, &want, facts, pinned.segments());
        assert_eq!(rest, [], "more segments than were asked for");
        self.transfers.push(Transfer { number, held: Held::Long(pinned) });
    }

    fn new_transfer(&mut self) -> usize {
        self.last_transfer += 1;
        self.last_transfer
    }

    /// A pin is in: its segments are where the model's blocks are. What is left of the segments.
    fn entered<'s>(
        &mut self,
        number: usize,
        want: &ModelWant,
        facts: PinFacts,
        segments: &'s [Segment],
    ) -> &'s [Segment] {
        let parts = self.model.parts(want.file, &want.range);
        let mut want_bytes = want.range.end - want.range.start;
        let count = segments.iter().take_while(|segment| {
            let first = want_bytes > 0;
            want_bytes = want_bytes.saturating_sub(segment.len);
            first
        });
        let (ours, rest) = segments.split_at(count.count());
        self.compare_segments(want.file, &want.range, &parts, ours);
        let mut pin = self.new_pin(number, want, facts);
        pin.parts = parts;
        self.model.pins.push(pin);
        rest
    }

    /// The segments are all of the range, and the model's blocks are where they say.
    pub(super) fn compare_segments(&mut self, file: FileId, range: &Range<u64>, parts: &[Part], segments: &[Segment]) {
        let mut offset = range.start;
        for segment in segments {
            assert_eq!((segment.file, segment.offset), (file, offset));
            let start = self.pool.region().bytes(segment.place()..segment.place() + segment.len).unwrap();
            assert_eq!(segment.address, start.address());
            offset += segment.len;
        }
        assert_eq!(offset, range.end, "segments reach to the end of the range");
        for part in parts {
            let inside = |segment: &&Segment| (segment.offset..segment.offset + segment.len).contains(&part.offset);
            let segment = segments.iter().find(inside).expect("checked above");
            let place = segment.place() + (part.offset - segment.offset);
            self.model.saw(part.block, place - part.bytes.start as u64);
        }
    }

    /// The pin that the pool lists and the model does not know.
    fn new_pin(&self, number: usize, want: &ModelWant, facts: PinFacts) -> ModelPin {
        let blocks = self.model.outward(&want.range);
        let known = |id| self.model.pins.iter().any(|pin| pin.id == id);
        let found = self.pool.pins().into_iter().find(|report| {
            let pin = &report.pin;
            report.file == want.file && pin.range == blocks && pin.access == want.access && !known(pin.id)
        });
        let found = found.unwrap_or_else(|| panic!("no pin is listed of {want:?}"));
        ModelPin::new(found.pin.id, want, blocks, facts, number)
    }

    fn nth_transfer(&self, nth: usize) -> Option<usize> {
        (!self.transfers.is_empty()).then(|| nth % self.transfers.len())
    }

    pub(super) fn extend(&mut self, pin: usize, file: usize, range: Range<u64>, access: Access) {
        let (Some(nth), Some(file)) = (self.nth_transfer(pin), self.nth_handle(file)) else { return };
        let Transfer { number, held: Held::Short(pinned) } = &mut self.transfers[nth] else { return };
        let number = *number;
        let want = ModelWant { file: file.id(), range: range.clone(), access, reserved: false, token: None };
        let model = self.model.extend(number, &want);
        let pool = pinned.extend(&file, range, access).map(<[Segment]>::to_vec).map_err(|error| error.errno());
        let facts = PinFacts { access, engine: None, long_term: false };
        match (model, pool) {
            (Extended::Pinned, Ok(segments)) => {
                let rest = self.entered(number, &want, facts, &segments);
                assert_eq!(rest, [], "more segments than were asked for");
            }
            (Extended::PinnedWithout(errno), Err(raw)) if errno.raw_os_error() == raw => {
                let pin = self.new_pin(number, &want, facts);
                self.model.pins.push(pin);
            }
            (Extended::Refused(errno), Err(raw)) if errno.raw_os_error() == raw => {}
            (model, pool) => panic!("the model says {model:?}, the pool {pool:?}"),
        }
        // What a transfer is given to an engine with stays the engine's.
        let handed_over = self.model.pins.iter().any(|pin| pin.transfer == Some(number) && pin.handed_over);
        self.model.set_handed_over(number, handed_over);
    }

    pub(super) fn copy_in(&mut self, pin: usize, at: u64, len: u64) {
        let Some(nth) = self.nth_transfer(pin) else { return };
        let number = self.transfers[nth].number;
        let view = self.model.view(number).len() as u64;
        let (at, len) = (at % view, len % view + 1);
        let bytes = self.stamped(len.min(view - at));
        let Held::Short(pinned) = &self.transfers[nth].held else { return };
        pinned.copy_in(at, &bytes).unwrap();
        let parts = self.model.parts_at(number, at, bytes.len() as u64);
        self.model.dma(&parts, &bytes, true);
        let past = pinned.copy_in(view - 1, &[1, 2]).unwrap_err();
        assert_eq!(past.errno(), Errno::NXIO.raw_os_error(), "{past}");
    }

    /// A device writes what it can still reach: through a transfer, or one that was given up.
    pub(super) fn dma(&mut self, pin: usize, at: u64, len: u64) {
        let mut reach: Vec<Vec<(FileId, Part)>> = Vec::new();
        reach.extend(self.transfers.iter().map(|transfer| self.model.parts_at(transfer.number, 0, u64::MAX)));
        let given_up = self.model.pins.iter().filter(|pin| pin.transfer.is_none());
        reach.extend(given_up.map(|pin| pin.parts.iter().map(|part| (pin.file, part.clone())).collect()));
        reach.retain(|parts| !parts.is_empty());
        if reach.is_empty() {
            return;
        }
        let parts = reach.swap_remove(pin % reach.len());
        let whole: u64 = parts.iter().map(|(_, part)| part.bytes.len() as u64).sum();
        self.dma_into(cut_parts(parts, at % whole, len));
    }

    /// A device writes into pinned memory, by its address.
    pub(super) fn dma_into(&mut self, parts: Vec<(FileId, Part)>) {
        let bytes = self.stamped(parts.iter().map(|(_, part)| part.bytes.len() as u64).sum());
        let mut rest = &bytes[..];
        for (_, part) in &parts {
            let (now, later) = rest.split_at(part.bytes.len());
            self.memory_of(part).copy_in(0, now).unwrap();
            rest = later;
        }
        self.model.dma(&parts, &bytes, false);
    }

    pub(super) fn memory_of(&self, part: &Part) -> pinfold::region::SharedBytes<'_> {
        let place = self.model.blocks[&part.block].place.expect("whatever is pinned was seen");
        self.pool.region().bytes(place + part.bytes.start as u64..place + part.bytes.end as u64).unwrap()
    }

    pub(super) fn say(&mut self, pin: usize, what: Saying) {
        let Some(nth) = self.nth_transfer(pin) else { return };
        let Transfer { number, held: Held::Short(pinned) } = &mut self.transfers[nth] else { return };
        match what {
            Saying::HandOver => pinned.hand_over(),
            Saying::TakeBack => pinned.take_back(),
            Saying::Claim => pinned.claim(),
            Saying::Relabel(engine) => pinned.relabel(self.pool.holder().label(ENGINES[engine], "").unwrap()),
        }
        match what {
            Saying::HandOver => self.model.set_handed_over(*number, true),
            Saying::TakeBack => self.model.set_handed_over(*number, false),
            Saying::Claim => self.model.set_ours(*number, true),
            Saying::Relabel(engine) => self.model.relabel(*number, engine),
        }
    }

    pub(super) fn unpin(&mut self, pin: usize) {
        let Some(nth) = self.nth_transfer(pin) else { return };
        let Transfer { number, held } = self.transfers.remove(nth);
        drop(held);
        self.model.unpin(number);
    }

    pub(super) fn give_up(&mut self, pin: usize) {
        let Some(nth) = self.nth_transfer(pin) else { return };
        let Held::Short(pinned) = &mut self.transfers[nth].held else { return };
        pinned.give_up();
        let transfer = self.transfers.remove(nth);
        self.model.give_up(transfer.number);
        self.given_up.push(transfer);
    }

    /// What was released meanwhile is not this transfer's any more, whoever has it now.
    pub(super) fn complete_late(&mut self, nth: usize) {
        if !self.given_up.is_empty() {
            let Transfer { number, held } = self.given_up.remove(nth % self.given_up.len());
            drop(held);
            self.model.complete_late(number);
        }
    }

    pub(super) fn abandon(&mut self, pin: usize) {
        let Some(nth) = self.nth_transfer(pin) else { return };
        let Transfer { number, held } = self.transfers.remove(nth);
        match held {
            Held::Short(pinned) => {
                pinned.abandon();
                self.model.abandon(number);
            }
            Held::Long(pinned) => {
                drop(pinned);
                self.model.unpin(number);
            }
        }
    }

    pub(super) fn prove(&mut self, engine: Option<usize>) {
        let covered = |pin: &ModelPin| engine.is_none() || pin.facts.engine == engine;
        let model = self.model.release(covered);
        assert_eq!(self.pool.release(&Quiet(engine)).unwrap(), model, "pins released");
    }

    /// A person decides on a pin in quarantine, or on one that he had better leave alone.
    pub(super) fn decide(&mut self, nth: usize, held: bool) {
        let pins = self.model.pins.iter().filter(|pin| pin.transfer.is_some() == held);
        let pins: Vec<_> = pins.map(|pin| pin.id).collect();
        if pins.is_empty() {
            return;
        }
        let id = pins[nth % pins.len()];
        let decision = OperatorDecision { pin: id, operator: "the test".into(), reason: "it plays the device".into() };
        let pool = self.pool.release_by_operator(&decision).map_err(|error| error.errno());
        match held {
            true => assert_eq!(pool.unwrap_err(), Errno::BUSY.raw_os_error()),
            false => {
                assert_eq!(pool.unwrap().id, id);
                assert_eq!(self.model.release(|pin| pin.id == id), 1);
            }
        }
    }

    pub(super) fn token(&mut self, file: usize, range: Range<u64>) {
        let Some(file) = self.nth_handle(file) else { return };
        let pool = file.token(range.clone()).map_err(|error| error.errno());
        let model = Verdict::of(self.model.token(file.id(), &range));
        self.tokens.extend(agree(model, Ended::of(pool)).map(|(model, token)| (token, model)));
    }

    pub(super) fn redeem(&mut self, nth: usize) {
        let Some((token, model)) = self.tokens.get(nth % self.tokens.len().max(1)).cloned() else { return };
        let token = Token::from_bytes(&token.to_bytes()).unwrap();
        let pool = self.pool.redeem(&token).map_err(|error| error.errno());
        let agreed = agree(Verdict::of(self.model.redeem(&model)), Ended::of(pool));
        self.redeemed.extend(agreed.map(|((), redeemed)| (redeemed, model)));
    }

    pub(super) fn drop_redeemed(&mut self, nth: usize) {
        if !self.redeemed.is_empty() {
            let (redeemed, token) = self.redeemed.remove(nth % self.redeemed.len());
            drop(redeemed);
            self.model.closed(token.file);
        }
    }
}
