use crate::client::noise;
use crate::serving::{Server, Setup};

#[test]
fn a_file_comes_back_with_all_that_is_known_of_it() {
    let server = Server::start();
    let mut client = server.client();
    let content = noise(400_000);
    let stored = client.request("PUT /files/%C3%BC.html\nContent-Type: text/html", &content);
    let path = format!("/files/{}", stored.id());
    let sha256 = stored.json()["files"][0]["sha256"].as_str().unwrap().to_owned();

    let answer = client.request(&format!("GET {path}"), b"");
    assert_eq!((answer.status, &answer.body), (200, &content));
    let head = client.request(&format!("HEAD {path}"), b"");
    assert_eq!(head.status, 200);
    for (name, value) in [
        ("content-length", "400000"),
        ("content-type", "text/html"),
        ("content-disposition", "attachment; filename=\"_.html\"; filename*=UTF-8''%C3%BC.html"),
        ("x-content-type-options", "nosniff"),
        ("accept-ranges", "bytes"),
        ("etag", &format!("\"{sha256}\"")),
        ("repr-digest", stored.header("repr-digest").unwrap()),
    ] {
        assert_eq!(answer.header(name), Some(value));
        assert_eq!(head.header(name), Some(value));
    }

    let etag = answer.header("etag").unwrap();
    let modified = answer.header("last-modified").unwrap();
    let since = client.request(&format!("GET {path}\nIf-Modified-Since: {modified}"), b"");
    assert_eq!((since.status, since.header("etag")), (304, Some(etag)));
    assert_eq!(client.request(&format!("HEAD {path}\nIf-None-Match: {etag}"), b"").status, 304);
    client.request(&format!("GET {path}\nIf-Match: \"other\""), b"").assert_problem(412);

    assert_eq!(client.request(&format!("DELETE {path}"), b"").status, 204);
    client.request(&format!("DELETE {path}"), b"").assert_problem(404);
    client.request(&format!("GET {path}"), b"").assert_problem(404);
    assert!(server.names("files").is_empty());
}

#[test]
fn ranges_of_a_file() {
    let server = Server::start();
    let mut client = server.client();
    let content = noise(300_000);
    let stored = client.request("PUT /files/a", &content);
    let path = format!("/files/{}", stored.id());
    let etag = format!("\"{}\"", stored.json()["files"][0]["sha256"].as_str().unwrap());
    for (headers, status, range, expected) in [
        ("Range: bytes=0-0", 206, Some("bytes 0-0/300000"), &content[..1]),
        ("Range: bytes=100000-", 206, Some("bytes 100000-299999/300000"), &content[100_000..]),
        ("Range: bytes=-10", 206, Some("bytes 299990-299999/300000"), &content[299_990..]),
        ("Range: bytes=5-999999", 206, Some("bytes 5-299999/300000"), &content[5..]),
        ("Range: bytes=nonsense", 200, None, &content),
        ("Range: bytes=0-1,5-6", 200, None, &content),
        ("Range: bytes=0-0\nIf-Range: \"other\"", 200, None, &content),
        (&format!("Range: bytes=0-0\nIf-Range: {etag}"), 206, Some("bytes 0-0/300000"), &content[..1]),
    ] {
        let answer = client.request(&format!("GET {path}\n{headers}"), b"");
        assert_eq!((answer.status, answer.header("content-range")), (status, range), "{headers}");
        assert_eq!(answer.body, expected, "{headers}");
    }
    let beyond = client.request(&format!("GET {path}\nRange: bytes=300000-"), b"");
    beyond.assert_problem(416);
    assert_eq!(beyond.header("content-range"), Some("bytes */300000"));
    let head = client.request(&format!("HEAD {path}\nRange: bytes=0-0"), b"");
    assert_eq!((head.status, head.header("content-length")), (200, Some("300000")));
}

#[test]
fn without_digests_the_id_is_the_tag() {
    let server = Server::with(Setup { digest: false, ..Setup::default() });
    let mut client = server.client();
    let stored = client.request("PUT /files/a", b"abc");
    assert!(stored.json()["files"][0]["sha256"].is_null());
    let answer = client.request(&format!("GET /files/{}", stored.id()), b"");
    assert_eq!(answer.header("etag"), Some(format!("\"{}\"", stored.id()).as_str()));
    assert_eq!((answer.header("repr-digest"), stored.header("repr-digest")), (None, None));
}
