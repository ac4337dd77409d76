use heapline_upload::admission::Limits;

use crate::serving::{Server, Setup};

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
