//! Loads and stores of the program itself that stop where there is nothing, as the kernel's do.
//!
//! Memory that a view shows ends a program that touches it past the end of the file, or without space for a hole: `SIGBUS`. The copy here
//! is one function whose only access to memory is one instruction. The signal's handler knows it, and lets the copy return with
//! what is left; for everybody else it puts back the handler that was there before, and the access that failed fails again.

/// Copies words from the first on, until one cannot be touched; how many it did. `None` where nobody wrote that instruction.
///
/// # Safety
///
/// All of both ranges is memory that this process may touch, or that answers with `SIGBUS` (a view's). Nobody relies on a value
/// that another thread may store there meanwhile.
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn copy(from: *const u64, to: *mut u64, words: usize) -> Option<usize> {
    if !x86_64::is_ready() {
        return None;
    }
    // SAFETY: the caller's promise; the handler is there.
    let left = unsafe { x86_64::copy(to, from, words) };
    Some(words - left)
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) unsafe fn copy(_from: *const u64, _to: *mut u64, _words: usize) -> Option<usize> {
    None
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::naked_asm;
    use std::mem::zeroed;
    use std::sync::OnceLock;

    /// Bytes from the first of [`copy`]'s instructions to its last one.
    const COPY_BYTES: usize = 9;

    /// Copies, and says how many words are left.
    #[unsafe(naked)]
    pub(super) unsafe extern "sysv64" fn copy(to: *mut u64, from: *const u64, words: usize) -> usize {
        // `rep movs` counts down in rcx, and is at the same place whenever it is interrupted.
        naked_asm!("mov rcx, rdx", "rep movsq", "mov rax, rcx", "ret")
    }

    /// Where [`copy`] goes on if it cannot: its last two instructions. It has nothing on the stack.
    #[unsafe(naked)]
    unsafe extern "sysv64" fn stop() -> usize {
        naked_asm!("mov rax, rcx", "ret")
    }

    /// What was done with `SIGBUS` before.
    static BEFORE: OnceLock<Option<libc::sigaction>> = OnceLock::new();

    /// Whether the handler is there.
    pub(super) fn is_ready() -> bool {
        BEFORE.get_or_init(install).is_some()
    }

    fn install() -> Option<libc::sigaction> {
        // SAFETY: plain numbers and pointers, for which zeros are values; the handler has the type that SA_SIGINFO asks for.
        unsafe {
            let (mut action, mut before): (libc::sigaction, libc::sigaction) = (zeroed(), zeroed());
            action.sa_sigaction =
                answer as extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            (libc::sigaction(libc::SIGBUS, &raw const action, &raw mut before) == 0).then_some(before)
        }
    }

    extern "C" fn answer(signal: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: with SA_SIGINFO the kernel hands over the interrupted thread's context, which is this handler's alone.
        let at = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] };
        let copy = copy as *const () as usize;
        if (copy..copy + COPY_BYTES).contains(&(*at as usize)) {
            *at = stop as *const () as i64;
        } else if let Some(Some(before)) = BEFORE.get() {
            // SAFETY: a handler that was installed before, or the default; may be called in a handler.
            unsafe { libc::sigaction(signal, before, std::ptr::null_mut()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use pinfold::{Access, Pool, Region};

    use super::*;

    /// On other machines there is no such copy.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_copy_stops_where_a_view_has_nothing() {
        let pool = Pool::new(Region::memfd(1 << 20).unwrap()).unwrap();
        let file = pool.create("file").unwrap();
        file.write_at(0, &[7; 8192]).unwrap();
        let view = match file.map(0..16384, Access::Write).wait() {
            Ok(view) if view.revocable() => view,
            _ => return println!("skipped: accesses to views cannot be trapped here"),
        };
        let (shown, mut words) = (view.as_ptr().as_ptr().cast::<u64>(), vec![1_u64; 2048]);
        // SAFETY: 2048 words of the view, and of the heap; nobody else is there.
        assert_eq!(unsafe { copy(shown, words.as_mut_ptr(), 2048) }, Some(1024));
        assert_eq!((words[1023], words[1024]), (0x0707_0707_0707_0707, 1));
        // SAFETY: as before.
        assert_eq!(unsafe { copy(words.as_ptr(), shown.add(1000), 100) }, Some(24));
    }
}
