use std::time::Duration;

use heapline_upload::admission::Limits;
use heapline_upload::multipart;

use crate::client::{form, noise};
use crate::serving::{Server, Setup, TOKEN, until};

fn server(limits: Limits) -> Server {
    Server::with(Setup { limits, ..Setup::default() })
}

#[test]
fn bounds_of_a_form_hold_exactly() {
    let multipart = multipart::Limits { plain_fields_bytes_max: 10, parts_max: 3, ..multipart::Limits::default() };
    let server = server(Limits { file_bytes_max: 5, multipart, ..Limits::default() });
    for (parts, status) in [
        (&[("name=f; filename=a", &b"12345"[..])][..], 201),
        (&[("name=f; filename=a", b"123456")], 413),
        (&[("name=f; filename=a", b"12345"), ("name=f; filename=a", b"12345")], 201),
        (&[("name=p", b"12345"), ("name=p", b"12345"), ("name=f; filename=a", b"")], 201),
        (&[("name=p", b"12345"), ("name=p", b"123456"), ("name=f; filename=a", b"")], 413),
        (&[("name=f; filename=a", &b""[..]); 3], 201),
        (&[("name=f; filename=a", &b""[..]); 4], 413),
    ] {
        assert_eq!(server.client().post_form(&form(parts)).status, status, "{parts:?}");
    }
    until("spool is empty", || server.names("spool").is_empty());
}

#[test]
fn a_silent_body_and_a_trickle_are_ended() {
    let server = server(Limits {
        body_idle_max: Duration::from_millis(300),
        body_bytes_per_second_min: 100_000,
        ..Limits::default()
    });
    let head =
        format!("PUT /files/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 900\r\n\r\n");
    let mut silent = server.client();
    let answer = silent.send(&head).send("abc").answer();
    answer.assert_problem(408);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(silent.is_closed());

    let mut trickle = server.client();
    trickle.send(&head);
    until("a trickle is ended", || {
        trickle.send_or_not("x");
        server.outcome("cancelled") == 2.0
    });
    trickle.answer().assert_problem(408);
    server.assert_nothing_stored();
}

/// A lull hands what came so far to the disk; what comes after it must follow in order.
#[test]
fn a_pause_in_a_body_changes_nothing() {
    let server = Server::start();
    let mut client = server.client();
    client.send(format!(
        "PUT /files/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 6\r\n\r\nabc"
    ));
    let written = || server.names("spool").len() == 1;
    until("the pause shows on the disk", written);
    let id = client.send("def").answer().id();
    assert_eq!(server.file(&id), b"abcdef");
}

/// Thread and buffer are given back in a pause, and the next turn goes on with others.
#[test]
fn pauses_in_a_large_body_change_nothing() {
    const PIECES: [usize; 6] = [100_000, 1, 300_000, 65_537, 4096, 700_000];
    for digest in [true, false] {
        let server = Server::with(Setup { digest, ..Setup::default() });
        let content = noise(PIECES.iter().sum());
        let mut client = server.client();
        client.send(format!(
            "PUT /files/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {}\r\n\r\n",
            content.len()
        ));
        let mut sent = 0;
        for bytes in PIECES {
            client.send(&content[sent..sent + bytes]);
            sent += bytes;
            until("what came is on the disk", || server.spooled_bytes() == sent as u64 || sent == content.len());
        }
        let id = client.answer().id();
        assert!(server.file(&id) == content);
    }
}

#[test]
fn a_head_that_does_not_come_is_not_waited_for() {
    let server = server(Limits { header_time_max: Duration::from_millis(200), ..Limits::default() });
    let mut client = server.client();
    client.send("PUT /files/a HTTP/1.1\r\nHos");
    assert!(client.is_closed());
    let mut idle = server.client();
    assert_eq!(idle.request("GET /livez", b"").status, 200);
    assert!(idle.is_closed());
}
