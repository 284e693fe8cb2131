//! What the kernel says of a device-DAX device: its size, and what a mapping of it is aligned to.
//!
//! Stays true   D1: a device is used only if the kernel lists it on its dax bus, with a size and an
//!              alignment that make sense.
//! Who calls    `kind.rs`. There is no lock, and reading leaves nothing behind.
//!
//! The parsing is tested on a made-up sysfs tree. Opening and mapping a real device was not run: it needs
//! persistent or CXL memory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the kernel describes its devices.
pub(crate) const SYSFS: &str = "/sys";

/// A device-DAX device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DaxDevice {
    pub(crate) size: u64,
    /// A power of two: address, offset and length of a mapping are multiples of it.
    pub(crate) align: u64,
}

/// Why a character device is not a device-DAX device that can be used.
#[derive(Debug)]
pub(crate) enum DaxError {
    /// It is not on the dax bus.
    NotDax,
    /// The kernel's description cannot be read, or makes no sense.
    Attribute(PathBuf, io::Error),
}

impl DaxDevice {
    /// Reads the description of character device `major:minor` under `sysfs`.
    pub(crate) fn read(sysfs: &Path, major: u32, minor: u32) -> Result<Self, DaxError> {
        let device = sysfs.join(format!("dev/char/{major}:{minor}"));
        let on_dax_bus = fs::read_link(device.join("subsystem")).is_ok_and(|bus| bus.ends_with("dax"));
        if !on_dax_bus {
            return Err(DaxError::NotDax);
        }
        let size = number(&device.join("size"))?;
        let align = number(&align_file(&device))?;
        if !align.is_power_of_two() {
            let message = format!("{align} is not a power of two");
            return Err(DaxError::Attribute(align_file(&device), io::Error::other(message)));
        }
        Ok(Self { size, align })
    }
}

/// The file with the alignment: the device's own since Linux 5.10, its parent's before.
fn align_file(device: &Path) -> PathBuf {
    let own = device.join("align");
    if own.exists() {
        return own;
    }
    device.join("device/align")
}

/// A file that holds one decimal number.
fn number(file: &Path) -> Result<u64, DaxError> {
    let read = fs::read_to_string(file);
    let parsed = read.and_then(|text| text.trim().parse().map_err(io::Error::other));
    parsed.map_err(|why| DaxError::Attribute(file.to_owned(), why))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A sysfs with character device 252:7 on `bus`, and `files` in its folder.
    fn sysfs(bus: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join("dev/char/252:7");
        fs::create_dir_all(&device).unwrap();
        symlink(format!("../../../../bus/{bus}"), device.join("subsystem")).unwrap();
        for (name, text) in files {
            let file = device.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        root
    }

    fn read(root: &tempfile::TempDir) -> Result<DaxDevice, DaxError> {
        DaxDevice::read(root.path(), 252, 7)
    }

    #[test]
    fn size_and_alignment_are_read_from_the_device() {
        let root = sysfs("dax", &[("size", "1073741824\n"), ("align", "2097152\n")]);
        assert_eq!(read(&root).unwrap(), DaxDevice { size: 1 << 30, align: 2 << 20 });
    }

    #[test]
    fn alignment_of_an_older_kernel_is_read_from_the_parent() {
        let root = sysfs("dax", &[("size", "1073741824\n"), ("device/align", "4096\n")]);
        assert_eq!(read(&root).unwrap().align, 4096);
    }

    #[test]
    fn a_device_of_another_bus_is_not_dax() {
        let root = sysfs("tty", &[("size", "1073741824\n"), ("align", "2097152\n")]);
        assert!(matches!(read(&root), Err(DaxError::NotDax)));
    }

    #[test]
    fn a_device_that_sysfs_does_not_list_is_not_dax() {
        let root = sysfs("dax", &[]);
        assert!(matches!(DaxDevice::read(root.path(), 252, 8), Err(DaxError::NotDax)));
    }

    #[test]
    fn a_missing_or_senseless_attribute_is_named() {
        for (files, named) in [
            (&[("align", "4096\n")][..], "size"),
            (&[("size", "4096\n")], "align"),
            (&[("size", "many\n"), ("align", "4096\n")], "size"),
            (&[("size", "-1\n"), ("align", "4096\n")], "size"),
            (&[("size", "4096\n"), ("align", "0\n")], "align"),
            (&[("size", "4096\n"), ("align", "4097\n")], "align"),
        ] {
            let root = sysfs("dax", files);
            match read(&root) {
                Err(DaxError::Attribute(file, _)) => assert!(file.ends_with(named), "{file:?}"),
                other => panic!("{other:?} for {files:?}"),
            }
        }
    }
}
