//! Quarantine: pins without a holder, and the only two ways out of it (G8).
//!
//! A holder may die, a transfer may be given up; the device goes on. Such a pin is still a pin. It leaves quarantine by
//! a proof that no device can reach it, or by an operator's logged decision. Never by time, and never by a process's
//! death alone: measured, DMA goes on for hundreds of milliseconds after the process was reaped.
//!
//! Stays true  Q1: only a [`Quiescent`] proof or [`OperatorDecision`] voids a pin.
//!             Q2: a proof voids pins in quarantine only: what has a holder leaves by its holder's hand.

use crate::sync::Arc;

use super::attribution::{PinId, PinInfo, Quarantined};
use super::fences::Site;
use super::holder::Holder;
use super::owner::{Member, Owner};
use super::segment::{Flags, Reading, SlotUse};

/// A proof that no device reaches the memory of some pins any more: the completion was seen, the queue was torn down
/// and drained, the device was reset.
///
/// Each engine has its own proof, a type that only it can make. It speaks for the engine's name in the pins' labels
/// ([`Holder::label`](super::holder::Holder::label)), so that name should tell one queue from another (`"io_uring 3"`).
///
/// # Safety
/// While the value exists, no device writes or reads memory through any pin for which `covers` returns true, and none
/// will. A time that has passed, or the death of a process, is no such proof.
pub unsafe trait Quiescent {
    /// Whether the proof speaks for this pin.
    fn covers(&self, pin: &PinInfo) -> bool;
}

/// A person's decision that a pin counts no more. It is logged; the person answers for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OperatorDecision {
    /// The pin, as listings name it.
    pub pin: PinId,
    /// Who decided.
    pub operator: String,
    /// Why.
    pub reason: String,
}

/// Why a decision was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// No such pin is held: it left in the meantime.
    #[error("pin {0} is not held any more")]
    NotHeld(PinId),
    /// The pin has a holder that lives and did not give it up: ask the holder.
    #[error("not in quarantine: {0}")]
    HasHolder(Box<PinInfo>),
    /// A decision needs a name and a reason, for the log.
    #[error("a decision to release a pin needs the operator's name and a reason")]
    NoReason,
    /// All marks are in use by pins that are still published.
    #[error("no place for another void mark: `Geometry::voids_max` sets how many there are")]
    NoMark,
}

impl ReleaseError {
    /// The closest `errno`.
    pub fn errno(&self) -> i32 {
        use rustix::io::Errno;
        let errno = match self {
            Self::NotHeld(_) => Errno::NOENT,
            Self::HasHolder(_) => Errno::BUSY,
            Self::NoReason => Errno::INVAL,
            Self::NoMark => Errno::NOBUFS,
        };
        errno.raw_os_error()
    }
}

impl Holder {
    /// Lets the pins go that this holder gave up ([`Transfer::abandon`](super::transfer::Transfer::abandon)) and that the
    /// proof covers; how many there were. For an engine that runs beside its holder, in whichever process.
    pub fn release(&self, proof: &dyn Quiescent) -> usize {
        if !self.clock.is_of_this_process() {
            return 0;
        }
        let given_up = |pin: &Reading| pin.state.flags().has(Flags::ABANDONED) && pin.state.usage() == SlotUse::Held;
        let covered = |pin: &Reading| proof.covers(&PinInfo::of(&self.segment, self.index, std::process::id(), pin));
        let pins = self.segment.all().filter(given_up).filter(covered);
        let released = pins.filter(|pin| self.segment.clear(pin)).count();
        if released > 0 {
            self.view.fences.light(Site::UnpinClear);
            self.view.fences.ring(Site::WakeUnpin, self.segment.bell());
        }
        released
    }
}

impl Owner {
    /// Voids the quarantined pins that the proof covers; how many those were.
    pub(crate) fn release(&self, proof: &dyn Quiescent) -> Result<usize, ReleaseError> {
        let mut released = 0;
        for (member, pin, info) in self.quarantined() {
            if proof.covers(&info) {
                self.void(&member, &pin).then_some(()).ok_or(ReleaseError::NoMark)?;
                released += 1;
            }
        }
        Ok(released)
    }

    /// Voids one quarantined pin because a person says so.
    pub(crate) fn release_by_operator(&self, decision: &OperatorDecision) -> Result<PinInfo, ReleaseError> {
        if decision.operator.trim().is_empty() || decision.reason.trim().is_empty() {
            return Err(ReleaseError::NoReason);
        }
        let members = self.members();
        let of = |member: &Arc<Member>| member.index == decision.pin.holder;
        let member = members.iter().find(|member| of(member)).ok_or(ReleaseError::NotHeld(decision.pin))?;
        let pin = member.segment.all().find(|pin| {
            (pin.slot, pin.state.version()) == (decision.pin.slot, decision.pin.version) && self.is_live(member, pin)
        });
        let pin = pin.ok_or(ReleaseError::NotHeld(decision.pin))?;
        let info = self.describe(member, &pin);
        if info.quarantine.is_none() {
            return Err(ReleaseError::HasHolder(Box::new(info)));
        }
        self.void(member, &pin).then_some(info).ok_or(ReleaseError::NoMark)
    }

    /// Every pin in quarantine.
    pub(crate) fn quarantined(&self) -> Vec<(Arc<Member>, Reading, PinInfo)> {
        let mut found = Vec::new();
        for member in self.members().iter() {
            for pin in member.segment.all().filter(|pin| self.is_live(member, pin)) {
                let info = self.describe(member, &pin);
                if matches!(info.quarantine, Some(Quarantined::HolderGone | Quarantined::GivenUp)) {
                    found.push((Arc::clone(member), pin, info));
                }
            }
        }
        found
    }
}
