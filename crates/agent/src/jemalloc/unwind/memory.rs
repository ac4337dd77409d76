//! The process's own memory, read as a file: what is not there is an error and not a crash.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The longest text read: a library's name.
const TEXT_BYTES_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct Memory(File);

impl Memory {
    /// # Errors
    ///
    /// A process that may not be dumped cannot read itself in this way.
    pub(super) fn open() -> io::Result<Memory> {
        File::open("/proc/self/mem").map(Memory)
    }

    pub(super) fn read<const BYTES: usize>(&self, address: u64) -> io::Result<[u8; BYTES]> {
        let mut bytes = [0; BYTES];
        self.0.read_exact_at(&mut bytes, address)?;
        Ok(bytes)
    }

    pub(super) fn read_vec(&self, address: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.0.read_exact_at(&mut bytes, address)?;
        Ok(bytes)
    }

    pub(super) fn u32(&self, address: u64) -> io::Result<u32> {
        self.read(address).map(u32::from_le_bytes)
    }

    /// Up to the zero at its end.
    pub(super) fn text(&self, address: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; TEXT_BYTES_MAX];
        let len = self.0.read_at(&mut bytes, address)?;
        bytes.truncate(bytes[..len].iter().position(|&byte| byte == 0).ok_or(io::ErrorKind::InvalidData)?);
        Ok(bytes)
    }
}
