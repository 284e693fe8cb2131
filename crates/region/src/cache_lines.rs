//! Writing cache lines back to persistent memory, by the best instruction that this CPU has.
//!
//! Stays true   W1: each line that holds a byte of the range is written back, and no line outside of it is
//!              touched.
//! Who calls    `flush.rs`, on any thread. There is no lock. Lines that were not yet fenced when the power
//!              goes are lost or kept, each for itself.
//!
//! On aarch64 this was compiled, not run.

use std::fmt;

/// An instruction that writes a cache line back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheLineInstruction {
    /// x86-64 `clwb`: the line stays in the cache.
    Clwb,
    /// x86-64 `clflushopt`: the line leaves the cache.
    ClflushOpt,
    /// x86-64 `clflush`: the line leaves the cache, and one waits for the other.
    Clflush,
    /// aarch64 `dc cvap`: to the point of persistence.
    DcCvap,
    /// aarch64 `dc cvac`: to the point of coherency, for CPUs that have no `dc cvap`.
    DcCvac,
}

impl fmt::Display for CacheLineInstruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clwb => "clwb",
            Self::ClflushOpt => "clflushopt",
            Self::Clflush => "clflush",
            Self::DcCvap => "dc cvap",
            Self::DcCvac => "dc cvac",
        })
    }
}

/// How this CPU writes lines back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheLines {
    instruction: CacheLineInstruction,
    /// A power of two.
    line_size: usize,
}

impl CacheLines {
    /// What this CPU can do; `None` if it has no such instruction that we know of.
    pub(crate) fn detect() -> Option<Self> {
        let (instruction, line_size) = cpu::detect()?;
        assert!(line_size.is_power_of_two(), "a cache line of {line_size} bytes");
        Some(Self { instruction, line_size })
    }

    pub(crate) fn instruction(self) -> CacheLineInstruction {
        self.instruction
    }

    /// Begins to write back every line that holds one of `len` bytes at `start`.
    ///
    /// # Safety
    /// The bytes are mapped.
    pub(crate) unsafe fn write_back_lines(self, start: *mut u8, len: usize) {
        for line in self.lines(start.addr(), len) {
            // SAFETY: the line holds a byte that is mapped, hence lies in a mapped page; `detect` found the
            // instruction on this CPU.
            unsafe { cpu::write_back(self.instruction, start.with_addr(line)) };
        }
    }

    /// Waits until the lines written back before by this thread have arrived.
    pub(crate) fn fence(self) {
        cpu::fence();
    }

    /// The addresses of the lines that hold one of `len` bytes at `start`.
    fn lines(self, start: usize, len: usize) -> impl Iterator<Item = usize> {
        let first = start & !(self.line_size - 1);
        let end = if len == 0 { first } else { start + len };
        (first..end).step_by(self.line_size)
    }
}

#[cfg(target_arch = "x86_64")]
mod cpu {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count, __get_cpuid_max, _mm_sfence};

    use super::CacheLineInstruction::{self, Clflush, ClflushOpt, Clwb};

    pub(super) fn detect() -> Option<(CacheLineInstruction, usize)> {
        let basic = __cpuid(1);
        if basic.edx & CLFLUSH_IN_EDX_OF_1 == 0 {
            return None;
        }
        // Counted in units of 8 bytes.
        let line_size = ((basic.ebx >> 8) & 0xff) as usize * 8;
        let extended = if __get_cpuid_max(0).0 >= 7 { __cpuid_count(7, 0).ebx } else { 0 };
        let instruction = match extended {
            ebx if ebx & CLWB_IN_EBX_OF_7 != 0 => Clwb,
            ebx if ebx & CLFLUSHOPT_IN_EBX_OF_7 != 0 => ClflushOpt,
            _ => Clflush,
        };
        Some((instruction, line_size))
    }

    /// # Safety
    /// `line` lies in a mapped page, and this CPU has `instruction`.
    pub(super) unsafe fn write_back(instruction: CacheLineInstruction, line: *mut u8) {
        match instruction {
            // SAFETY: changes no byte; the caller's promise covers mapping and instruction.
            Clwb => unsafe { asm!("clwb [{}]", in(reg) line, options(nostack, preserves_flags)) },
            // SAFETY: as above.
            ClflushOpt => unsafe { asm!("clflushopt [{}]", in(reg) line, options(nostack, preserves_flags)) },
            // SAFETY: as above.
            Clflush => unsafe { asm!("clflush [{}]", in(reg) line, options(nostack, preserves_flags)) },
            other => unreachable!("{other} on x86-64"),
        }
    }

    pub(super) fn fence() {
        // ORDER: after clwb and clflushopt, which stores overtake without it. Not seen by any test on
        // memory that is not persistent.
        // SAFETY: every x86-64 CPU has it, and it changes no byte.
        unsafe { _mm_sfence() };
    }

    const CLFLUSH_IN_EDX_OF_1: u32 = 1 << 19;
    const CLFLUSHOPT_IN_EBX_OF_7: u32 = 1 << 23;
    const CLWB_IN_EBX_OF_7: u32 = 1 << 24;
}

