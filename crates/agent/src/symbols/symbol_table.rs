//! The symbol table, passed over once: which function an address is in.

use addr2line::gimli::{self, Reader};

use super::debug_file::DebugFile;

/// An entry of a 64-bit table.
const ENTRY_BYTES: usize = 24;
const FUNCTION: u8 = 2;
const INDIRECT_FUNCTION: u8 = 10;

/// What the table says of an address.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Symbol {
    pub(super) name: String,
    /// By the file's own numbering.
    pub(super) start: u64,
}

/// The functions that sorted addresses are in, by the full table or, where that was stripped, by the dynamic one.
pub(super) fn functions(file: &DebugFile, addresses: &[u64]) -> Vec<Option<Symbol>> {
    let file = file.with_symbols();
    let (table, names) = if file.has(".symtab") { (".symtab", ".strtab") } else { (".dynsym", ".dynstr") };
    // A damaged table costs the names that it holds.
    scan(&file.section(table), &file.section(names), addresses).unwrap_or_else(|_| vec![None; addresses.len()])
}

fn scan<R: Reader<Offset = usize>>(table: &R, names: &R, addresses: &[u64]) -> gimli::Result<Vec<Option<Symbol>>> {
    /// Entries read at a time.
    const BATCH: usize = 256;
    let mut best: Vec<Option<(u64, u32)>> = vec![None; addresses.len()];
    let mut rest = table.clone();
    let mut buffer = [0; BATCH * ENTRY_BYTES];
    while rest.len() >= ENTRY_BYTES {
        let length = rest.len().min(buffer.len()) / ENTRY_BYTES * ENTRY_BYTES;
        rest.read_slice(&mut buffer[..length])?;
        for entry in buffer[..length].chunks_exact(ENTRY_BYTES) {
            let (kind, section) = (entry[4] & 0xf, u16::from_le_bytes([entry[6], entry[7]]));
            if !matches!(kind, FUNCTION | INDIRECT_FUNCTION) || section == 0 {
                continue;
            }
            let word = |at: usize| entry[at..at + 8].iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
            let (start, bytes) = (word(8), word(16));
            let name = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
            let from = addresses.partition_point(|&address| address < start);
            let to = addresses.partition_point(|&address| address < start.saturating_add(bytes.max(1)));
            for known in best.get_mut(from..to).unwrap_or_default() {
                let is_better = |(other, other_name): (u64, u32)| {
                    // `strdup` is `__strdup` too: the name that people write has fewer underscores.
                    other < start || other == start && underscores(names, name) < underscores(names, other_name)
                };
                if known.is_none_or(is_better) {
                    *known = Some((start, name));
                }
            }
        }
    }
    let named = |(start, name): (u64, u32)| {
        let mut at = names.clone();
        at.skip(name as usize).ok()?;
        let name = at.read_null_terminated_slice().ok()?.to_string_lossy().ok()?.into_owned();
        Some(Symbol { name, start })
    };
    Ok(best.into_iter().map(|found| found.and_then(named)).collect())
}

/// How many a name begins with.
fn underscores<R: Reader<Offset = usize>>(names: &R, name: u32) -> usize {
    let mut at = names.clone();
    if at.skip(name as usize).is_err() {
        return usize::MAX;
    }
    std::iter::from_fn(|| at.read_u8().ok()).take_while(|&byte| byte == b'_').count()
}
