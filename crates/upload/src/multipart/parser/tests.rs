#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// A form as the parser saw it: head and bytes of each part.
type Parts = Vec<(PartHead, Vec<u8>)>;

fn parse_with<'a>(
    boundary: &str,
    limits: Limits,
    frames: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Parts, Malformed> {
    let mut parser = Parser::new(&Boundary::new(boundary.as_bytes()).unwrap(), limits);
    let mut frames = frames.into_iter();
    let mut parts = Parts::new();
    let mut open = false;
    loop {
        match parser.next_event()? {
            Event::NeedInput => match frames.next() {
                Some(frame) => parser.feed(Bytes::copy_from_slice(frame)),
                None => {
                    parser.end_of_input()?;
                    unreachable!("end_of_input is Ok only after End");
                }
            },
            Event::PartHead(head) => {
                assert!(!std::mem::replace(&mut open, true));
                parts.push((head, Vec::new()));
            }
            Event::Data(data) => {
                assert!(open && !data.is_empty());
                parts.last_mut().unwrap().1.extend_from_slice(&data);
            }
            Event::PartEnd => assert!(std::mem::replace(&mut open, false)),
            Event::End => {
                assert!(!open);
                parser.end_of_input().unwrap();
                return Ok(parts);
            }
        }
    }
}

fn parse(body: &[u8]) -> Result<Parts, Malformed> {
    parse_with("b", Limits::default(), [body])
}

fn contents(body: &str) -> Vec<String> {
    let parts = parse(body.as_bytes()).unwrap_or_else(|e| panic!("{body:?}: {e}"));
    parts.into_iter().map(|(_, data)| String::from_utf8(data).unwrap()).collect()
}

const HEAD: &str = "Content-Disposition: form-data; name=f\r\n\r\n";

#[test]
fn content_between_delimiters() {
    for (body, expected) in [
        (format!("--b\r\n{HEAD}one\r\n--b\r\n{HEAD}\r\n--b--\r\n"), vec!["one", ""]),
        (format!("--b\r\n{HEAD}no line end after the close\r\n--b--"), vec!["no line end after the close"]),
        (format!("preamble\r\n--b \t \r\n{HEAD}x\r\n--b\t--"), vec![]),
        (format!("preamble\r\nmore --b\r\n--b \t \r\n{HEAD}x\r\n--b--epilogue\r\n--b\r\n"), vec!["x"]),
        (format!("\r\n--b\r\n{HEAD}x\r\n--b--"), vec!["x"]),
        (format!("--b\r\n{HEAD}--b--"), vec![""]),
        (format!("--b\r\n{HEAD}--bx\r\n--b--"), vec!["--bx"]),
        (format!("--b\r\n{HEAD}\r\n--bx\r\n--b-x\r\n--b\r\r\n--b--"), vec![]),
        (format!("--b\r\n{HEAD}\r\n--bx\r\n--b-x\r\n--b--"), vec!["\r\n--bx\r\n--b-x"]),
        (format!("--b\r\n{HEAD}\r\r\n\r\r\n-\r\n--\n--b\r\r\n--b--"), vec!["\r\r\n\r\r\n-\r\n--\n--b\r"]),
        ("--b--".into(), vec![]),
        ("--bb\r\n--b-b\r\n--b--".into(), vec![]),
    ] {
        if expected.is_empty() && body.contains("form-data") {
            assert_eq!(parse(body.as_bytes()), Err(Malformed::BoundaryLine), "{body:?}");
        } else {
            assert_eq!(contents(&body), expected, "{body:?}");
        }
    }
}

#[test]
fn what_is_not_a_form() {
    use Malformed::*;
    for (body, error) in [
        (String::new(), Truncated),
        ("--b".into(), Truncated),
        ("--b-".into(), Truncated),
        (format!("--b\r\n{HEAD}abc"), Truncated),
        (format!("--b\r\n{HEAD}abc\r\n--b"), Truncated),
        (format!("--b\r\n{HEAD}abc\r\n--b-"), Truncated),
        ("--b\r\nContent-Disposition: form-data; name=f\r\n--b--".into(), Truncated),
        ("no boundary at all".into(), Truncated),
        (format!("--b\n{HEAD}abc\n--b--\n"), BareLineFeed),
        (format!("--b\r\n{HEAD}abc\r\n--b\n"), BareLineFeed),
        (format!("--b x\r\n{HEAD}"), BoundaryLine),
        (format!("--b\rx{HEAD}"), BoundaryLine),
        (format!("--b{}\r\n", " ".repeat(PADDING_BYTES_MAX + 1)), BoundaryLine),
        ("--b\r\n\r\nx\r\n--b--".into(), Head("it has no Content-Disposition")),
    ] {
        assert_eq!(parse(body.as_bytes()), Err(error), "{body:?}");
    }
}

