use std::time::Duration;

use crate::serving::{Server, Setup, TOKEN, until};

const HALF_A_PUT: &str = "Content-Length: 6\r\n\r\nabc";

fn put() -> String {
    format!("PUT /files/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n{HALF_A_PUT}")
}

#[test]
fn an_upload_in_flight_ends_well_and_nothing_new_begins() {
    let mut server = Server::start();
    let mut idle = server.client();
    assert_eq!(idle.request("GET /readyz", b"").status, 200);
    let mut uploading = server.client();
    uploading.send(put());
    until("the upload is in flight", || server.metric("upload_in_flight") == 1.0);

    server.tell_to_stop();
    assert!(idle.is_closed());
    let not_ready = server.client().request("GET /readyz", b"");
    not_ready.assert_problem(503);
    assert_eq!(server.client().request("GET /livez", b"").status, 200);
    let refused = server.client().request("PUT /files/late", b"abc");
    refused.assert_problem(503);
    assert!(refused.header("retry-after").is_some());

    let id = uploading.send("def").answer().id();
    assert!(uploading.is_closed());
    assert_eq!(server.stopped(), 0);
    assert_eq!(server.file(&id), b"abcdef");
    assert_eq!((server.outcome("stored"), server.outcome("refused")), (1.0, 1.0));
}

#[test]
fn at_the_deadline_uploads_are_cut_and_leave_nothing() {
    let mut server = Server::with(Setup { drain: Duration::from_millis(300), ..Setup::default() });
    let mut uploading = server.client();
    uploading.send(put());
    until("the upload is on the disk", || server.names("spool").len() == 1);
    assert_eq!(server.stopped(), 1);
    assert!(uploading.is_closed());
    server.assert_nothing_stored();
    assert_eq!(server.outcome("cancelled"), 1.0);
}
