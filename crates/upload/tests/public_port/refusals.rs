use heapline_upload::admission::Limits;

use crate::client::{form, noise};
use crate::serving::{Server, Setup, TOKEN, until};

#[test]
fn every_refusal_is_a_problem_and_stores_nothing() {
    let server = Server::start();
    let file = ("name=f; filename=a", &b"abc"[..]);
    let whole = form(&[file]);
    let open_end = &whole[..whole.len() - 4];
    let lf: Vec<u8> = whole.iter().copied().filter(|&byte| byte != b'\r').collect();
    let of_form = "POST /upload\nContent-Type: multipart/form-data; boundary=b";
    for (head, body, status) in [
        ("POST /upload", &whole[..], 415),
        ("POST /upload\nContent-Type: application/octet-stream", &whole, 415),
        ("POST /upload\nContent-Type: multipart/form-data", &whole, 400),
        ("POST /upload\nContent-Type: multipart/form-data; boundary=a@b", &whole, 400),
        ("POST /upload\nContent-Type: multipart/form-data; boundary=other", &whole, 400),
        (of_form, b"", 400),
        (of_form, open_end, 400),
        (of_form, &lf, 400),
        (of_form, &form(&[]), 422),
        (of_form, &form(&[("name=f", b"a field alone")]), 422),
        (of_form, &form(&[("name=f; filename=\"\"", b"")]), 422),
        (of_form, &form(&[file, ("filename=no-name", b"abc")]), 400),
        (of_form, &[&whole[..whole.len() - 4], b" x"].concat(), 400),
        (&format!("{of_form}\nContent-Encoding: gzip"), &whole, 415),
        ("PUT /files/a\nContent-Encoding: gzip", b"abc", 415),
        ("PUT /files/a\nContent-Range: bytes 0-2/9", b"abc", 400),
        ("PUT /files/%ff", b"abc", 400),
        ("PUT /files/%zz", b"abc", 400),
        ("PUT /files/a/b", b"abc", 404),
        ("PUT /files/", b"abc", 404),
        ("PUT /elsewhere", b"abc", 404),
        ("GET /", b"", 404),
        ("GET /files", b"", 404),
        ("GET /files/no-such-id", b"", 404),
        ("GET /files/00000000000000000000000000", b"", 404),
        ("DELETE /files/00000000000000000000000000", b"", 404),
        ("GET /upload", b"", 405),
        ("PUT /upload", b"abc", 405),
        ("POST /files/a", b"abc", 405),
        ("POST /livez", b"abc", 405),
        ("DELETE /readyz", b"", 405),
    ] {
        let answer = server.client().request(head, body);
        answer.assert_problem(status);
        assert_eq!(answer.header("allow").is_some(), status == 405, "{head}");
    }
    server.assert_nothing_stored();
    assert_eq!(server.outcome("stored") + server.outcome("failed") + server.outcome("cancelled"), 0.0);
    assert_eq!(server.outcome("bad_request"), 18.0);
}

#[test]
fn no_token_no_access_but_to_the_probes() {
    let server = Server::start();
    for line in ["POST /upload", "PUT /files/a", "GET /files/a", "DELETE /files/a", "GET /upload"] {
        let answer =
            server.client().send(format!("{line} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")).answer();
        answer.assert_problem(401);
    }
    assert_eq!(server.outcome("unauthorized"), 2.0);
    let mut client = server.client();
    for path in ["/livez", "/readyz"] {
        assert_eq!(client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).answer().status, 200);
        assert_eq!(client.send(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n")).answer_to(true).status, 200);
    }
}

#[test]
fn a_length_is_needed() {
    let server = Server::start();
    let mut client = server.client();
    client.send(format!("PUT /files/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"));
    client.answer().assert_problem(411);
}

/// hyper closes a connection whose request was not read; the client that is still sending then sees a reset in place of
/// the 413, so what it sends is read on for a while.
#[test]
fn a_client_that_sends_everything_first_still_reads_its_413() {
    let limits = Limits { body_bytes_max: 1_000_000, file_bytes_max: 500_000, ..Limits::default() };
    let server = Server::with(Setup { limits, ..Setup::default() });
    for content in [noise(600_000), noise(8_000_000)] {
        for head in ["PUT /files/a", "POST /upload\nContent-Type: multipart/form-data; boundary=b"] {
            let answer = server.client().request(head, &form(&[("name=f; filename=a", &content)]));
            answer.assert_problem(413);
            assert_eq!(answer.header("connection"), Some("close"));
        }
    }
    // In chunks, nobody knows beforehand.
    let mut client = server.client();
    client.send(format!("PUT /files/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"));
    client.send("Transfer-Encoding: chunked\r\n\r\n").send(format!("{:x}\r\n", 8_000_000)).send(noise(8_000_000));
    client.send("\r\n0\r\n\r\n").answer().assert_problem(413);
    server.assert_nothing_stored();
    assert_eq!(server.outcome("too_large"), 5.0);
}

#[test]
fn a_body_that_is_cut_leaves_nothing() {
    for digest in [true, false] {
        cuts_leave_nothing(&Server::with(Setup { digest, ..Setup::default() }));
    }
}

fn cuts_leave_nothing(server: &Server) {
    let head = format!("PUT /files/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n");
    let mut client = server.client();
    client.send(&head).send("Content-Length: 1000000\r\n\r\n").send(noise(600_000)).finish_sending();
    client.answer().assert_problem(400);

    server.client().send(&head).send("Content-Length: 1000000\r\n\r\n").send(noise(600_000));
    let mut client = server.client();
    client.send(&head).send("Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n").finish_sending();
    client.answer().assert_problem(400);
    until("three uploads are cancelled", || server.outcome("cancelled") == 3.0);

    let mut client = server.client();
    client.send(&head).send("Transfer-Encoding: chunked\r\n\r\n5\r\nabcdefgh\r\n");
    client.answer().assert_problem(400);
    assert_eq!(server.outcome("bad_request"), 1.0);
    server.assert_nothing_stored();
    assert_eq!(server.metric("upload_in_flight"), 0.0);
}
