//! Forms as real clients send them (`fuzz/corpus/bodies`, a client and its version each), cut in two at every offset and
//! delivered byte by byte: the same form each time.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use bytes::Bytes;
use heapline_upload::filename::stored_name;
use heapline_upload::multipart::{Boundary, Event, Limits, Parser, PartHead};

/// Head and content of each part.
type Parts = Vec<(PartHead, Vec<u8>)>;

const FIELD: &str = "ein Feld: ü";
const TEXT: &str = "Grüße aus dem Formular\n";
/// What aiohttp makes of the name: it escapes more than the standard does, and nobody can tell.
const NAMES: [&str; 2] = ["Grüße \"1\".txt", "Gr%C3%BC%C3%9Fe%20\"1\".txt"];

#[test]
fn every_clients_form_is_the_same_wherever_it_is_cut() {
    let mut clients = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/bodies")).unwrap() {
        let path = entry.unwrap().path();
        let client = path.file_name().unwrap().to_str().unwrap().to_owned();
        let request = fs::read(&path).unwrap();
        let end = memchr::memmem::find(&request, b"\r\n\r\n").unwrap();
        let content_type = request[..end].strip_prefix(b"Content-Type: ").unwrap();
        let (boundary, body) = (Boundary::from_content_type(content_type).unwrap(), &request[end + 4..]);
        let whole = parse(&boundary, &[body]);
        as_it_was_sent(&client, &whole);
        for cut in 0..=body.len() {
            let (first, second) = body.split_at(cut);
            assert_eq!(parse(&boundary, &[first, second]), whole, "{client}, cut at {cut}");
        }
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(parse(&boundary, &bytes), whole, "{client}, byte by byte");
        clients.push(client);
    }
    for name in ["chromium", "curl", "firefox", "go", "node", "python-aiohttp", "python-requests"] {
        assert!(clients.iter().any(|client| client.starts_with(name)), "no {name} among {clients:?}");
    }
}

fn as_it_was_sent(client: &str, parts: &Parts) {
    let binary: Vec<u8> = (0..=255).chain(*b"\r\n--b\r\n--\r\n\r\n").collect();
    let contents: Vec<&[u8]> = parts.iter().map(|(_, content)| content.as_slice()).collect();
    let empty_input = ["chromium", "firefox"].iter().any(|browser| client.starts_with(browser));
    let expected: Vec<&[u8]> = vec![FIELD.as_bytes(), TEXT.as_bytes(), &binary];
    assert_eq!(contents[..3], expected[..], "{client}");
    let fields: Vec<&str> = parts.iter().map(|(head, _)| head.name.as_str()).collect();
    assert_eq!(fields[..3], ["note", "one", "two"], "{client}");
    assert_eq!(parts.len(), if empty_input { 4 } else { 3 }, "{client}");
    assert_eq!(parts[0].0.filename, None, "{client}");
    let name = stored_name(parts[1].0.filename.as_deref().unwrap());
    assert!(NAMES.contains(&name.as_str()), "{client}: {name}");
    assert_eq!(parts[2].0.filename.as_deref(), Some("bytes.bin"), "{client}");
    if empty_input {
        assert_eq!((parts[3].0.filename.as_deref(), contents[3]), (Some(""), &b""[..]), "{client}");
    }
}

fn parse(boundary: &Boundary, frames: &[&[u8]]) -> Parts {
    let mut parser = Parser::new(boundary, Limits::default());
    let (mut frames, mut parts) = (frames.iter(), Parts::new());
    loop {
        match parser.next_event().unwrap() {
            Event::NeedInput => parser.feed(Bytes::copy_from_slice(frames.next().unwrap())),
            Event::PartHead(head) => parts.push((head, Vec::new())),
            Event::Data(data) => parts.last_mut().unwrap().1.extend_from_slice(&data),
            Event::PartEnd => {}
            Event::End => return parts,
        }
    }
}
