//! pprof's protocol buffer (google/pprof's `proto/profile.proto`) as a stream.

use std::sync::Arc;

use super::calls::Calls;
use super::feed::{Feed, Field, Fields, Value, varint};
use super::{DiffError, NAMES_BYTES_MAX, Sites};
use crate::profile::model::Count;
use crate::symbols::{AddressMap, Frame};

/// Frames of one stack that are kept.
const STACK_FRAMES_MAX: usize = 1024;
/// Sample types that are looked at.
const COLUMNS_MAX: usize = 16;

/// What the first pass gathers.
#[derive(Default)]
pub(super) struct Names {
    types: Vec<u64>,
    strings: Vec<Arc<str>>,
    functions: AddressMap<(u64, u64)>,
    locations: Vec<Location>,
    /// Function and line.
    lines: Vec<(u64, u32)>,
    period_bytes: u64,
    taken_unix_nanos: i64,
    bytes: usize,
}

struct Location {
    id: u64,
    address: u64,
    first_line: usize,
}

/// Which values of a sample are which, and the call of each location.
pub(super) struct Columns {
    inuse_bytes: usize,
    inuse_objects: Option<usize>,
    alloc: Option<(usize, usize)>,
    count: usize,
    /// Ids are 1, 2, 3… as a rule.
    dense: Vec<u32>,
    sparse: AddressMap<u32>,
}

impl Names {
    pub(super) fn read(&mut self, feed: &mut Feed<'_>) -> Result<(), DiffError> {
        while let Some((tag, field)) = feed.field()? {
            match (tag, field) {
                (1, Field::Bytes(length)) => self.types.push(number(feed.take(length)?, 1)?),
                (4, Field::Bytes(length)) => {
                    let message = feed.take(length)?;
                    self.location(message)?;
                }
                (5, Field::Bytes(length)) => {
                    let message = feed.take(length)?;
                    self.functions.insert(number(message, 1)?, (number(message, 2)?, number(message, 4)?));
                    self.count(64)?;
                }
                (6, Field::Bytes(length)) => {
                    let text = String::from_utf8_lossy(feed.take(length)?).into();
                    self.strings.push(text);
                    self.count(32 + length as usize)?;
                }
                (9, Field::Number(nanos)) => self.taken_unix_nanos = nanos.cast_signed(),
                (12, Field::Number(period)) => self.period_bytes = period,
                (_, Field::Bytes(length)) => feed.skip(length)?,
                (_, Field::Number(_)) => {}
            }
        }
        Ok(())
    }

    fn location(&mut self, message: &[u8]) -> Result<(), DiffError> {
        let mut location = Location { id: 0, address: 0, first_line: self.lines.len() };
        let mut fields = Fields(message);
        while let Some((tag, value)) = fields.next()? {
            match (tag, value) {
                (1, Value::Number(id)) => location.id = id,
                (3, Value::Number(address)) => location.address = address,
                (4, Value::Bytes(line)) => {
                    let number_of_line = u32::try_from(number(line, 2)?).unwrap_or(0);
                    self.lines.push((number(line, 1)?, number_of_line));
                }
                _ => {}
            }
        }
        self.locations.push(location);
        self.count(64 + 16)
    }

    fn count(&mut self, bytes: usize) -> Result<(), DiffError> {
        self.bytes += bytes;
        if self.bytes > NAMES_BYTES_MAX { Err(DiffError::TooLarge("its names")) } else { Ok(()) }
    }

