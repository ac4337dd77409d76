//! Clients that vanish, at any byte, politely or not.

use heapline_tests::promises::{Promises, assert_at_rest, noise};
use heapline_tests::service::{Service, TOKEN};

use super::{Connection, Outcome};

const CLIENTS: usize = 300;
const CONTENT_BYTES: usize = 700_000;

#[test]
fn clients_that_vanish_leave_nothing_behind() -> Outcome {
    for threshold in ["0", "1MiB"] {
        let (service, promises) = (Service::upload(&["--spool-threshold", threshold])?, Promises::default());
        assert_eq!(promises.put(&service, &noise(1, 100_000))?, 201);
        let content = noise(2, CONTENT_BYTES);
        let mut waiting = Vec::new();
        for client in 0..CLIENTS {
            let mut connection = Connection::open(&service)?;
            if client % 2 == 0 {
                // An answer that is never read turns the end into a reset.
                connection.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")?;
            }
            connection.begin_put(CONTENT_BYTES)?;
            connection.send(&content[..client * 2_311 % CONTENT_BYTES])?;
            waiting.push(connection);
            if client % 3 == 0 {
                waiting.clear();
            }
        }
        drop(waiting);
        // Gone before the answer to a whole upload: it may be stored, and is then whole.
        for _ in 0..20 {
            let mut connection = Connection::open(&service)?;
            connection.begin_put(1000)?;
            connection.send(&content[..1000])?;
        }
        // Gone in the middle of an answer.
        let id = promises.ids()[0].clone();
        for _ in 0..50 {
            let mut connection = Connection::open(&service)?;
            let head = format!("GET /files/{id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
            connection.send(head.as_bytes())?;
        }
        assert_eq!(promises.put(&service, &noise(3, 100_000))?, 201);
        assert_at_rest(&service, CLIENTS as u64)?;
        promises.check(&service)?;
    }
    Ok(())
}
