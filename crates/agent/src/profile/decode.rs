//! Reads heap profiles in pprof's protocol buffer (google/pprof's `proto/profile.proto`), gzipped or not. For large
//! files, see [`culprit::diff`](crate::culprit::diff).

use std::collections::HashMap;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use super::model::{Count, Mapping, Profile, Sample};
use crate::symbols::{Frame, Location, Symbols};

/// The largest profile that is read, inflated. One of 10,000 stacks of 40 frames takes 3 MB.
const PROFILE_BYTES_MAX: u64 = 256 << 20;
/// Comments that are kept.
const COMMENTS_MAX: usize = 64;
/// Frames of one stack that are kept.
const STACK_FRAMES_MAX: usize = 1024;

/// Why bytes are not a heap profile.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// The input failed, or is no whole gzip stream.
    #[error("the profile cannot be read")]
    Read(#[from] io::Error),
    /// More than 256 MiB.
    #[error("the profile is larger than {PROFILE_BYTES_MAX} bytes")]
    TooLarge,
    /// Not a profile in pprof's format.
    #[error("not a pprof profile: {0}")]
    Malformed(&'static str),
    /// A CPU profile, say.
    #[error("the profile has no sample type inuse_space")]
    NotAHeap,
}

/// A profile and what is known of its addresses. For pprof these are made up: one for each of its locations.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    pub(crate) profile: Profile,
    pub(crate) symbols: Symbols,
}

/// Reads to the end of the input.
///
/// # Errors
///
/// See [`DecodeError`].
pub(crate) fn read(input: impl Read) -> Result<Decoded, DecodeError> {
    pprof(&inflated(input)?, Unnamed::Address)
}

/// The same, but a call without a name is called after its object: `[libc.so.6]`.
pub(crate) fn read_by_object(input: impl Read) -> Result<Decoded, DecodeError> {
    pprof(&inflated(input)?, Unnamed::Object)
}

/// Stacks have the machine's addresses, in the mappings of then, and there are no names.
pub(crate) fn read_addresses(input: impl Read) -> Result<Profile, DecodeError> {
    Ok(pprof(&inflated(input)?, Unnamed::Machine)?.profile)
}

/// What stands for a call without a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unnamed {
    /// Its address, as text.
    Address,
    /// Its object's file name, else its address.
    Object,
    /// No call has a name.
    Machine,
}

fn inflated(input: impl Read) -> Result<Vec<u8>, DecodeError> {
    let raw = bounded(input)?;
    if raw.starts_with(b"\x1f\x8b") { bounded(MultiGzDecoder::new(&*raw)) } else { Ok(raw) }
}

fn bounded(input: impl Read) -> Result<Vec<u8>, DecodeError> {
    let mut raw = Vec::new();
    input.take(PROFILE_BYTES_MAX + 1).read_to_end(&mut raw)?;
    if raw.len() as u64 > PROFILE_BYTES_MAX { Err(DecodeError::TooLarge) } else { Ok(raw) }
}

fn pprof(raw: &[u8], unnamed: Unnamed) -> Result<Decoded, DecodeError> {
    let mut parts = Parts::default();
    let mut profile = Profile::default();
    for field in Fields(raw) {
        match field? {
            (1, Value::Bytes(message)) => parts.types.push(number(message, 1)?),
            (2, Value::Bytes(message)) => parts.samples.push(message),
            (3, Value::Bytes(message)) => {
                parts.objects.insert(number(message, 1)?, number(message, 5)?);
                parts.mappings.push(message);
            }
            (4, Value::Bytes(message)) => {
                parts.locations.push(message);
            }
            (5, Value::Bytes(message)) => {
                parts.functions.insert(number(message, 1)?, (number(message, 2)?, number(message, 4)?));
            }
            (6, Value::Bytes(text)) => parts.strings.push(text),
            (9, Value::Number(nanos)) => profile.taken_unix_nanos = nanos.cast_signed(),
            (10, Value::Number(nanos)) => profile.duration_nanos = nanos.cast_signed(),
            (12, Value::Number(period)) => profile.period_bytes = period,
            (13, value) => value.numbers(COMMENTS_MAX, &mut parts.comments)?,
            _ => {}
        }
    }
    let mut symbols = Symbols::default();
    let addresses = if unnamed == Unnamed::Machine {
        profile.mappings = parts.mappings()?;
        profile.comments = parts.comments.iter().map(|&comment| parts.string(comment).into_owned()).collect();
        parts.machine_addresses()?
    } else {
        parts.name_locations(&mut symbols, unnamed)?
    };
    profile.samples = parts.samples(&addresses)?;
    profile.merge_equal_stacks();
    Ok(Decoded { profile, symbols })
}

