//! A small reader of pprof's protocol buffer, written from `profile.proto` and not from the agent's writer.

use std::collections::HashMap;
use std::io::Read;

#[derive(Debug, Default)]
pub(crate) struct Decoded {
    /// `type/unit`.
    pub(crate) sample_types: Vec<String>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) mappings: Vec<Mapping>,
    pub(crate) locations: HashMap<u64, Location>,
    pub(crate) time_nanos: i64,
    pub(crate) duration_nanos: i64,
    pub(crate) period_type: String,
    pub(crate) period: i64,
    pub(crate) default_sample_type: String,
}

#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) location_ids: Vec<u64>,
    pub(crate) values: Vec<i64>,
}

#[derive(Debug, Default)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) limit: u64,
    pub(crate) offset: u64,
    pub(crate) filename: String,
    pub(crate) build_id: String,
    /// has_functions, has_filenames, has_line_numbers, has_inline_frames.
    pub(crate) has: [bool; 4],
}

#[derive(Debug, Default)]
pub(crate) struct Location {
    pub(crate) mapping_id: u64,
    pub(crate) address: u64,
    /// Function, file, line; the innermost first.
    pub(crate) lines: Vec<(String, String, u64)>,
}

impl Decoded {
    pub(crate) fn from_gzip(body: &[u8]) -> Decoded {
        let mut raw = Vec::new();
        flate2::read::GzDecoder::new(body).read_to_end(&mut raw).expect("gzip");
        let decoded = decode(&raw);
        decoded.assert_valid();
        decoded
    }

    /// What google/pprof's `CheckValid` and its readers take for granted.
    fn assert_valid(&self) {
        assert!(self.time_nanos >= 0 && self.duration_nanos >= 0);
        assert_eq!(self.period_type, "space/bytes");
        assert!(self.period >= 0);
        let default = format!("{}/", self.default_sample_type);
        assert!(self.sample_types.iter().any(|kind| kind.starts_with(&default)), "{default}");
        for mapping in &self.mappings {
            assert!(mapping.start < mapping.limit && !mapping.filename.is_empty(), "{mapping:?}");
            assert_eq!(mapping.offset % 4096, 0, "{mapping:?}");
            assert!(mapping.build_id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{mapping:?}");
        }
        let named = self.locations.values().any(|location| location.mapping_id == 1 && !location.lines.is_empty());
        assert!(!named || self.mappings[0].has[0], "pprof would look for names by itself");
        for location in self.locations.values() {
            let mapping = location.mapping_id.checked_sub(1).map(|place| &self.mappings[place as usize]);
            assert!(mapping.is_none_or(|mapping| (mapping.start..mapping.limit).contains(&location.address)));
        }
        for sample in &self.samples {
            assert_eq!(sample.values.len(), self.sample_types.len());
            assert!(sample.location_ids.iter().all(|id| self.locations.contains_key(id)));
        }
    }

    /// The functions of a sample, the leaf first.
    pub(crate) fn functions(&self, sample: &Sample) -> Vec<&str> {
        let lines = sample.location_ids.iter().flat_map(|id| &self.locations[id].lines);
        lines.map(|(function, _, _)| function.as_str()).collect()
    }
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let (&byte, after) = rest.split_first().expect("a whole varint");
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a varint of more than 10 bytes");
}

fn fields(mut rest: &[u8]) -> Vec<(u64, Value<'_>)> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest);
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut rest)),
            2 => {
                let length = varint(&mut rest) as usize;
                let (bytes, after) = rest.split_at(length);
                rest = after;
                Value::Bytes(bytes)
            }
            kind => panic!("wire type {kind} does not occur in a profile"),
        };
        fields.push((tag >> 3, value));
    }
    fields
}

fn packed(value: &Value<'_>) -> Vec<u64> {
    match *value {
        Value::Number(number) => vec![number],
        Value::Bytes(mut rest) => {
            let mut numbers = Vec::new();
            while !rest.is_empty() {
                numbers.push(varint(&mut rest));
            }
            numbers
        }
    }
}

