//! Files in a real S3-compatible store: the same API, nothing torn, nothing acknowledged lost, whatever the store does.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use heapline_tests::deadline::{self, eventually};
use heapline_tests::digest::sha256_hex;
use heapline_tests::form::Form;
use heapline_tests::http::{self, Response};
use heapline_tests::s3::{self, Fault, Faults, Installation, S3};
use heapline_tests::service::{Service, TOKEN};
use heapline_tests::{binary, exposition, part};

type Outcome = Result<(), Box<dyn Error>>;

const STORE: &str = "s3://files/some/prefix";
/// How long the server may take to notice what became of its store.
const NOTICE_LIMIT: Duration = Duration::from_secs(40);
/// A little more than two parts.
const LARGE_BYTES: usize = 11 << 20;

#[test]
fn the_api_is_the_same_and_a_form_is_whole() -> Outcome {
    let Some(s3) = started("bucket::the_api_is_the_same_and_a_form_is_whole") else { return Ok(()) };
    let server = server(s3.address())?;
    let large = noise(LARGE_BYTES, 1);
    let stored = put(&server, "large.bin", &large)?;
    assert_eq!(stored.status, 201, "{}", stored.text());
    let id = id(&stored, 0);
    assert_eq!(stored.json()?["files"][0]["sha256"], sha256_hex(&large));

    let whole = get(&server, &id, &[])?;
    assert_eq!((whole.status, whole.body.len()), (200, LARGE_BYTES));
    assert!(whole.body == large, "the same bytes come back");
    assert_eq!(whole.header("etag"), Some(&*format!("\"{}\"", sha256_hex(&large))));
    assert!(whole.header("repr-digest").is_some_and(|value| value.starts_with("sha-256=:")));
    assert_eq!(whole.header("content-disposition"), Some("attachment; filename=\"large.bin\""));
    // Across the border of two parts.
    let border = 5 << 20;
    let piece = get(&server, &id, &[("Range", &format!("bytes={}-{}", border - 3, border + 3))])?;
    assert_eq!((piece.status, &piece.body[..]), (206, &large[border - 3..=border + 3]));
    let tail = get(&server, &id, &[("Range", "bytes=-5")])?;
    assert_eq!(tail.body, large[LARGE_BYTES - 5..]);
    assert_eq!(get(&server, &id, &[("Range", "bytes=99999999-")])?.status, 416);
    let tag = whole.header("etag").unwrap_or_default().to_owned();
    assert_eq!(get(&server, &id, &[("If-None-Match", &tag)])?.status, 304);
    let head = head(&server, &id)?;
    assert!(
        head.contains(" 200 ") && head.to_lowercase().contains(&format!("content-length: {LARGE_BYTES}")),
        "{head}"
    );

    let form = Form::new().file("a", "empty", b"").file("b", "größe.txt", b"small").file("c", "large", &large);
    let stored = form.post(server.listen(), TOKEN)?;
    assert_eq!(stored.status, 201, "{}", stored.text());
    for (place, content) in [&b""[..], b"small", &large].into_iter().enumerate() {
        let answer = get(&server, &self::id(&stored, place), &[])?;
        assert!(answer.status == 200 && answer.body == content, "file {place}");
    }
    // One object of events a form, and no record left.
    let keys = s3.keys()?;
    let count = |part: &str| keys.iter().filter(|key| key.starts_with(&format!("some/prefix/{part}/"))).count();
    assert_eq!((count("files"), count("events"), count("outbox"), count("servers")), (4, 2, 0, 1), "{keys:?}");
    let events = s3.object(&format!("some/prefix/events/{}.jsonl", self::id(&stored, 0)))?;
    assert_eq!(events.iter().filter(|byte| **byte == b'\n').count(), 3);

    assert_eq!(delete(&server, &id)?.status, 204);
    assert_eq!(delete(&server, &id)?.status, 404);
    assert_eq!(get(&server, &id, &[])?.status, 404);
    assert_eq!(s3.unfinished_parts()?, [""; 0]);
    eventually("nothing stays on the machine", NOTICE_LIMIT, || spooled(&server).filter(|files| *files == 0));
    Ok(())
}

