//! A step from call frame information (`.eh_frame`), as the compiler wrote it for exceptions.
//!
//! Of a function's information, only its own record and the one it refers to are read, so that the rest stays on disk.

use std::io;

use addr2line::gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameOffset, LittleEndian, Register, RegisterRule, UnwindContext, UnwindSection,
};

use super::memory::Memory;
use super::objects::Object;
use super::steps::{Base, Step};

const FRAME_POINTER: Register = Register(6);
const STACK_POINTER: Register = Register(7);
const RETURN_ADDRESS: Register = Register(16);

/// The longest record that is read.
const RECORD_BYTES_MAX: usize = 64 << 10;
/// How the search table's parts are written: version 1, a count of four bytes, entries of two times four bytes relative to
/// the table's start. All linkers write it so.
const COUNT_OF_FOUR_BYTES: u8 = 0x03;
const ENTRIES_OF_FOUR_BYTES_FROM_HERE: u8 = 0x3b;
const POINTER_FROM_THERE: u8 = 0x1b;

/// From the frame of the function that has a call at this address. `None` where the information is not there, or is more
/// than two registers and two offsets.
pub(super) fn step(memory: &Memory, object: &Object, call: u64) -> Option<Step> {
    let record = record_of(memory, object.frames_header, call).ok()??;
    let (section, at) = with_common(memory, record).ok()?;
    let bases = BaseAddresses::default().set_eh_frame(record.wrapping_sub(at as u64));
    let section = EhFrame::new(&section, LittleEndian);
    let function = section.fde_from_offset(&bases, EhFrameOffset(at), EhFrame::cie_from_offset).ok()?;
    if !function.contains(call) || function.is_signal_trampoline() {
        return None;
    }
    let mut context = UnwindContext::new();
    let row = function.unwind_info_for_address(&section, &bases, &mut context, call).ok()?;
    match row.register(RETURN_ADDRESS)? {
        RegisterRule::Undefined => return Some(Step::Outermost),
        RegisterRule::Offset(-8) => {}
        _ => return None,
    }
    let CfaRule::RegisterAndOffset { register, offset } = row.cfa() else { return None };
    let base = match *register {
        STACK_POINTER => Base::StackPointer,
        FRAME_POINTER => Base::FramePointer,
        _ => return None,
    };
    let saved_at = match row.register(FRAME_POINTER) {
        None | Some(RegisterRule::SameValue | RegisterRule::Undefined) => None,
        Some(RegisterRule::Offset(offset)) if offset != 0 => Some(i16::try_from(offset).ok()?),
        Some(_) => return None,
    };
    Some(Step::Caller { base, offset_bytes: i32::try_from(*offset).ok()?, saved_at })
}

/// Where the record is of the last function that begins at or before the address.
fn record_of(memory: &Memory, header: u64, call: u64) -> io::Result<Option<u64>> {
    let [version, pointer, count, entries] = memory.read(header)?;
    if [version, pointer, count, entries]
        != [1, POINTER_FROM_THERE, COUNT_OF_FOUR_BYTES, ENTRIES_OF_FOUR_BYTES_FROM_HERE]
    {
        return Ok(None);
    }
    let table = header + 12;
    let from_header = |value: u32| header.wrapping_add_signed(value.cast_signed().into());
    let (mut low, mut high) = (0, u64::from(memory.u32(header + 8)?));
    while low < high {
        let middle = low + (high - low) / 2;
        if from_header(memory.u32(table + middle * 8)?) <= call {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let Some(index) = low.checked_sub(1) else { return Ok(None) };
    memory.u32(table + index * 8 + 4).map(|place| Some(from_header(place)))
}

/// A section of two records, the one at the address second, and where it is there.
fn with_common(memory: &Memory, record: u64) -> io::Result<(Vec<u8>, usize)> {
    let mut own = whole(memory, record)?;
    let back = memory.u32(record + 4)?;
    let mut section = whole(memory, record.wrapping_add(4).wrapping_sub(back.into()))?;
    let at = section.len();
    let back = u32::try_from(at + 4).map_err(io::Error::other)?;
    own.get_mut(4..8).ok_or(io::ErrorKind::InvalidData)?.copy_from_slice(&back.to_le_bytes());
    section.append(&mut own);
    Ok((section, at))
}

fn whole(memory: &Memory, record: u64) -> io::Result<Vec<u8>> {
    let len = memory.u32(record)? as usize;
    // Ends of tables, and the form for more than four gigabytes, are none.
    if !(8..=RECORD_BYTES_MAX).contains(&len) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    memory.read_vec(record, len + 4)
}
