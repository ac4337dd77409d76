//! A stream cut into pieces, each of which is whole in memory while it is looked at.

use std::io::{self, Read};

use super::{BUFFER_BYTES, DiffError, PIECE_BYTES_MAX};

pub(super) struct Feed<'a> {
    input: &'a mut dyn Read,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// A field of a protocol buffer message.
pub(super) enum Field {
    Number(u64),
    /// So many bytes follow, to be taken or skipped.
    Bytes(u64),
}

impl<'a> Feed<'a> {
    pub(super) fn new(input: &'a mut dyn Read) -> Feed<'a> {
        Feed { input, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0 }
    }

    /// Has so many bytes in the buffer, or all that are left.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        if self.end - self.start >= wanted {
            return Ok(());
        }
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        while self.end < wanted {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(length) => self.end += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next field of the outermost message; `None` at the end.
    pub(super) fn field(&mut self) -> Result<Option<(u64, Field)>, DiffError> {
        // A tag and a number.
        self.fill(20)?;
        let mut rest = &self.buffer[self.start..self.end];
        if rest.is_empty() {
            return Ok(None);
        }
        let before = rest.len();
        let tag = varint(&mut rest)?;
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut rest)?),
            1 => Field::Bytes(8),
            2 => Field::Bytes(varint(&mut rest)?),
            5 => Field::Bytes(4),
            _ => return Err(DiffError::Malformed("a field of an unknown kind".to_owned())),
        };
        self.start += before - rest.len();
        Ok(Some((tag >> 3, field)))
    }

    pub(super) fn take(&mut self, length: u64) -> Result<&[u8], DiffError> {
        let length = usize::try_from(length).ok().filter(|&length| length <= PIECE_BYTES_MAX);
        let length = length.ok_or(DiffError::TooLarge("one sample or name"))?;
        self.fill(length)?;
        let taken = self.buffer[self.start..self.end].get(..length).ok_or_else(cut_off)?;
        self.start += length;
        Ok(taken)
    }

    pub(super) fn skip(&mut self, mut length: u64) -> Result<(), DiffError> {
        while length > 0 {
            self.fill(1)?;
            let there = (self.end - self.start) as u64;
            if there == 0 {
                return Err(cut_off());
            }
            let step = length.min(there);
            self.start += step as usize;
            length -= step;
        }
        Ok(())
    }

    /// The next line without its end; `None` at the end.
    pub(super) fn line(&mut self) -> Result<Option<&[u8]>, DiffError> {
        let mut seen = 0;
        loop {
            let there = self.end - self.start;
            let found = self.buffer[self.start + seen..self.end].iter().position(|&byte| byte == b'\n');
            if let Some(length) = found.map(|place| seen + place) {
                let line = self.start..self.start + length;
                self.start += length + 1;
                return Ok(Some(&self.buffer[line]));
            }
            if there > PIECE_BYTES_MAX {
                return Err(DiffError::TooLarge("one line"));
            }
            seen = there;
            self.fill(there + 1)?;
            if self.end - self.start == there {
                let line = self.start..self.end;
                self.start = self.end;
                return Ok((there > 0).then(|| &self.buffer[line]));
            }
        }
    }
}

pub(super) fn cut_off() -> DiffError {
    DiffError::Malformed("it is cut off".to_owned())
}

pub(super) fn varint(rest: &mut &[u8]) -> Result<u64, DiffError> {
    let mut value = 0_u64;
    for (place, &byte) in rest.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            *rest = &rest[place + 1..];
            return Ok(value);
        }
    }
    Err(cut_off())
}

/// The fields of a message that is whole in memory.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    pub(super) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, DiffError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = varint(&mut self.0)?;
        let length = match tag & 7 {
            0 => return Ok(Some((tag >> 3, Value::Number(varint(&mut self.0)?)))),
            1 => 8,
            2 => usize::try_from(varint(&mut self.0)?).map_err(|_| cut_off())?,
            5 => 4,
            _ => return Err(DiffError::Malformed("a field of an unknown kind".to_owned())),
        };
        let (bytes, after) = self.0.split_at_checked(length).ok_or_else(cut_off)?;
        self.0 = after;
        Ok(Some((tag >> 3, Value::Bytes(bytes))))
    }
}