#[test]
fn a_wrong_key_and_a_missing_bucket_end_the_start_with_a_line() -> Outcome {
    let Some(s3) = started("bucket::a_wrong_key_and_a_missing_bucket_end_the_start_with_a_line") else { return Ok(()) };
    let directory = tempfile::tempdir()?;
    for (store, secret, part) in
        [("s3://files", "another", "SignatureDoesNotMatch"), ("s3://nothing", s3::SECRET, "NoSuchBucket")]
    {
        let mut command = Command::new(binary::path("heapline-upload")?);
        command.args(["--store", store, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--s3-endpoint"]);
        command.arg(format!("http://{}", s3.address())).arg("--spool-dir").arg(directory.path());
        command.envs([("AWS_ACCESS_KEY_ID", s3::KEY), ("AWS_SECRET_ACCESS_KEY", secret)]);
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{store} with {secret}");
        assert!(text.contains("cannot be used") && text.contains(part), "{text}");
        assert!(!text.contains(secret), "the secret is shown");
    }
    Ok(())
}

/// A server that is killed while it sends leaves parts that nobody sees and that its next start removes.
///
/// Once the next process aborted the uploads of the one before while the store was still at a part of one: the part came
/// into being behind the abort, in an upload that no listing showed any more, and stayed for good. So the store hangs in
/// every other round: it works off what the dead process asked of it beside what the new one does.
#[test]
fn what_was_acknowledged_survives_kills_and_nothing_torn_is_visible() -> Outcome {
    let Some(mut s3) = started("bucket::what_was_acknowledged_survives_kills_and_nothing_torn_is_visible") else {
        return Ok(());
    };
    let mut server = server(s3.address())?;
    let acknowledged = Mutex::new(Vec::new());
    for round in 0..6_u64 {
        let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
        let (hangs, mut started) = (round % 2 == 1, Ok(()));
        thread::scope(|scope| {
            for client in 0..4 {
                let (stop, answered, acknowledged, listen) = (&stop, &answered, &acknowledged, server.listen());
                scope.spawn(move || {
                    for n in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let seed = round << 32 | client << 16 | n;
                        let contents = [noise(100_000, seed), noise(6 << 20, !seed)];
                        let form = Form::new().file("a", "a", &contents[0]).file("b", "b", &contents[1]);
                        let Ok(answer) = form.post(listen, TOKEN) else { continue };
                        if answer.status == 201 {
                            answered.fetch_add(1, Ordering::Relaxed);
                            let mut acknowledged = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
                            for (place, content) in contents.iter().enumerate() {
                                acknowledged.push((id(&answer, place), sha256_hex(content)));
                            }
                        }
                    }
                });
            }
            eventually("uploads are answered", NOTICE_LIMIT, || (answered.load(Ordering::Relaxed) > 2).then_some(()));
            deadline::pace(Instant::now() + Duration::from_millis(61 * round), || false);
            if hangs {
                s3.pause();
                deadline::pace(Instant::now() + Duration::from_millis(200), || false);
            }
            server.kill();
            stop.store(true, Ordering::Relaxed);
            let resumed = scope.spawn(|| {
                deadline::pace(Instant::now() + Duration::from_millis(300), || !hangs);
                s3.resume();
            });
            started = server.start_again();
            drop(resumed);
        });
        started?;
    }
    let mut left = Vec::new();
    let gone = deadline::poll(NOTICE_LIMIT, || {
        left = s3.unfinished_parts().ok()?;
        left.extend(s3.keys().ok()?.into_iter().filter(|key| key.contains("/outbox/")));
        left.is_empty().then_some(())
    });
    assert!(gone.is_some(), "the dead process's uploads are not gone: {left:?}");
    let acknowledged = acknowledged.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (id, sha256) in &acknowledged {
        let answer = get(&server, id, &[])?;
        assert_eq!((answer.status, &sha256_hex(&answer.body)), (200, sha256), "{id} was acknowledged");
    }
    // Whatever else is visible is whole, and has its event.
    let keys = s3.keys()?;
    let events: Vec<String> = keys.iter().filter(|key| key.contains("/events/")).cloned().collect();
    let mut told = String::new();
    for key in events {
        told.push_str(&String::from_utf8(s3.object(&key)?)?);
    }
    for id in keys.iter().filter(|key| key.contains("/files/")).filter_map(|key| key.rsplit('/').next()) {
        let answer = get(&server, id, &[])?;
        let tag = answer.header("etag").unwrap_or_default().to_owned();
        assert!(tag.contains(&sha256_hex(&answer.body)), "{id} is torn");
        assert!(told.contains(id), "{id} is visible and has no event");
    }
    Ok(())
}

#[test]
fn a_store_that_is_away_is_said_and_its_return_is_noticed() -> Outcome {
    let Some(mut s3) = started("bucket::a_store_that_is_away_is_said_and_its_return_is_noticed") else { return Ok(()) };
    let server = server(s3.address())?;
    let before = id(&put(&server, "before", b"before")?, 0);
    // An upload whose second half comes while nobody is there.
    let large = noise(LARGE_BYTES, 3);
    let mut halfway = TcpStream::connect(server.listen())?;
    write!(
        halfway,
        "PUT /files/half HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {}\r\n\r\n",
        large.len()
    )?;
    halfway.write_all(&large[..LARGE_BYTES / 2])?;
    s3.kill();
    halfway.write_all(&large[LARGE_BYTES / 2..])?;
    let mut answer = String::new();
    halfway.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.to_lowercase().contains("retry-after: "), "{answer}");
    let refused = put(&server, "refused", b"refused")?;
    assert_eq!((refused.status, refused.header("content-type")), (503, Some("application/problem+json")));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(get(&server, &before, &[])?.status, 503);
    let unready = http::get(server.listen(), "/readyz")?;
    assert_eq!(unready.status, 503);
    assert!(unready.text().contains("object store"), "{}", unready.text());
    let available = || exposition::value(&http::get(server.admin(), "/metrics").ok()?.text(), "upload_store_available");
    eventually("the metric says so", NOTICE_LIMIT, || (available()? == 0.0).then_some(()));
    heapline_tests::promises::assert_not_spinning(server.id()?)?;
    assert_eq!(http::get(server.listen(), "/livez")?.status, 200);

    s3.start_again()?;
    eventually("ready again", NOTICE_LIMIT, || {
        (http::get(server.listen(), "/readyz").ok()?.status == 200).then_some(())
    });
    eventually("the metric says so", NOTICE_LIMIT, || (available()? == 1.0).then_some(()));
    assert_eq!(get(&server, &before, &[])?.body, b"before");
    assert_eq!(put(&server, "after", b"after")?.status, 201);
    eventually("nothing is left of what was refused", NOTICE_LIMIT, || {
        (s3.unfinished_parts().ok()?.is_empty()).then_some(())
    });

    // Hung for a while: the upload waits, and is stored once it goes on.
    s3.pause();
    let listen = server.listen();
    let waiting = thread::spawn(move || put_to(listen, "waiting", b"waiting").map(|answer| answer.status));
    deadline::pace(Instant::now() + Duration::from_secs(2), || false);
    assert!(!waiting.is_finished());
    s3.resume();
    assert_eq!(waiting.join().map_err(|_| "a client panicked")??, 201);
    let keys = s3.keys()?;
    assert_eq!(keys.iter().filter(|key| key.contains("/files/")).count(), 3, "{keys:?}");
    Ok(())
}