#[derive(Default)]
struct Parts<'a> {
    /// The number of each type's name.
    types: Vec<u64>,
    samples: Vec<&'a [u8]>,
    /// The number of each mapping's file name, by id.
    objects: HashMap<u64, u64>,
    mappings: Vec<&'a [u8]>,
    /// The number of each comment.
    comments: Vec<u64>,
    locations: Vec<&'a [u8]>,
    /// Name and file by id.
    functions: HashMap<u64, (u64, u64)>,
    strings: Vec<&'a [u8]>,
}

impl Parts<'_> {
    fn string(&self, index: u64) -> std::borrow::Cow<'_, str> {
        let place = usize::try_from(index).ok();
        String::from_utf8_lossy(place.and_then(|place| self.strings.get(place)).copied().unwrap_or_default())
    }

    /// Gives each location an address of its own; returns the return address that leads to it, by id.
    fn name_locations(&self, symbols: &mut Symbols, unnamed: Unnamed) -> Result<HashMap<u64, u64>, DecodeError> {
        let mut addresses = HashMap::with_capacity(self.locations.len());
        for (place, message) in self.locations.iter().enumerate() {
            let mut frames = Vec::new();
            let (mut id, mut object, mut machine_address) = (0, 0, 0);
            for field in Fields(message) {
                match field? {
                    (1, Value::Number(number)) => id = number,
                    (2, Value::Number(number)) => object = number,
                    (3, Value::Number(number)) => machine_address = number,
                    (4, Value::Bytes(line)) => {
                        let (name, file) = self.functions.get(&number(line, 1)?).copied().unwrap_or_default();
                        let line = u32::try_from(number(line, 2)?).unwrap_or(0);
                        frames.push(Frame {
                            function: symbols.intern(&self.string(name)),
                            file: symbols.intern(&self.string(file)),
                            line,
                        });
                    }
                    _ => {}
                }
            }
            if frames.is_empty() && machine_address != 0 {
                let path = self.objects.get(&object).filter(|_| unnamed == Unnamed::Object);
                let path = path.map(|&path| self.string(path)).filter(|path| !path.is_empty());
                let function = path.map_or_else(
                    || format!("{machine_address:#x}"),
                    |path| format!("[{}]", path.rsplit('/').next().unwrap_or_default()),
                );
                let function = symbols.intern(&function);
                frames.push(Frame { function, file: symbols.intern(""), line: 0 });
            }
            let address = place as u64 + 1;
            symbols.insert(address, Location { frames: frames.into(), function_start: None });
            addresses.insert(id, address + 1);
        }
        Ok(addresses)
    }

    /// As they were written. Whether a file was deleted is not.
    fn mappings(&self) -> Result<Vec<Mapping>, DecodeError> {
        let mapping = |message: &&[u8]| {
            Ok(Mapping {
                start_address: number(message, 2)?,
                limit_address: number(message, 3)?,
                file_offset: number(message, 4)?,
                filename: self.string(number(message, 5)?).into_owned(),
                is_deleted: false,
                build_id: self.string(number(message, 6)?).into_owned(),
            })
        };
        self.mappings.iter().map(mapping).collect()
    }

    /// The return address that each location stands for, by id.
    fn machine_addresses(&self) -> Result<HashMap<u64, u64>, DecodeError> {
        let place = |message: &&[u8]| Ok((number(message, 1)?, number(message, 3)?.wrapping_add(1)));
        self.locations.iter().map(place).collect()
    }

    fn samples(&self, addresses: &HashMap<u64, u64>) -> Result<Vec<Sample>, DecodeError> {
        let column = |name: &str| self.types.iter().position(|&index| self.string(index) == name);
        let inuse_bytes = column("inuse_space").or_else(|| column("space")).ok_or(DecodeError::NotAHeap)?;
        let inuse_objects = column("inuse_objects");
        let alloc = column("alloc_objects").zip(column("alloc_space"));
        let mut samples = Vec::with_capacity(self.samples.len());
        for message in &self.samples {
            let (mut stack, mut values) = (Vec::new(), Vec::new());
            for field in Fields(message) {
                match field? {
                    (1, value) => value.numbers(STACK_FRAMES_MAX, &mut stack)?,
                    (2, value) => value.numbers(self.types.len(), &mut values)?,
                    _ => {}
                }
            }
            let value = |column: usize| values.get(column).map_or(0.0, |value| value.cast_signed() as f64);
            samples.push(Sample {
                stack: stack.iter().filter_map(|id| addresses.get(id).copied()).collect(),
                inuse: Count {
                    objects: inuse_objects.map_or(0.0, value),
                    bytes: value(inuse_bytes),
                    ..Count::default()
                },
                alloc: alloc.map(|(objects, bytes)| Count {
                    objects: value(objects),
                    bytes: value(bytes),
                    ..Count::default()
                }),
            });
        }
        Ok(samples)
    }
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Value<'_> {
    /// Repeated numbers, packed or one by one; those beyond the bound are left out.
    fn numbers(self, count_max: usize, into: &mut Vec<u64>) -> Result<(), DecodeError> {
        match self {
            Value::Number(number) if into.len() < count_max => into.push(number),
            Value::Number(_) => {}
            Value::Bytes(mut rest) => {
                while !rest.is_empty() && into.len() < count_max {
                    into.push(varint(&mut rest)?);
                }
            }
        }
        Ok(())
    }
}

