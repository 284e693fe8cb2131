//! Copies between memory that others write and memory that is ours.
//!
//! Stays true   C1: the compiler never sees these accesses, so it can neither repeat a load nor assume
//!              that two of them agree, nor take part in a data race.
//! Who calls    `bytes.rs`, after its bounds checks. There is no lock, and nothing outlives a crash.
//!
//! A copy out of shared memory races by nature: a device may write while we read. A plain `memcpy` in
//! Rust would be a data race, volatile or atomic word loops are several times slower. So the C library's
//! own `memmove` and `memset` are called from inside an `asm!` block. To the abstract machine such a
//! block is a loop of relaxed single-byte atomic accesses: it may see any mixture of old and new bytes,
//! and nothing worse. At 1 MiB it costs what `memcpy` costs; `rep movsb` is as fast there, but costs up to
//! twice as much below 4 KiB.

/// Copies `len` bytes from `from` to `to`, which may overlap.
///
/// # Safety
/// Both ranges are mapped for the length of the call, `from` readable and `to` writable, and no Rust
/// reference to either is used meanwhile, other than the caller's own to private memory.
#[inline]
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's promise, handed on.
    unsafe { opaque::copy(from, to, len) }
}

/// Sets `len` bytes at `to` to zero.
///
/// # Safety
/// As for [`copy`], of `to`.
#[inline]
pub(crate) unsafe fn zero(to: *mut u8, len: usize) {
    // SAFETY: the caller's promise, handed on.
    unsafe { opaque::zero(to, len) }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
unsafe extern "C" {
    fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8;
    fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8;
}

#[cfg(target_arch = "x86_64")]
mod opaque {
    use super::{memmove, memset};
    use std::arch::asm;

    pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: a call by the C ABI: arguments in rdi, rsi, rdx; every register that a callee may
        // change is clobbered; without `nostack` the stack is aligned for a call. The accesses are
        // the caller's promise; by C1 the compiler knows nothing of them.
        unsafe {
            asm!("call {f}", f = in(reg) memmove as *const (), in("rdi") to, in("rsi") from, in("rdx") len,
                clobber_abi("C"));
        }
    }

    pub(super) unsafe fn zero(to: *mut u8, len: usize) {
        // SAFETY: as in `copy`.
        unsafe {
            asm!("call {f}", f = in(reg) memset as *const (), in("rdi") to, in("esi") 0, in("rdx") len,
                clobber_abi("C"));
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod opaque {
    use super::{memmove, memset};
    use std::arch::asm;

    pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: a call by the C ABI: arguments in x0, x1, x2; every register that a callee may
        // change, the link register included, is clobbered; the stack is aligned. The accesses are
        // the caller's promise; by C1 the compiler knows nothing of them.
        unsafe {
            asm!("blr {f}", f = in(reg) memmove as *const (), in("x0") to, in("x1") from, in("x2") len,
                clobber_abi("C"));
        }
    }

    pub(super) unsafe fn zero(to: *mut u8, len: usize) {
        // SAFETY: as in `copy`.
        unsafe {
            asm!("blr {f}", f = in(reg) memset as *const (), in("x0") to, in("w1") 0, in("x2") len,
                clobber_abi("C"));
        }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use bytewise as opaque;

/// What the asm stands for, in Rust: slow and plain. Other architectures use it, tests compare with it.
#[cfg(any(test, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod bytewise {
    use std::sync::atomic::{AtomicU8, Ordering};

    pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
        let forward = (to as usize).wrapping_sub(from as usize) >= len;
        for step in 0..len {
            let at = if forward { step } else { len - 1 - step };
            // SAFETY: `at < len`, and both ranges are mapped by the caller's promise; racing writers
            // are allowed to atomics.
            let byte = unsafe { AtomicU8::from_ptr(from.cast_mut().add(at)) }.load(Ordering::Relaxed);
            // SAFETY: as above.
            unsafe { AtomicU8::from_ptr(to.add(at)) }.store(byte, Ordering::Relaxed);
        }
    }

    pub(super) unsafe fn zero(to: *mut u8, len: usize) {
        for at in 0..len {
            // SAFETY: `at < len`, mapped by the caller's promise.
            unsafe { AtomicU8::from_ptr(to.add(at)) }.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn copies_and_zeroes_like_the_plain_loop(
            start in proptest::collection::vec(any::<u8>(), 1..3000),
            from in 0usize..3000, to in 0usize..3000, len in 0usize..3000,
        ) {
            let (from, to) = (from % start.len(), to % start.len());
            let len = len % (start.len() - from.max(to));
            let (mut fast, mut plain) = (start.clone(), start);
            // SAFETY: `from + len` and `to + len` are at most the length of both vectors.
            unsafe {
                copy(fast.as_ptr().add(from), fast.as_mut_ptr().add(to), len);
                bytewise::copy(plain.as_ptr().add(from), plain.as_mut_ptr().add(to), len);
            }
            prop_assert_eq!(&fast, &plain);
            // SAFETY: as above.
            unsafe {
                zero(fast.as_mut_ptr().add(from), len);
                bytewise::zero(plain.as_mut_ptr().add(from), len);
            }
            prop_assert_eq!(fast, plain);
        }
    }
}