#[test]
fn a_spoiled_way_to_the_store_stores_nothing_wrong() -> Outcome {
    let Some(s3) = started("bucket::a_spoiled_way_to_the_store_stores_nothing_wrong") else { return Ok(()) };
    let faults = Faults::before(s3.address())?;
    let server = server(faults.address())?;
    let content = noise(300_000, 5);
    let good = id(&put(&server, "good", &content)?, 0);

    faults.set(Fault::DamageUp);
    let damaged = put(&server, "damaged", &content)?;
    assert_eq!(damaged.status, 502, "{}", damaged.text());
    faults.set(Fault::Unavailable);
    assert_eq!(put(&server, "unavailable", &content)?.status, 503);
    faults.set(Fault::Gone);
    assert_eq!(put(&server, "gone", &content)?.status, 503);
    faults.set(Fault::Slow);
    let slow = put(&server, "slow", &content)?;
    assert_eq!(slow.status, 201, "{}", slow.text());

    // A damaged answer is cut before its end: no client takes it for the file.
    faults.set(Fault::DamageDown);
    assert!(get(&server, &good, &[]).is_err(), "a damaged file came whole");
    faults.set(Fault::None);
    assert_eq!(get(&server, &good, &[])?.body, content);
    let files = |s3: &S3| Some(s3.keys().ok()?.iter().filter(|key| key.contains("/files/")).count());
    eventually("the two good files and nothing else", NOTICE_LIMIT, || {
        (files(&s3)? == 2 && s3.unfinished_parts().ok()?.is_empty()).then_some(())
    });
    Ok(())
}

