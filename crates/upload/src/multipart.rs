//! `multipart/form-data` (RFC 7578 over RFC 2046), read as it arrives.
//!
//! [`Parser`] is pure: it is fed the frames of a body and gives back events, whose data are slices of those frames
//! (nothing is copied but part heads). It holds at most [`Limits::head_bytes_max`] bytes and one frame. [`form`] says what a part
//! means to an upload server.

mod boundary;
pub mod form;
mod head;
mod parameters;
mod parser;

pub use boundary::{Boundary, ContentTypeError};
pub use head::PartHead;
pub(crate) use head::stored_content_type;
pub use parser::{Event, Malformed, Parser};

/// Bounds of one form, beside those of the request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes before the first delimiter; they are skipped.
    pub preamble_bytes_max: usize,
    /// Bytes of one part's header fields.
    pub head_bytes_max: usize,
    /// Parts of a form, files and plain fields together.
    pub parts_max: usize,
    /// Bytes of all plain fields together; they are read and dropped.
    pub plain_fields_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            preamble_bytes_max: 64 << 10,
            head_bytes_max: 16 << 10,
            parts_max: 1_000,
            plain_fields_bytes_max: 1 << 20,
        }
    }
}