fn number(value: &Value<'_>) -> u64 {
    match value {
        Value::Number(number) => *number,
        Value::Bytes(_) => panic!("a number is expected"),
    }
}

fn bytes<'a>(value: &Value<'a>) -> &'a [u8] {
    match value {
        Value::Bytes(bytes) => bytes,
        Value::Number(_) => panic!("a message is expected"),
    }
}

/// A message of nothing but numbers (and strings' numbers), by field.
fn numbers(message: &[u8]) -> HashMap<u64, u64> {
    let plain = |(field, value): &(u64, Value<'_>)| matches!(value, Value::Number(_)).then(|| (*field, number(value)));
    fields(message).iter().filter_map(plain).collect()
}

fn decode(raw: &[u8]) -> Decoded {
    let top = fields(raw);
    let of = |wanted: u64| top.iter().filter(move |(field, _)| *field == wanted).map(|(_, value)| value);
    let strings: Vec<String> = of(6).map(|text| String::from_utf8(bytes(text).to_vec()).expect("UTF-8")).collect();
    assert_eq!(strings.first().map(String::as_str), Some(""), "string 0 is empty");
    let string = |index: Option<&u64>| strings[index.copied().unwrap_or(0) as usize].clone();
    let value_type = |message: &[u8]| {
        let parts = numbers(message);
        format!("{}/{}", string(parts.get(&1)), string(parts.get(&2)))
    };
    let functions: HashMap<u64, (String, String)> = of(5)
        .map(|function| {
            let parts = numbers(bytes(function));
            (parts[&1], (string(parts.get(&2)), string(parts.get(&4))))
        })
        .collect();
    let mut decoded = Decoded {
        sample_types: of(1).map(|value| value_type(bytes(value))).collect(),
        time_nanos: of(9).map(number).sum::<u64>() as i64,
        duration_nanos: of(10).map(number).sum::<u64>() as i64,
        period_type: of(11).map(|value| value_type(bytes(value))).collect(),
        period: of(12).map(number).sum::<u64>() as i64,
        default_sample_type: string(of(14).map(number).next().as_ref()),
        ..Decoded::default()
    };
    for (index, mapping) in of(3).enumerate() {
        let parts = numbers(bytes(mapping));
        assert_eq!(parts[&1], index as u64 + 1, "mappings are numbered from 1");
        let part = |field| parts.get(&field).copied().unwrap_or(0);
        decoded.mappings.push(Mapping {
            start: part(2),
            limit: part(3),
            offset: part(4),
            filename: string(parts.get(&5)),
            build_id: string(parts.get(&6)),
            has: [7, 8, 9, 10].map(|field| part(field) == 1),
        });
    }
    for location in of(4) {
        let parts = numbers(bytes(location));
        let line = |(field, value): &(u64, Value<'_>)| {
            (*field == 4).then(|| {
                let parts = numbers(bytes(value));
                let (name, file) = functions[&parts[&1]].clone();
                (name, file, parts.get(&2).copied().unwrap_or(0))
            })
        };
        let lines = fields(bytes(location)).iter().filter_map(line).collect();
        let mapping_id = parts.get(&2).copied().unwrap_or(0);
        let location = Location { mapping_id, address: parts[&3], lines };
        assert!(decoded.locations.insert(parts[&1], location).is_none(), "a location's number is its own");
    }
    for sample in of(2) {
        let of_field = |wanted: u64| {
            let all = fields(bytes(sample));
            let lists = all.iter().filter(|(field, _)| *field == wanted).map(|(_, value)| packed(value));
            lists.flatten().collect::<Vec<u64>>()
        };
        let values: Vec<i64> = of_field(2).into_iter().map(|value| value as i64).collect();
        assert_eq!(values.len(), decoded.sample_types.len(), "a value for each type");
        assert!(of_field(3).is_empty(), "no labels");
        decoded.samples.push(Sample { location_ids: of_field(1), values });
    }
    decoded
}