/// A form whose record could not be written is refused, and its uploads are aborted later. Once the request's end took
/// its names out of the spool all the same, so that a server killed before "later" left uploads that its next start knew
/// nothing of: they stayed for two days.
#[test]
fn what_a_request_could_not_abort_goes_with_the_next_start() -> Outcome {
    let Some(s3) = started("bucket::what_a_request_could_not_abort_goes_with_the_next_start") else { return Ok(()) };
    let faults = Faults::before(s3.address())?;
    let mut server = server(faults.address())?;
    let large = noise(LARGE_BYTES, 13);
    faults.set(Fault::UnavailableFromRecord);
    let refused = Form::new().file("a", "a", b"small").file("b", "b", &large).post(server.listen(), TOKEN)?;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(s3.unfinished_parts()?.len(), 4, "a part, and three");
    eventually("a refused file takes no space on the machine", NOTICE_LIMIT, || {
        spooled_bytes(&server).filter(|bytes| *bytes == 0)
    });
    server.kill();
    faults.set(Fault::None);
    server.start_again()?;
    eventually("nothing is left of it", NOTICE_LIMIT, || {
        (s3.unfinished_parts().ok()?.is_empty() && spooled(&server)? == 0).then_some(())
    });
    assert!(!s3.keys()?.iter().any(|key| key.contains("/files/") || key.contains("/outbox/")));
    Ok(())
}

/// Stores over a file system refuse a write once in a thousand, for the directory that another's delete takes away.
/// Forms were refused with 500 for it.
#[test]
fn a_passing_conflict_within_the_store_is_not_the_clients() -> Outcome {
    let Some(s3) = started("bucket::a_passing_conflict_within_the_store_is_not_the_clients") else { return Ok(()) };
    let faults = Faults::before(s3.address())?;
    let server = server(faults.address())?;
    faults.set(Fault::ConflictOnce);
    let stored = put(&server, "small", b"small")?;
    assert_eq!(stored.status, 201, "{}", stored.text());
    assert_eq!(get(&server, &id(&stored, 0), &[])?.body, b"small");
    Ok(())
}

