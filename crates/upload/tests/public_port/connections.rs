use heapline_upload::admission::Limits;

use crate::client::noise;
use crate::serving::{Server, Setup, TOKEN};

#[test]
fn a_connection_beyond_the_limit_waits_and_is_served() {
    let limits = Limits { connections_max: 2, ..Limits::default() };
    let server = Server::with(Setup { limits, ..Setup::default() });
    let mut served = [server.client(), server.client()];
    for client in &mut served {
        assert_eq!(client.request("GET /livez", b"").status, 200);
    }
    let mut waiting = server.client();
    waiting.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    let [mut first, second] = served;
    assert_eq!(first.request("GET /livez", b"").status, 200);
    drop(second);
    assert_eq!(waiting.answer().status, 200);
}

#[test]
fn a_connection_is_kept_for_several_requests() {
    let server = Server::start();
    let mut client = server.client();
    for _ in 0..3 {
        assert_eq!(client.request("PUT /files/a", b"abc").status, 201);
        assert_eq!(client.request("GET /files/nothing", b"").status, 404);
        assert_eq!(client.request("HEAD /files/nothing", b"").status, 404);
    }
    assert_eq!(server.names("files").len(), 3);
}

/// Where a body goes from its socket to its file, what hyper had read of it goes first into the thread's buffer: a body that
/// is there with its head, or ends with the buffer, or is followed by the next request, must lose nothing and gain nothing.
#[test]
fn bodies_about_the_size_of_a_buffer_are_stored_as_they_were_sent() {
    for digest in [true, false] {
        stores_bodies_about_the_size_of_a_buffer(&Server::with(Setup { digest, ..Setup::default() }));
    }
}

fn stores_bodies_about_the_size_of_a_buffer(server: &Server) {
    const BUFFER_BYTES: usize = 256 << 10;
    let mut client = server.client();
    let sizes = [8 << 10, 64 << 10, 72 << 10, BUFFER_BYTES, 2 * BUFFER_BYTES]
        .into_iter()
        .flat_map(|size| [size - 1, size, size + 1]);
    for bytes in sizes.chain([12 << 10, 100_000, 1_000_000]) {
        let content = noise(bytes);
        let mut twice = Vec::new();
        for name in ["one", "two"] {
            let head = format!(
                "PUT /files/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {bytes}\r\n\r\n"
            );
            twice.extend_from_slice(head.as_bytes());
            twice.extend_from_slice(&content);
        }
        client.send(&twice);
        for _ in 0..2 {
            let answer = client.answer();
            assert_eq!(answer.status, 201, "{bytes} bytes: {answer:?}");
            assert!(server.file(&answer.id()) == content, "{bytes} bytes");
        }
    }
}
