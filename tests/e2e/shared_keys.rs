//! `Idempotency-Key` behind a balancer: whichever server of a bucket a repeated upload reaches, it is stored once.
//!
//! The story behind it: keys that each server remembers for itself, so that a balancer which sends the retry of a timed-out
//! upload to the next machine, as they do, makes two files of it.

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use heapline_tests::deadline::{self, eventually};
use heapline_tests::digest::sha256_hex;
use heapline_tests::http::{self, Response};
use heapline_tests::part;
use heapline_tests::promises::noise;
use heapline_tests::s3::{self, Installation, S3};
use heapline_tests::service::{Service, TOKEN};

type Outcome = Result<(), Box<dyn Error>>;

/// A server that is started again is known by its next sign of life; a lost one is missed after half a minute.
const NOTICE_LIMIT: Duration = Duration::from_secs(120);
const CONTENT: &[u8] = b"the content of a file";

#[test]
fn a_key_is_one_file_whichever_server_it_reaches() -> Outcome {
    let Some((s3, one, other)) = started("shared_keys::a_key_is_one_file_whichever_server_it_reaches")? else {
        return Ok(());
    };
    let first = put(one.listen(), "k1", "a", CONTENT)?;
    assert_eq!(first.status, 201, "{}", first.text());
    for server in [&other, &one, &other] {
        let again = put(server.listen(), "k1", "a", CONTENT)?;
        assert_eq!((again.status, &again.body), (201, &first.body));
        assert_eq!(again.header("location"), first.header("location"));
        assert_eq!(again.header("repr-digest"), first.header("repr-digest"));
    }
    for server in [&other, &one] {
        assert_eq!(put(server.listen(), "k1", "a", b"another content")?.status, 422);
        assert_eq!(put(server.listen(), "k1", "b", CONTENT)?.status, 422, "another name");
    }
    assert_eq!(files(&s3)?.len(), 1);
    // A deleted file stays deleted: its upload was done.
    let path = first.header("location").ok_or("no location")?.to_owned();
    assert_eq!(one.ask("DELETE", &path, &[])?.status, 204);
    assert_eq!(put(other.listen(), "k1", "a", CONTENT)?.body, first.body);
    assert_eq!(files(&s3)?.len(), 0);

    // While the first runs on one server, the other says so; then it has its answer.
    let mut running = begin(one.listen(), "k2", CONTENT.len())?;
    running.write_all(&CONTENT[..5])?;
    taken(&s3, "k2");
    let busy = put(other.listen(), "k2", "a", CONTENT)?;
    assert_eq!((busy.status, busy.header("content-type")), (409, Some("application/problem+json")));
    assert!(busy.header("retry-after").is_some());
    assert_eq!(put(one.listen(), "k2", "a", CONTENT)?.status, 409);
    running.write_all(&CONTENT[5..])?;
    let mut answer = String::new();
    running.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let again = put(other.listen(), "k2", "a", CONTENT)?;
    assert!(again.status == 201 && answer.ends_with(&again.text()), "{answer}\n{}", again.text());

    // Its client gone, the key is free again, everywhere.
    let mut cut = begin(one.listen(), "k3", CONTENT.len())?;
    cut.write_all(&CONTENT[..5])?;
    taken(&s3, "k3");
    assert_eq!(put(other.listen(), "k3", "a", CONTENT)?.status, 409);
    drop(cut);
    eventually("the key is given back", NOTICE_LIMIT, || {
        (put(other.listen(), "k3", "a", CONTENT).ok()?.status == 201).then_some(())
    });
    // And refused for another reason: nothing of it is remembered.
    assert_eq!(put_with(one.listen(), "k4", "a", CONTENT, &[("Repr-Digest", "sha-256=:AAAA:")])?.status, 400);
    eventually("the key is given back", NOTICE_LIMIT, || {
        (put(other.listen(), "k4", "a", CONTENT).ok()?.status == 201).then_some(())
    });
    assert_eq!(files(&s3)?.len(), 3);

    // Many at once at both.
    let (stored, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for client in 0..12 {
            let (stored, refused, listen) = (&stored, &refused, [&one, &other][client % 2].listen());
            scope.spawn(move || {
                for _ in 0..5 {
                    match put(listen, "k5", "a", CONTENT).expect("answered").status {
                        201 => stored.fetch_add(1, Ordering::Relaxed),
                        409 => refused.fetch_add(1, Ordering::Relaxed),
                        status => panic!("{status}"),
                    };
                }
            });
        }
    });
    assert!(stored.into_inner() > 0);
    assert_eq!(files(&s3)?.len(), 4);
    Ok(())
}

