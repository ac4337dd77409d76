//! One upload as bytes, in the dialect of whoever is asked.

use std::io::{self, IoSlice, Write};

use clap::ValueEnum;

use super::Options;
use super::s3::Signer;

const BOUNDARY: &str = "----heapline-bench-7f3a9c51d2e84b60";
/// A file repeats a pattern of this size.
const PATTERN_BYTES: u64 = 8 << 20;
/// Every upload has a name of its own: a server may not overwrite. Replaced by digits.
const NAME: &str = "############";
/// Replaced by the signature of the path that has the name.
const SIGNATURE: &str = "$$$$$$$$$$$$";

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// `POST /upload`, multipart/form-data
    Multipart,
    /// `PUT /files/<name>`, the bytes alone
    Put,
    /// `POST /files/` of tus 1.0, creation with the bytes
    Tus,
    /// `PUT /files/<name>` of S3: an object of the bucket `files`, signed, the bytes unsigned
    S3,
}

pub(crate) struct Request {
    head: String,
    signer: Option<Signer>,
    pattern: Vec<u8>,
    file_bytes: u64,
    tail: String,
}

impl Request {
    pub(crate) fn new(options: &Options) -> Self {
        // Bytes that hold no boundary and do not compress.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let words = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        let pattern = words.flatten().take(options.bytes.min(PATTERN_BYTES) as usize).collect();
        let (line, fields, opening, tail) = match options.form {
            Form::Put | Form::S3 => (
                format!("PUT /files/{NAME}"),
                "Content-Type: application/octet-stream".into(),
                String::new(),
                String::new(),
            ),
            Form::Tus => (
                "POST /files/".into(),
                format!(
                    "Tus-Resumable: 1.0.0\r\nUpload-Length: {}\r\nContent-Type: application/offset+octet-stream",
                    options.bytes
                ),
                String::new(),
                String::new(),
            ),
            Form::Multipart => (
                "POST /upload".into(),
                format!("Content-Type: multipart/form-data; boundary={BOUNDARY}"),
                format!(
                    "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{NAME}\"\r\n\
                     Content-Type: application/octet-stream\r\n\r\n"
                ),
                format!("\r\n--{BOUNDARY}--\r\n"),
            ),
        };
        let length = opening.len() as u64 + options.bytes + tail.len() as u64;
        let signer = (options.form == Form::S3).then(|| Signer::new(&options.token, options.to.to_string()));
        let authorization = match &signer {
            Some(signer) => signer.fields(SIGNATURE),
            None => format!("Authorization: Bearer {}\r\n", options.token),
        };
        let connection = if options.close { "Connection: close\r\n" } else { "" };
        let head = format!(
            "{line} HTTP/1.1\r\nHost: {}\r\n{authorization}{fields}\r\n{connection}\
             Content-Length: {length}\r\n\r\n{opening}",
            options.to
        );
        Self { head, signer, pattern, file_bytes: options.bytes, tail }
    }

    /// Writes the upload of this number; `pause` is called behind each piece of the file.
    pub(crate) fn write_to(
        &self,
        connection: &mut impl Write,
        number: u64,
        piece_bytes: u64,
        mut pause: impl FnMut(u64),
    ) -> io::Result<()> {
        let name = format!("{number:012}");
        let mut head = self.head.replace(NAME, &name);
        if let Some(signer) = &self.signer {
            head = head.replace(SIGNATURE, &signer.sign(&format!("/files/{name}")));
        }
        let (mut opening, mut left) = (head.as_bytes(), self.file_bytes);
        loop {
            let piece = left.min(piece_bytes).min(self.pattern.len() as u64);
            left -= piece;
            let tail: &[u8] = if left == 0 { self.tail.as_bytes() } else { &[] };
            write_all(connection, &mut [opening, &self.pattern[..piece as usize], tail].map(IoSlice::new))?;
            if left == 0 {
                return Ok(());
            }
            opening = &[];
            pause(piece);
        }
    }
}

fn write_all(connection: &mut impl Write, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let written = connection.write_vectored(slices)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut slices, written);
    }
    Ok(())
}
