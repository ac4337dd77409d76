//! Bodies as a network may deliver them, against the running server: large, byte by byte, cut at any place.

use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use heapline_tests::digest::sha256_hex;
use heapline_tests::service::{Service, TOKEN};
use heapline_tests::{deadline, http, process};

type Outcome = Result<(), Box<dyn Error>>;

const BOUNDARY: &str = "b0undary";
const READ_LIMIT: Duration = Duration::from_secs(30);

/// The story's leak in one request: a parser that keeps a form in memory shows here.
#[test]
fn three_hundred_megabytes_stream_through_without_memory() -> Outcome {
    const FILE_BYTES: usize = 300_000_000;
    const GROWTH_BYTES_MAX: u64 = 16 << 20;
    let server = Service::upload(&[])?;
    // What the first request costs once is no part of the large one.
    assert_eq!(server.post("warm-up.bin", &vec![7; 1_300_000])?.status, 201);
    let id = server.id()?;
    let before = process::resident_bytes(id)?;

    let peak = Arc::new(AtomicU64::new(before));
    let done = Arc::new(AtomicBool::new(false));
    let watcher = thread::spawn({
        let (peak, done) = (Arc::clone(&peak), Arc::clone(&done));
        move || {
            deadline::poll(Duration::from_secs(300), || {
                peak.fetch_max(process::resident_bytes(id).unwrap_or(0), Ordering::Relaxed);
                done.load(Ordering::Relaxed).then_some(())
            })
        }
    });
    let content: Vec<u8> = (0..FILE_BYTES as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let answer = server.post("large.bin", &content);
    done.store(true, Ordering::Relaxed);
    watcher.join().map_err(|_| "the watcher panicked")?;
    let answer = answer?;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.json()?["files"][0]["sha256"], sha256_hex(&content));
    let growth = peak.load(Ordering::Relaxed) - before;
    assert!(growth < GROWTH_BYTES_MAX, "RSS grew by {growth} bytes from {before}");
    Ok(())
}

#[test]
fn a_form_delivered_byte_by_byte_is_stored() -> Outcome {
    let server = Service::upload(&[])?;
    let (body, content) = tricky_form();
    let mut connection = connect(server.listen())?;
    connection.write_all(head(body.len()).as_bytes())?;
    for byte in body.chunks(1) {
        connection.write_all(byte)?;
    }
    assert_stored(&mut connection, &content)
}

#[test]
fn a_form_cut_in_two_packets_at_every_offset_is_stored() -> Outcome {
    let server = Service::upload(&["--durability", "none"])?;
    let (body, content) = tricky_form();
    let mut connection = connect(server.listen())?;
    for cut in 0..=body.len() {
        connection.write_all(head(body.len()).as_bytes())?;
        connection.write_all(&body[..cut])?;
        connection.flush()?;
        // The kernel may join two writes; yielding makes two packets of most of them.
        thread::yield_now();
        connection.write_all(&body[cut..])?;
        assert_stored(&mut connection, &content).map_err(|error| format!("cut at {cut}: {error}"))?;
    }
    Ok(())
}

/// A truncated upload that is taken for a whole one is a torn file behind an acknowledgement.
#[test]
fn a_form_that_ends_anywhere_early_leaves_nothing() -> Outcome {
    let server = Service::upload(&["--durability", "none"])?;
    let (body, _) = tricky_form();
    for end in 0..body.len() {
        // The client goes away in the middle ...
        let mut gone = connect(server.listen())?;
        gone.write_all(head(body.len()).as_bytes())?;
        gone.write_all(&body[..end])?;
        drop(gone);
        // ... or says with the length, or by an early last chunk, that this was all.
        let whole = http::request(server.listen(), "POST", "/upload", &form_headers(), &body[..end])?;
        // The closing delimiter is complete without the line end after it.
        let closed = end >= body.len() - 2;
        assert_eq!(whole.status, if closed { 201 } else { 400 }, "ended at {end}: {}", whole.text());
        if !closed {
            assert_eq!(whole.header("content-type"), Some("application/problem+json"));
        }
    }
    deadline::eventually("the spool is empty", Duration::from_secs(10), || {
        fs::read_dir(server.store().join("spool")).is_ok_and(|mut left| left.next().is_none()).then_some(())
    });
    // Two bodies were whole but for the line end after the closing delimiter; their clients said that this was all.
    assert_eq!(count(&server.store().join("files"))?, 4);
    Ok(())
}