/// The fields of a message, as they stand there.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = field(&mut self.0);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn field<'a>(rest: &mut &'a [u8]) -> Result<(u64, Value<'a>), DecodeError> {
    const CUT_OFF: DecodeError = DecodeError::Malformed("a field is cut off");
    let tag = varint(rest)?;
    let mut split = |length: usize| {
        let (bytes, after) = rest.split_at_checked(length).ok_or(CUT_OFF)?;
        *rest = after;
        Ok::<_, DecodeError>(bytes)
    };
    let value = match tag & 7 {
        0 => Value::Number(varint(rest)?),
        1 => Value::Bytes(split(8)?),
        2 => {
            let length = usize::try_from(varint(rest)?).map_err(|_| CUT_OFF)?;
            let (bytes, after) = rest.split_at_checked(length).ok_or(CUT_OFF)?;
            *rest = after;
            Value::Bytes(bytes)
        }
        5 => Value::Bytes(split(4)?),
        _ => return Err(DecodeError::Malformed("a field of an unknown kind")),
    };
    Ok((tag >> 3, value))
}

fn varint(rest: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let Some((&byte, after)) = rest.split_first() else {
            return Err(DecodeError::Malformed("a number is cut off"));
        };
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(DecodeError::Malformed("a number is too long"))
}

/// The number in a field of a message, 0 where it is left out.
fn number(message: &[u8], wanted: u64) -> Result<u64, DecodeError> {
    let mut found = 0;
    for field in Fields(message) {
        if let (tag, Value::Number(number)) = field?
            && tag == wanted
        {
            found = number;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::profile::encode;
    use crate::profile::kind::Kind;

    fn written() -> Vec<u8> {
        let mut symbols = Symbols::default();
        let frame = |function: &str, line| Frame { function: function.into(), file: "src/shop.rs".into(), line };
        let frames = [frame("shop::inlined", 7), frame("shop::add", 5)];
        symbols.insert(0x100f, Location { frames: frames.into(), function_start: None });
        let sample = |stack: &[u64], bytes: f64| Sample {
            stack: stack.into(),
            inuse: Count { objects: 2.0, bytes, ..Count::default() },
            alloc: Some(Count { objects: 9.0, bytes: 9.0 * bytes, ..Count::default() }),
        };
        let profile = Profile {
            period_bytes: 512 << 10,
            taken_unix_nanos: 1_700_000_000_000_000_123,
            samples: vec![sample(&[0x1010, 0x2000], 4096.0), sample(&[0x3000, 0x1010], -8192.0)],
            ..Profile::default()
        };
        encode::pprof(&profile.clone().into(), &symbols, Kind::Heap)
    }

    #[test]
    fn what_was_written_is_read_back() {
        let decoded = read(&*written()).unwrap();
        let profile = &decoded.profile;
        assert_eq!((profile.period_bytes, profile.taken_unix_nanos), (512 << 10, 1_700_000_000_000_000_123));
        let functions: Vec<Vec<&str>> = profile
            .samples
            .iter()
            .map(|sample| {
                let frames = sample.stack.iter().flat_map(|address| decoded.symbols.frames(address - 1));
                frames.map(|frame| &*frame.function).collect()
            })
            .collect();
        assert_eq!(functions[0], ["shop::inlined", "shop::add", "0x1fff"]);
        assert_eq!(functions[1], ["0x2fff", "shop::inlined", "shop::add"]);
        assert_eq!(profile.samples[0].inuse, Count { objects: 2.0, bytes: 4096.0, ..Count::default() });
        assert_eq!(profile.samples[1].alloc, Some(Count { objects: 9.0, bytes: -73_728.0, ..Count::default() }));
    }

    #[test]
    fn the_machines_addresses_are_read_where_they_mean_something() {
        let profile = read_addresses(&*written()).unwrap();
        assert_eq!(&*profile.samples[0].stack, [0x1010, 0x2000]);
        let decoded = read_by_object(&*written()).unwrap();
        let leaf = decoded.profile.samples[1].stack[0] - 1;
        assert_eq!(decoded.symbols.function(leaf), "0x2fff", "it is in no object");
    }

    /// Whatever is cut off or flipped, an answer comes and nothing panics.
    #[test]
    fn damaged_profiles_are_answered() {
        let mut raw = Vec::new();
        MultiGzDecoder::new(&*written()).read_to_end(&mut raw).unwrap();
        for length in 0..raw.len() {
            let _ = read(&raw[..length]);
        }
        for place in 0..raw.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = raw.clone();
                damaged[place] ^= flip;
                let _ = read(&*damaged);
            }
        }
        assert!(read(&b"\x1f\x8bno gzip"[..]).is_err());
        assert!(matches!(read(&b""[..]), Err(DecodeError::NotAHeap)));
    }
}