    pub(super) fn resolve(self) -> Result<(Calls, Columns, f64), DiffError> {
        let empty: Arc<str> = "".into();
        let string =
            |index: u64| usize::try_from(index).ok().and_then(|index| self.strings.get(index)).unwrap_or(&empty);
        let column = |name: &str| self.types.iter().take(COLUMNS_MAX).position(|&index| **string(index) == *name);
        let inuse_bytes = column("inuse_space").or_else(|| column("space")).ok_or(DiffError::NotAHeap)?;
        let mut calls = Calls::new(self.period_bytes);
        let mut columns = Columns {
            inuse_bytes,
            inuse_objects: column("inuse_objects").or_else(|| column("objects")),
            alloc: column("alloc_objects").zip(column("alloc_space")),
            count: self.types.len().min(COLUMNS_MAX),
            dense: Vec::with_capacity(self.locations.len() + 1),
            sparse: AddressMap::default(),
        };
        for (place, location) in self.locations.iter().enumerate() {
            let end = self.locations.get(place + 1).map_or(self.lines.len(), |next| next.first_line);
            let lines = &self.lines[location.first_line..end];
            let mut frames: Vec<Frame> = lines
                .iter()
                .map(|(function, line)| {
                    let (name, file) = self.functions.get(function).copied().unwrap_or_default();
                    Frame { function: Arc::clone(string(name)), file: Arc::clone(string(file)), line: *line }
                })
                .collect();
            if frames.is_empty() && location.address != 0 {
                let function = format!("{:#x}", location.address).into();
                frames.push(Frame { function, file: Arc::clone(&empty), line: 0 });
            }
            let call = calls.push(frames.into());
            if location.id == columns.dense.len() as u64 + 1 {
                columns.dense.push(call);
            } else {
                columns.sparse.insert(location.id, call);
            }
        }
        Ok((calls, columns, self.taken_unix_nanos as f64 / 1e9))
    }
}

impl Columns {
    fn call(&self, id: u64) -> Option<u32> {
        let dense = usize::try_from(id.wrapping_sub(1)).ok().and_then(|place| self.dense.get(place));
        dense.or_else(|| self.sparse.get(&id)).copied()
    }
}

/// The second pass.
pub(super) fn samples(
    feed: &mut Feed<'_>,
    columns: &Columns,
    calls: &mut Calls,
    sites: &mut Sites,
) -> Result<(), DiffError> {
    let (mut stack, mut values) = (Vec::new(), Vec::new());
    while let Some((tag, field)) = feed.field()? {
        let length = match field {
            Field::Bytes(length) if tag == 2 => length,
            Field::Bytes(length) => {
                feed.skip(length)?;
                continue;
            }
            Field::Number(_) => continue,
        };
        stack.clear();
        values.clear();
        let mut fields = Fields(feed.take(length)?);
        while let Some((tag, value)) = fields.next()? {
            match tag {
                1 => numbers(value, |id| {
                    if stack.len() < STACK_FRAMES_MAX {
                        stack.extend(columns.call(id));
                    }
                })?,
                2 => numbers(value, |number| {
                    if values.len() < columns.count {
                        values.push(number.cast_signed() as f64);
                    }
                })?,
                _ => {}
            }
        }
        let value = |column: usize| values.get(column).copied().unwrap_or(0.0);
        let inuse = Count {
            objects: columns.inuse_objects.map_or(0.0, value),
            bytes: value(columns.inuse_bytes),
            ..Count::default()
        };
        let alloc = columns.alloc.map(|(objects, bytes)| Count {
            objects: value(objects),
            bytes: value(bytes),
            ..Count::default()
        });
        calls.add(&stack, inuse, alloc, sites);
    }
    Ok(())
}

/// Repeated numbers, packed or one by one.
fn numbers(value: Value<'_>, mut each: impl FnMut(u64)) -> Result<(), DiffError> {
    match value {
        Value::Number(number) => each(number),
        Value::Bytes(mut rest) => {
            while !rest.is_empty() {
                each(varint(&mut rest)?);
            }
        }
    }
    Ok(())
}

/// The number in a field of a message, 0 where it is left out.
fn number(message: &[u8], wanted: u64) -> Result<u64, DiffError> {
    let (mut found, mut fields) = (0, Fields(message));
    while let Some((tag, value)) = fields.next()? {
        if let Value::Number(number) = value
            && tag == wanted
        {
            found = number;
        }
    }
    Ok(found)
}
