//! A protocol buffer's wire format, as far as profiles need it.

use std::io::Write;

use flate2::write::GzEncoder;

/// A protocol buffer message as it is written: fields of three kinds, those of value 0 left out.
#[derive(Default)]
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(super) fn uint(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.varint(field << 3);
            self.varint(value);
        }
    }

    pub(super) fn int(&mut self, field: u64, value: i64) {
        self.uint(field, value.cast_unsigned());
    }

    pub(super) fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn message(&mut self, field: u64, message: &Message) {
        self.bytes(field, &message.0);
    }

    pub(super) fn packed(&mut self, field: u64, values: &[u64]) {
        self.varint(field << 3 | 2);
        self.varint(values.iter().map(|&value| varint_bytes(value)).sum());
        values.iter().for_each(|&value| self.varint(value));
    }

    /// Locations and values in a message of their own.
    pub(super) fn sample(&mut self, locations: &[u8], values: &[u64]) {
        let bytes = |content: u64| 1 + varint_bytes(content) + content;
        let of_values = values.iter().map(|&value| varint_bytes(value)).sum();
        self.varint(2 << 3 | 2);
        self.varint(bytes(locations.len() as u64) + bytes(of_values));
        self.bytes(1, locations);
        self.packed(2, values);
    }

    pub(super) fn flush(&mut self, gzip: &mut GzEncoder<Vec<u8>>) {
        // Writing into a `Vec` does not fail.
        let _ = gzip.write_all(&self.0);
        self.clear();
    }
}

fn varint_bytes(value: u64) -> u64 {
    u64::from((64 - (value | 1).leading_zeros()).div_ceil(7))
}
