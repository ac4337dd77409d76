//! One body through our parser, cut at any places, and through multer, whole: where both take it they must agree.

use bytes::Bytes;
use futures_util::stream;
use heapline_upload::multipart::{Boundary, Event, Limits, Malformed, Parser};

/// A part as a parser sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    pub filename: Option<String>,
    pub content: Vec<u8>,
}

/// Our parser, fed frames that end at `cuts`.
///
/// # Errors
/// The body is no form.
///
/// # Panics
/// Where the parser breaks its promises: events out of order, empty data, no end.
pub fn ours(boundary: &Boundary, body: &[u8], cuts: &[usize]) -> Result<Vec<Part>, Malformed> {
    let mut parser = Parser::new(boundary, Limits::default());
    let mut frames = frames(body, cuts).into_iter();
    let (mut parts, mut open): (Vec<Part>, bool) = (Vec::new(), false);
    loop {
        match parser.next_event()? {
            Event::NeedInput => match frames.next() {
                Some(frame) => parser.feed(Bytes::copy_from_slice(frame)),
                None => {
                    parser.end_of_input()?;
                    unreachable!("the input ends well behind the last event only");
                }
            },
            Event::PartHead(head) => {
                assert!(!open, "a part in a part");
                open = true;
                parts.push(Part { name: head.name, filename: head.filename, content: Vec::new() });
            }
            Event::Data(data) => {
                assert!(open && !data.is_empty(), "data outside of a part, or none");
                if let Some(part) = parts.last_mut() {
                    part.content.extend_from_slice(&data);
                }
            }
            Event::PartEnd => {
                assert!(open, "the end of no part");
                open = false;
            }
            Event::End => {
                assert!(!open, "the form ends within a part");
                return Ok(parts);
            }
        }
    }
}

/// Multer's parts; `None` where it refuses the body.
#[must_use]
pub fn multers(boundary: &str, body: &[u8]) -> Option<Vec<Part>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    let body = Bytes::copy_from_slice(body);
    runtime.block_on(async {
        let body = stream::iter([Ok::<_, std::io::Error>(body)]);
        let mut form = multer::Multipart::new(body, boundary);
        let mut parts = Vec::new();
        while let Some(field) = form.next_field().await.ok()? {
            let name = field.name().map(str::to_owned)?;
            let filename = field.file_name().map(str::to_owned);
            let content = field.bytes().await.ok()?.to_vec();
            parts.push(Part { name, filename, content });
        }
        Some(parts)
    })
}

fn frames<'a>(body: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
    cuts.sort_unstable();
    cuts.push(body.len());
    let mut from = 0;
    cuts.into_iter().map(|cut| &body[std::mem::replace(&mut from, cut)..cut]).collect()
}
