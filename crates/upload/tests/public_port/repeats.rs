//! `Idempotency-Key`, quota and reserve: what is answered before a body is read, and what a repeated upload gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use heapline_upload::store::RoomLimits;

use crate::client::{form, noise};
use crate::serving::{Server, Setup, TOKEN, until};

#[test]
fn a_repeated_upload_gets_the_first_answer_and_stores_nothing() {
    let server = Server::start();
    let content = noise(300_000);
    let body = form(&[("name=f; filename=a", &content), ("name=g; filename=b", b"b")]);
    let post = "POST /upload\nContent-Type: multipart/form-data; boundary=b\nIdempotency-Key: \"one\"";
    let put = "PUT /files/a\nIdempotency-Key: two";
    let (form_first, file_first) = (server.client().request(post, &body), server.client().request(put, b"abc"));
    assert_eq!((form_first.status, file_first.status), (201, 201));
    for _ in 0..2 {
        let again = server.client().request(post, &body);
        assert_eq!((again.status, &again.body), (201, &form_first.body));
        assert_eq!(again.header("location"), form_first.header("location"));
        let again = server.client().request(put, b"abc");
        assert_eq!((again.status, &again.body), (201, &file_first.body));
        assert_eq!(again.header("repr-digest"), file_first.header("repr-digest"));
    }
    // The same key for anything else: other content, another name, another target.
    server.client().request(put, b"abd").assert_problem(422);
    server.client().request("PUT /files/b\nIdempotency-Key: two", b"abc").assert_problem(422);
    server.client().request("PUT /files/a\nIdempotency-Key: \"one\"", b"abc").assert_problem(422);
    server.client().request("PUT /files/a\nIdempotency-Key: ", b"abc").assert_problem(400);
    server.client().request(&format!("PUT /files/a\nIdempotency-Key: {}", "x".repeat(256)), b"abc").assert_problem(400);
    assert_eq!(server.names("files").len(), 3);
    until("nothing is left of the repeats", || server.names("spool").is_empty());
    // Without a key, the same again is a new file.
    assert_eq!(server.client().request("PUT /files/a", b"abc").status, 201);
    assert_eq!(server.names("files").len(), 4);
}

#[test]
fn while_the_first_runs_its_key_is_taken_and_a_failed_first_gives_it_back() {
    let server = Server::start();
    let mut first = server.client();
    let head = format!("PUT /files/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nIdempotency-Key: k\r\n");
    first.send(format!("{head}Content-Length: 6\r\n\r\nabc"));
    until("the first is in flight", || server.metric("upload_in_flight") == 1.0);
    let second = server.client().request("PUT /files/a\nIdempotency-Key: k", b"abcdef");
    second.assert_problem(409);
    assert!(second.header("retry-after").is_some());
    drop(first);
    until("the first is gone", || server.metric("upload_in_flight") == 0.0);
    assert_eq!(server.client().request("PUT /files/a\nIdempotency-Key: k", b"abcdef").status, 201);
    assert_eq!(server.names("files").len(), 1);
}

/// Many at once: one stores, the others are told to wait or get its answer.
#[test]
fn a_key_stores_once_however_many_come() {
    let server = Arc::new(Server::start());
    let (stored, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let (server, stored, refused) = (Arc::clone(&server), Arc::clone(&stored), Arc::clone(&refused));
            thread::spawn(move || {
                for _ in 0..10 {
                    match server.client().request("PUT /files/a\nIdempotency-Key: k", b"abc").status {
                        201 => stored.fetch_add(1, Ordering::Relaxed),
                        409 => refused.fetch_add(1, Ordering::Relaxed),
                        other => panic!("{other}"),
                    };
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(server.names("files").len(), 1);
    assert!(stored.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_quota_is_told_before_the_body_and_deleting_makes_room() {
    let room = RoomLimits { quota_bytes: Some(1_000), ..RoomLimits::default() };
    let server = Server::with(Setup { room, ..Setup::default() });
    let first = server.client().request("PUT /files/a", &noise(600)).id();
    // Nothing of the body is sent: the answer comes all the same.
    let mut client = server.client();
    client.send(format!("PUT /files/b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nExpect: 100-continue\r\nContent-Length: 600\r\n\r\n"));
    client.answer().assert_problem(507);
    // A length that nobody announced is found out at the end.
    let mut client = server.client();
    client.send(format!(
        "PUT /files/b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n258\r\n"
    ));
    client.send(noise(600)).send("\r\n0\r\n\r\n").answer().assert_problem(507);
    assert_eq!(server.names("files").len(), 1);
    assert_eq!(server.client().request("PUT /files/c", &noise(300)).status, 201);
    assert_eq!(server.client().request(&format!("DELETE /files/{first}"), b"").status, 204);
    assert_eq!(server.client().request("PUT /files/d", &noise(600)).status, 201);
    assert_eq!(server.outcome("refused"), 2.0);
}

#[test]
fn a_disk_reserve_is_told_before_the_body() {
    let room = RoomLimits { reserve_bytes: Some(u64::MAX), ..RoomLimits::default() };
    let server = Server::with(Setup { room, ..Setup::default() });
    let mut client = server.client();
    client.send(format!("PUT /files/b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n"));
    client.answer().assert_problem(507);
    server.assert_nothing_stored();
    // Reading goes on.
    assert_eq!(server.client().request("GET /files/00000000000000000000000000", b"").status, 404);
}