#[test]
fn a_key_of_a_killed_server_is_taken_over_and_still_makes_one_file() -> Outcome {
    let Some((s3, mut one, other)) = started("shared_keys::a_key_of_a_killed_server_is_taken_over")? else {
        return Ok(());
    };
    // Uploads with keys until the server is killed, at different moments; what was not answered is sent to the other, and
    // what was is sent there again.
    let mut uploads = BTreeMap::new();
    for round in 0..4_u64 {
        let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
        let sent = Mutex::new(BTreeMap::new());
        thread::scope(|scope| {
            for client in 0..4 {
                let (stop, answered, sent, listen) = (&stop, &answered, &sent, one.listen());
                scope.spawn(move || {
                    for n in 0_u64.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let (key, content) =
                            (format!("{round}-{client}-{n}"), noise(round << 40 | client << 20 | n, 9_000));
                        let answer = put(listen, &key, "a", &content).ok().filter(|answer| answer.status == 201);
                        answered.fetch_add(u64::from(answer.is_some()), Ordering::Relaxed);
                        let body = answer.map(|answer| answer.body);
                        sent.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (content, body));
                    }
                });
            }
            eventually("uploads are answered", NOTICE_LIMIT, || (answered.load(Ordering::Relaxed) > 4).then_some(()));
            deadline::pace(Instant::now() + Duration::from_millis(37 * round), || false);
            one.kill();
            stop.store(true, Ordering::Relaxed);
        });
        uploads.append(&mut sent.into_inner().unwrap_or_else(PoisonError::into_inner));
        // The last time it stays away, and is missed.
        if round < 3 {
            one.start_again()?;
        }
    }
    // Begun at a server that is gone by now: half a minute later it counts for nothing.
    let deadline = Instant::now() + NOTICE_LIMIT;
    for (key, (content, answered)) in &uploads {
        let body = loop {
            let again = put(other.listen(), key, "a", content)?;
            if again.status == 201 {
                break again.body;
            }
            assert_eq!(again.status, 409, "{}", again.text());
            assert!(Instant::now() < deadline, "{key} is still taken");
            deadline::pace(Instant::now() + Duration::from_millis(200), || false);
        };
        assert!(answered.as_ref().is_none_or(|answered| *answered == body), "{key} got another answer");
    }
    let stored = files(&s3)?;
    let different: HashSet<String> = stored.iter().map(|content| sha256_hex(content)).collect();
    let sent: HashSet<String> = uploads.values().map(|(content, _)| sha256_hex(content)).collect();
    println!("{} keys over four kills, {} files", uploads.len(), stored.len());
    assert_eq!(stored.len(), uploads.len(), "each key is one file");
    assert_eq!(different, sent);
    Ok(())
}

/// A bucket and the two servers that share it.
type Ground = (S3, Service, Service);

fn started(test: &str) -> Result<Option<Ground>, Box<dyn Error>> {
    let Some(installation) = part::available(test, Installation::find()) else { return Ok(None) };
    let s3 = S3::start(&installation)?;
    let endpoint = format!("http://{}", s3.address());
    let start = || Service::upload_to_bucket("s3://files", &["--s3-endpoint", &endpoint], &s3::credentials());
    let (one, other) = (start()?, start()?);
    Ok(Some((s3, one, other)))
}

fn put(listen: SocketAddr, key: &str, name: &str, content: &[u8]) -> std::io::Result<Response> {
    put_with(listen, key, name, content, &[])
}

fn put_with(
    listen: SocketAddr,
    key: &str,
    name: &str,
    content: &[u8],
    headers: &[(&str, &str)],
) -> std::io::Result<Response> {
    let authorization = format!("Bearer {TOKEN}");
    let headers = [headers, &[("Authorization", &*authorization), ("Idempotency-Key", key)]].concat();
    http::request(listen, "PUT", &format!("/files/{name}"), &headers, content)
}

/// The head of an upload of so many bytes to `a`.
fn begin(listen: SocketAddr, key: &str, bytes: usize) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(listen)?;
    write!(
        stream,
        "PUT /files/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\
         Idempotency-Key: {key}\r\nContent-Length: {bytes}\r\n\r\n"
    )?;
    Ok(stream)
}

/// Waits until somebody has the key.
fn taken(s3: &S3, key: &str) {
    let digest = sha256_hex(key.as_bytes());
    eventually("the key is taken", NOTICE_LIMIT, || {
        s3.keys().ok()?.iter().any(|object| object.starts_with("keys/") && object.contains(&digest)).then_some(())
    });
}

/// What each visible file holds.
fn files(s3: &S3) -> std::io::Result<Vec<Vec<u8>>> {
    s3.keys()?.iter().filter(|key| key.starts_with("files/")).map(|key| s3.object(key)).collect()
}