#[test]
fn malformed_forms_get_a_problem_and_leave_nothing() -> Outcome {
    let server = Service::upload(&["--max-file", "100KiB", "--max-body", "1MiB"])?;
    let part = |head: &str, content: &str| format!("--{BOUNDARY}\r\n{head}\r\n\r\n{content}\r\n--{BOUNDARY}--\r\n");
    let file = "Content-Disposition: form-data; name=\"file\"; filename=\"a\"";
    let cases: Vec<(&str, u16, Vec<u8>)> = vec![
        ("no file in it", 422, part("Content-Disposition: form-data; name=\"note\"", "x").into()),
        ("only an empty input", 422, part("Content-Disposition: form-data; name=\"f\"; filename=\"\"", "").into()),
        ("no name", 400, part("Content-Disposition: form-data; filename=\"a\"", "x").into()),
        ("no disposition", 400, part("Content-Type: text/plain", "x").into()),
        ("another boundary", 400, part(file, "x").replace(BOUNDARY, "other").into()),
        ("an endless part head", 400, part(&format!("{file}\r\nX-Long: {}", "x".repeat(20_000)), "x").into()),
        ("a long preamble", 400, [vec![b'x'; 70_000], part(file, "x").into()].concat()),
        ("a large plain field", 413, part("Content-Disposition: form-data; name=\"n\"", &"x".repeat(1 << 20)).into()),
        ("a large file", 413, part(file, &"x".repeat(110_000)).into()),
        (
            "too many parts",
            413,
            "--b0undary\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n\r\n".repeat(1_001).into(),
        ),
        ("a large body", 413, vec![b'x'; (1 << 20) + 1]),
    ];
    for (what, status, body) in cases {
        let answer = http::request(server.listen(), "POST", "/upload", &form_headers(), &body)?;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
        let problem = answer.json()?;
        for member in ["type", "title", "status", "detail"] {
            assert!(!problem[member].is_null(), "{what}: no {member} in {problem}");
        }
    }
    let store = server.store();
    deadline::eventually("nothing is left", Duration::from_secs(10), || {
        let left = count(&store.join("spool")).ok()? + count(&store.join("files")).ok()?;
        (left == 0).then_some(())
    });
    Ok(())
}

/// A form whose file holds everything that looks like its boundary and is not, then a second file.
fn tricky_form() -> (Vec<u8>, Vec<u8>) {
    // Line ends, hyphens and the beginning of the delimiter, over and over, and again right before the real one.
    let content = b"\r\n--b0undar\r\n--b0undarx\r\r\n\r\n-\r\n--\r\n--b0undar\r\n--".to_vec();
    let mut body =
        format!("preamble\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"one\"; filename=\"ü.bin\"\r\n\r\n")
            .into_bytes();
    body.extend_from_slice(&content);
    body.extend_from_slice(
        format!("\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"two\"; filename=\"z\"\r\n\r\n\r\n--{BOUNDARY}--\r\n").as_bytes(),
    );
    (body, content)
}

fn head(length: usize) -> String {
    format!(
        "POST /upload HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {length}\r\n\r\n"
    )
}

fn form_headers() -> [(&'static str, &'static str); 2] {
    const AUTHORIZATION: &str = "Bearer a-token-for-tests-only";
    assert!(AUTHORIZATION.ends_with(TOKEN));
    [("Content-Type", "multipart/form-data; boundary=b0undary"), ("Authorization", AUTHORIZATION)]
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let connection = TcpStream::connect(address)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(READ_LIMIT))?;
    Ok(connection)
}

fn assert_stored(connection: &mut TcpStream, content: &[u8]) -> Outcome {
    let answer = read_answer(connection)?;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(answer.contains(&sha256_hex(content)), "{answer}");
    assert!(answer.contains(&sha256_hex(b"")), "{answer}");
    Ok(())
}

fn read_answer(connection: &mut TcpStream) -> io::Result<String> {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = connection.read(&mut chunk)?;
        if read == 0 {
            return Err(io::Error::other(format!("ended after {:?}", String::from_utf8_lossy(&answer))));
        }
        answer.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().filter_map(|line| line.split_once(':'));
            let mut length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            let length = length.next().and_then(|(_, value)| value.trim().parse::<usize>().ok()).unwrap_or(0);
            if body.len() >= length {
                return Ok(text);
            }
        }
    }
}

fn count(directory: &Path) -> io::Result<usize> {
    Ok(fs::read_dir(directory)?.count())
}