/// Parts are read and sent one by one, within the memory budget.
#[test]
fn a_large_file_costs_no_memory() -> Outcome {
    const BYTES: usize = 200 << 20;
    /// The whole budget, 64 MiB, and what jemalloc and the stacks of woken threads may add.
    const GROWTH_BYTES_MAX: u64 = 80 << 20;
    let Some(s3) = started("bucket::a_large_file_costs_no_memory") else { return Ok(()) };
    let server = server(s3.address())?;
    put(&server, "warm-up", &noise(LARGE_BYTES, 7))?;
    let before = server.resident_bytes()?;
    let (done, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    let piece = noise(1 << 20, 11);
    let answers = thread::scope(|scope| -> Result<[String; 2], Box<dyn Error>> {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(server.resident_bytes().unwrap_or(0), Ordering::Relaxed);
                deadline::pace(Instant::now() + Duration::from_millis(50), || false);
            }
        });
        let exchange = || -> Result<[String; 2], Box<dyn Error>> {
            let mut up = TcpStream::connect(server.listen())?;
            write!(
                up,
                "PUT /files/large HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {BYTES}\r\n\r\n"
            )?;
            for _ in 0..BYTES >> 20 {
                up.write_all(&piece)?;
            }
            let mut answer = String::new();
            up.read_to_string(&mut answer)?;
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            let id =
                serde_json::from_str::<serde_json::Value>(body)?["files"][0]["id"].as_str().unwrap_or("").to_owned();
            let mut down = TcpStream::connect(server.listen())?;
            write!(
                down,
                "GET /files/{id} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
            )?;
            let received = std::io::copy(&mut down, &mut std::io::sink())?;
            assert!(received > BYTES as u64, "only {received} bytes came back");
            Ok([answer, id])
        };
        let answers = exchange();
        done.store(true, Ordering::Relaxed);
        answers
    })?;
    assert!(answers[0].starts_with("HTTP/1.1 201"), "{}", answers[0]);
    let grown = peak.into_inner().saturating_sub(before);
    println!("200 MiB up and down: RSS {} MiB before, {} MiB more at its peak", before >> 20, grown >> 20);
    assert!(grown < GROWTH_BYTES_MAX, "RSS grew by {} MiB", grown >> 20);
    Ok(())
}

fn started(test: &str) -> Option<S3> {
    let installation = part::available(test, Installation::find())?;
    Some(S3::start(&installation).expect("versitygw starts"))
}

fn server(store: SocketAddr) -> Result<Service, Box<dyn Error>> {
    let endpoint = format!("http://{store}");
    Ok(Service::upload_to_bucket(STORE, &["--s3-endpoint", &endpoint], &s3::credentials())?)
}

fn put(server: &Service, name: &str, content: &[u8]) -> std::io::Result<Response> {
    put_to(server.listen(), name, content)
}

fn put_to(listen: SocketAddr, name: &str, content: &[u8]) -> std::io::Result<Response> {
    let authorization = format!("Bearer {TOKEN}");
    http::request(listen, "PUT", &format!("/files/{name}"), &[("Authorization", &authorization)], content)
}

fn get(server: &Service, id: &str, headers: &[(&str, &str)]) -> std::io::Result<Response> {
    let authorization = format!("Bearer {TOKEN}");
    let headers = [headers, &[("Authorization", &*authorization)]].concat();
    http::request(server.listen(), "GET", &format!("/files/{id}"), &headers, &[])
}

fn delete(server: &Service, id: &str) -> std::io::Result<Response> {
    let authorization = format!("Bearer {TOKEN}");
    http::request(server.listen(), "DELETE", &format!("/files/{id}"), &[("Authorization", &authorization)], &[])
}

fn head(server: &Service, id: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(server.listen())?;
    write!(
        stream,
        "HEAD /files/{id} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    )?;
    let mut head = String::new();
    stream.read_to_string(&mut head)?;
    Ok(head)
}

fn id(answer: &Response, place: usize) -> String {
    let json = answer.json().unwrap_or_default();
    json["files"][place]["id"].as_str().unwrap_or_default().to_owned()
}

fn spooled(server: &Service) -> Option<usize> {
    Some(std::fs::read_dir(server.store().join("spool")).ok()?.count())
}

fn spooled_bytes(server: &Service) -> Option<u64> {
    let entries = std::fs::read_dir(server.store().join("spool")).ok()?;
    Some(entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|metadata| metadata.len()).sum())
}

fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}
