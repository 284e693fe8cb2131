//! Runs a program as most containers would: the kernel gives it no userfaultfd, so views cannot be trapped.
//!
//! `without_userfaultfd PROGRAM ARGUMENTS...`; as cargo's runner, for tests:
//! `CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=target/release/examples/without_userfaultfd cargo test -p pinfold`

use std::error::Error;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// `USERFAULTFD_IOC_NEW`: what the device `/dev/userfaultfd` is asked.
const USERFAULTFD_IOC_NEW: u32 = 0xaa00;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().ok_or("usage: without_userfaultfd PROGRAM ARGUMENTS...")?;
    refuse()?;
    Err(format!("{}: {}", program.display(), Command::new(&program).args(arguments).exec()).into())
}

/// Refuses both ways to userfaultfd, to this process and to what it becomes.
fn refuse() -> Result<(), Box<dyn Error>> {
    const NUMBER: u32 = std::mem::offset_of!(libc::seccomp_data, nr) as u32;
    const SECOND: u32 = (std::mem::offset_of!(libc::seccomp_data, args) + 8) as u32;
    let rule = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |at| rule(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at);
    let equals = |value, jt, jf| rule(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, jt, jf, value);
    let answer = |what| rule(libc::BPF_RET | libc::BPF_K, 0, 0, what);
    let mut rules = [
        load(NUMBER),
        equals(libc::SYS_userfaultfd as u32, 3, 0),
        equals(libc::SYS_ioctl as u32, 0, 3),
        load(SECOND),
        equals(USERFAULTFD_IOC_NEW, 0, 1),
        answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: rules.len() as u16, filter: rules.as_mut_ptr() };
    // SAFETY: plain numbers, and a program of rules that live until the call returns.
    let refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    if refused { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
}
