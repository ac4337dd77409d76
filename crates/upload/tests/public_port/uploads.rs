use serde_json::json;
use sha2::{Digest, Sha256};

use crate::client::{form, noise};
use crate::serving::{Server, Setup, TOKEN};

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_form_is_stored_whole_and_answered_as_documented() {
    let server = Server::start();
    let large = noise(3_000_001);
    let mut client = server.client();
    let answer = client.post_form(&form(&[
        ("name=note", b"plain"),
        ("name=\"one\"; filename=\"dir/gr\u{fc}\u{df}e.bin\"", &large),
        ("name=empty; filename=\"\"", b""),
        ("name=two; filename=zero.txt", b""),
        ("name=three; filename=\"\"", b"unnamed"),
    ]));
    assert_eq!(answer.status, 201, "{answer:?}");
    let body = answer.json();
    let id = |index: usize| body["files"][index]["id"].as_str().unwrap();
    let object = |index: usize, field: &str, filename: &str, content: &[u8]| {
        json!({"id": id(index), "field": field, "filename": filename, "bytes": content.len(), "sha256": hex(content),
               "url": format!("/files/{}", id(index))})
    };
    assert_eq!(
        body,
        json!({"files": [object(0, "one", "grüße.bin", &large), object(1, "two", "zero.txt", b""),
                         object(2, "three", "file", b"unnamed")]})
    );
    assert_eq!(answer.header("location"), Some(format!("/files/{}", id(0)).as_str()));
    assert_eq!(server.file(id(0)), large);
    assert_eq!(server.file(id(2)), b"unnamed");
    assert_eq!(client.request(&format!("GET /files/{}", id(0)), b"").body, large);

    assert_eq!((server.outcome("stored"), server.metric("upload_in_flight")), (1.0, 0.0));
    assert_eq!(server.metric("upload_duration_seconds_count"), 1.0);
    assert!(server.metric("upload_received_bytes_total") > 3_000_001.0);
}

#[test]
fn a_raw_file_with_a_length_or_in_chunks() {
    let server = Server::start();
    let mut client = server.client();
    let content = noise(700_000);
    let answer = client.request("PUT /files/a%20%C3%BC%2Fb.bin\nContent-Type: image/png", &content);
    let id = answer.id();
    assert_eq!(answer.json()["files"][0]["filename"], "b.bin");
    assert_eq!(answer.json()["files"][0]["field"], json!(null));
    assert!(answer.header("repr-digest").unwrap().starts_with("sha-256=:"));
    assert_eq!(server.file(&id), content);

    client.send(format!("PUT /files/c HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"));
    client.send("Transfer-Encoding: chunked\r\n\r\n");
    for chunk in content.chunks(33_333) {
        client.send(format!("{:x}\r\n", chunk.len())).send(chunk).send("\r\n");
    }
    let chunked = client.send("0\r\n\r\n").answer();
    assert_eq!(chunked.json()["files"][0]["sha256"], hex(&content));
    assert_ne!(chunked.id(), id);

    let empty = client.request("PUT /files/empty", b"");
    assert_eq!((empty.status, &empty.json()["files"][0]["bytes"]), (201, &json!(0)));
}

#[test]
fn a_byte_at_a_time_is_the_same_form() {
    let server = Server::start();
    let body = form(&[("name=f; filename=a", b"\r\n--bo\r\n--\r"), ("name=g; filename=b", b"")]);
    let mut client = server.client();
    client.send(format!("POST /upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"));
    client.send(format!("Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n", body.len()));
    for byte in body {
        client.send([byte]);
    }
    let answer = client.answer();
    assert_eq!(server.file(&answer.id()), b"\r\n--bo\r\n--\r");
    assert_eq!(answer.json()["files"].as_array().unwrap().len(), 2);
}

#[test]
fn a_promised_digest_is_kept_or_the_file_refused() {
    for digest in [true, false] {
        let server = Server::with(Setup { digest, ..Setup::default() });
        let mut client = server.client();
        let of_abc = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";
        let answer = client.request(&format!("PUT /files/a\nRepr-Digest: {of_abc}"), b"abc");
        assert_eq!(answer.status, 201);
        assert_eq!(answer.json()["files"][0]["sha256"].is_null(), !digest);
        let stored = server.names("files").len();

        for header in ["Repr-Digest", "Content-Digest"] {
            server.client().request(&format!("PUT /files/a\n{header}: {of_abc}"), b"abd").assert_problem(400);
        }
        server.client().request("PUT /files/a\nRepr-Digest: sha-256=abc", b"abc").assert_problem(400);
        let body = form(&[("name=f; filename=a", b"abc")]);
        let head = format!("POST /upload\nContent-Type: multipart/form-data; boundary=b\nContent-Digest: {of_abc}");
        server.client().request(&head, &body).assert_problem(400);
        assert_eq!(server.names("files").len(), stored);
    }
}

#[test]
fn a_client_that_waits_for_100_gets_it_or_the_refusal() {
    let server = Server::start();
    let head = |token: &str| {
        format!(
            "PUT /files/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
    };
    let mut client = server.client();
    assert_eq!(client.send(head(TOKEN)).answer().status, 100);
    assert_eq!(client.send("abc").answer().status, 201);

    let mut client = server.client();
    let answer = client.send(head("wrong")).answer();
    answer.assert_problem(401);
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    assert!(client.rest().is_empty());
    assert_eq!(server.outcome("unauthorized"), 1.0);
}