#[test]
fn each_limit_holds_exactly() {
    let limits = Limits { preamble_bytes_max: 10, head_bytes_max: HEAD.len() - 2, parts_max: 2, ..Limits::default() };
    let run = |body: String| parse_with("b", limits, body.as_bytes().chunks(7)).map(|parts| parts.len());
    let form = |parts: usize| format!("--b\r\n{HEAD}x\r\n").repeat(parts) + "--b--";

    assert_eq!(run(format!("{}\r\n{}", "p".repeat(10), form(1))), Ok(1));
    assert_eq!(run(format!("{}\r\n{}", "p".repeat(11), form(1))), Err(Malformed::PreambleTooLong(10)));
    assert_eq!(run(form(2)), Ok(2));
    assert_eq!(run(form(3)), Err(Malformed::TooManyParts(2)));
    assert_eq!(run(form(1).replace("name=f", "name=ff")), Err(Malformed::HeadTooLong(HEAD.len() - 2)));
    assert_eq!(run("\r\n--bb".repeat(3)), Err(Malformed::PreambleTooLong(10)));
}

/// Every way to cut this body in two or three gives the same form, and so does a byte at a time.
#[test]
fn a_cut_anywhere_changes_nothing() {
    let body = format!(
        "pre\r\n--bound\r\n{HEAD}\r\n--boun\r\n--bound-\r\r\n\r\n--bound \r\nContent-Disposition: form-data; name=g; \
         filename=\"x\"\r\n\r\n\r\n--bound--\r\nepilogue"
    );
    let body = body.as_bytes();
    let whole = parse_with("bound", Limits::default(), [body]).unwrap();
    assert_eq!(whole[0].1, b"\r\n--boun\r\n--bound-\r\r\n");
    assert_eq!(whole[1].1, b"");
    for first in 0..=body.len() {
        for second in first..=body.len() {
            let frames = [&body[..first], &body[first..second], &body[second..]];
            assert_eq!(parse_with("bound", Limits::default(), frames).as_ref(), Ok(&whole), "{first} {second}");
        }
    }
    assert_eq!(parse_with("bound", Limits::default(), body.chunks(1)), Ok(whole));
}

proptest! {
    /// Parts made of pieces that look like delimiters come back as they were sent, however they are framed.
    #[test]
    fn what_was_sent_is_what_is_read(
        parts in prop::collection::vec(
            prop::collection::vec(
                prop_oneof![Just("\r"), Just("\n"), Just("\r\n"), Just("--"), Just("-"), Just("\r\n--b"), Just("bou"), Just("x")],
                0..12,
            ).prop_map(|pieces| pieces.concat()),
            0..5,
        ),
        sizes in prop::collection::vec(1usize..40, 1..20),
    ) {
        let mut body = String::new();
        for part in &parts {
            body += &format!("--bou\r\n{HEAD}{part}\r\n");
        }
        body += "--bou--\r\n";
        let genuine = parts.iter().all(|part| !format!("\r\n{part}\r\n").contains("\r\n--bou"));
        prop_assume!(genuine);
        let mut rest = body.as_bytes();
        let mut frames = Vec::new();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (frame, after) = rest.split_at((*size).min(rest.len()));
            frames.push(frame);
            rest = after;
        }
        let read = parse_with("bou", Limits::default(), frames).unwrap();
        let read: Vec<_> = read.into_iter().map(|(_, data)| String::from_utf8(data).unwrap()).collect();
        prop_assert_eq!(read, parts);
    }

    /// Any bytes, in any frames: no panic, and framing does not change the answer.
    #[test]
    fn framing_never_matters(body in "(\r|\n|-|b|:|;|=|\"| |Content-Disposition: form-data; name=f|--b\r\n){0,40}", size in 1usize..9) {
        let whole = parse(body.as_bytes());
        prop_assert_eq!(parse_with("b", Limits::default(), body.as_bytes().chunks(size)), whole);
    }
}
