//! What /proc says about this process and its host.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

/// Reads the resident memory of this process: one system call, 3 to 5 µs.
pub(crate) struct RssReader {
    statm: File,
    page_bytes: u64,
}

impl RssReader {
    pub(crate) fn open() -> io::Result<Self> {
        // Not rustix's first: it does not know its way about in valgrind.
        let vector = fs::read("/proc/self/auxv");
        let page_bytes = vector.map_or_else(|_| rustix::param::page_size() as u64, |vector| page_bytes(&vector));
        Ok(Self { statm: File::open("/proc/self/statm")?, page_bytes })
    }

    pub(crate) fn rss_bytes(&self) -> io::Result<u64> {
        // Seven numbers of at most 20 digits.
        let mut line = [0; 160];
        let length = self.statm.read_at(&mut line, 0)?;
        let text = String::from_utf8_lossy(&line[..length]);
        let pages = resident_pages(&text)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/statm has no second number"))?;
        Ok(pages.saturating_mul(self.page_bytes))
    }
}

/// The kernel's page size in the auxiliary vector of a process: pairs of a kind and a value.
fn page_bytes(vector: &[u8]) -> u64 {
    const PAGE_SIZE_KIND: u64 = 6;
    const PAGE_BYTES_DEFAULT: u64 = 4096;
    let (words, _) = vector.as_chunks::<8>();
    let pairs = words.chunks_exact(2).map(|pair| (u64::from_ne_bytes(pair[0]), u64::from_ne_bytes(pair[1])));
    pairs.into_iter().find(|(kind, _)| *kind == PAGE_SIZE_KIND).map_or(PAGE_BYTES_DEFAULT, |(_, bytes)| bytes)
}

/// The memory of the host, in bytes.
pub fn host_memory_bytes() -> io::Result<u64> {
    mem_total_bytes(&fs::read_to_string("/proc/meminfo")?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/meminfo has no MemTotal"))
}

/// The second number of /proc/self/statm, in pages.
pub fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// `MemTotal` of /proc/meminfo, in bytes.
pub fn mem_total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_proc() {
        assert_eq!(resident_pages("765 434 406 5 0 123 0\n"), Some(434));
        assert_eq!(resident_pages("765"), None);
        assert_eq!(mem_total_bytes("MemTotal:       24684096 kB\nMemFree: 1 kB\n"), Some(24_684_096 << 10));
        assert_eq!(mem_total_bytes("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn rss_agrees_with_status() {
        let status = fs::read_to_string("/proc/self/status").expect("readable");
        let kib: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok())
            .expect("VmRSS");
        let rss = RssReader::open().and_then(|reader| reader.rss_bytes()).expect("readable");
        assert!(rss.abs_diff(kib << 10) < 4 << 20, "{rss} against {kib} KiB");
    }
}
