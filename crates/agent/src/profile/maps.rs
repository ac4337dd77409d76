//! `/proc/<pid>/maps`: which file stands at which address.

use super::model::Mapping;

/// Executable mappings kept; a process that has more loses the names of the rest.
const MAPPINGS_MAX: usize = 4096;

/// The executable mappings of files, in the order of addresses. Lines that are not understood are skipped.
///
/// Parts of one file that touch (the kernel splits a mapping when `mprotect` changes some pages) are one mapping.
pub(crate) fn parse(text: &str) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for mapping in text.lines().filter_map(line).take(MAPPINGS_MAX) {
        match mappings.last_mut() {
            Some(last) if continues(last, &mapping) => last.limit_address = mapping.limit_address,
            _ => mappings.push(mapping),
        }
    }
    mappings
}

/// `55d0c8a5b000-55d0c8f3d000 r-xp 0005a000 fe:01 1835122    /usr/bin/program (deleted)`
fn line(line: &str) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        let (field, after) = rest.trim_start().split_once(' ')?;
        rest = after;
        Some(field)
    };
    let (start, limit) = field()?.split_once('-')?;
    let is_executable = field()?.as_bytes().get(2) == Some(&b'x');
    let file_offset = field()?;
    let (_device, _inode) = (field()?, field()?);
    let name = rest.trim_start();
    if !is_executable || name.is_empty() || name.starts_with("[anon") || name == "[vsyscall]" {
        return None;
    }
    let kept = name.strip_suffix(" (deleted)");
    Some(Mapping {
        start_address: u64::from_str_radix(start, 16).ok()?,
        limit_address: u64::from_str_radix(limit, 16).ok()?,
        file_offset: u64::from_str_radix(file_offset, 16).ok()?,
        filename: kept.unwrap_or(name).to_owned(),
        is_deleted: kept.is_some(),
        build_id: String::new(),
    })
}

fn continues(last: &Mapping, next: &Mapping) -> bool {
    last.limit_address == next.start_address
        && last.filename == next.filename
        && last.file_offset + (last.limit_address - last.start_address) == next.file_offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_files_are_kept_and_the_rest_is_not() {
        let text = "\
55d0c8a00000-55d0c8a5b000 r--p 00000000 fe:01 1835122                    /srv/a program/server
55d0c8a5b000-55d0c8f3d000 r-xp 0005a000 fe:01 1835122                    /srv/a program/server
55d0c8f3d000-55d0c8f5d000 rw-p 0053b000 fe:01 1835122                    /srv/a program/server
55d0ca1f2000-55d0ca213000 rw-p 00000000 00:00 0                          [heap]
7f20c4000000-7f20c4001000 r-xp 00000000 00:00 0 
7f20c4100000-7f20c4255000 r-xp 00026000 fe:01 393 /lib/x86_64-linux-gnu/libc.so.6 (deleted)
7f20c4255000-7f20c4256000 r-xp 0017b000 fe:01 393 /lib/x86_64-linux-gnu/libc.so.6 (deleted)
7ffc9a5f2000-7ffc9a5f4000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
garbage
";
        let mappings = parse(text);
        let names: Vec<_> = mappings.iter().map(|mapping| mapping.filename.as_str()).collect();
        assert_eq!(names, ["/srv/a program/server", "/lib/x86_64-linux-gnu/libc.so.6", "[vdso]"]);
        assert_eq!((mappings[0].start_address, mappings[0].file_offset), (0x55d0_c8a5_b000, 0x5a000));
        assert!(!mappings[0].is_deleted && mappings[1].is_deleted);
        assert_eq!(mappings[1].limit_address, 0x7f20_c425_6000);
        assert!(mappings[0].contains(0x55d0_c8a5_b000) && !mappings[0].contains(0x55d0_c8f3_d000));
    }
}