#[cfg(target_arch = "aarch64")]
mod cpu {
    use std::arch::asm;

    use rustix::param::linux_hwcap;

    use super::CacheLineInstruction::{self, DcCvac, DcCvap};

    pub(super) fn detect() -> Option<(CacheLineInstruction, usize)> {
        let instruction = if linux_hwcap().0 & HWCAP_DCPOP != 0 { DcCvap } else { DcCvac };
        let cache_type: u64;
        // SAFETY: reads a register that Linux lets user space read.
        unsafe { asm!("mrs {}, ctr_el0", out(reg) cache_type, options(nomem, nostack, preserves_flags)) };
        // DminLine: the smallest data line, as a power of two of 4-byte words.
        let line_size = 4 << ((cache_type >> 16) & 0xf);
        Some((instruction, line_size))
    }

    /// # Safety
    /// `line` lies in a mapped page, and this CPU has `instruction`.
    pub(super) unsafe fn write_back(instruction: CacheLineInstruction, line: *mut u8) {
        match instruction {
            // `dc cvap`, spelt so that assemblers for older architectures take it.
            // SAFETY: changes no byte; the caller's promise covers mapping and instruction.
            DcCvap => unsafe { asm!("sys #3, c7, c12, #1, {}", in(reg) line, options(nostack, preserves_flags)) },
            // SAFETY: as above.
            DcCvac => unsafe { asm!("dc cvac, {}", in(reg) line, options(nostack, preserves_flags)) },
            other => unreachable!("{other} on aarch64"),
        }
    }

    pub(super) fn fence() {
        // SAFETY: a barrier; it changes nothing.
        unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
    }

    const HWCAP_DCPOP: usize = 1 << 16;
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod cpu {
    use super::CacheLineInstruction;

    pub(super) fn detect() -> Option<(CacheLineInstruction, usize)> {
        None
    }

    /// # Safety
    /// None: it is never called, since `detect` finds nothing.
    pub(super) unsafe fn write_back(instruction: CacheLineInstruction, _line: *mut u8) {
        unreachable!("{instruction} on an architecture without it")
    }

    pub(super) fn fence() {
        unreachable!("a fence on an architecture without write-back")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_line_of_a_range_is_written_back_once_and_no_other(
            start in 0usize..1000, len in 0usize..1000, shift in 4u32..8,
        ) {
            let line_size = 1 << shift;
            let lines = CacheLines { instruction: CacheLineInstruction::Clwb, line_size };
            let mut plain: Vec<usize> = (start..start + len).map(|byte| byte / line_size * line_size).collect();
            plain.dedup();
            prop_assert_eq!(lines.lines(start, len).collect::<Vec<_>>(), plain);
        }
    }

    #[test]
    fn writing_lines_back_keeps_the_bytes() {
        let Some(lines) = CacheLines::detect() else {
            return;
        };
        let mut bytes = [7_u8; 1000];
        // SAFETY: the bytes are an array of ours.
        unsafe { lines.write_back_lines(bytes.as_mut_ptr(), bytes.len()) };
        lines.fence();
        assert_eq!(bytes, [7; 1000]);
    }
}
