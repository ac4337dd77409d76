//! Small uploads that come at the same time share their hand-overs between threads. What one of them is, must not show
//! in another: each gets its own answer, and what is refused or left by its client costs its neighbours nothing.

use std::collections::BTreeSet;
use std::thread;

use serde_json::Value;

use crate::client::{form, noise};
use crate::serving::{Server, until};

const CLIENTS: usize = 24;
const ROUNDS: usize = 30;

#[test]
fn many_small_uploads_at_once_get_each_its_own_answer() {
    let server = Server::start();
    let told: BTreeSet<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let server = &server;
                scope.spawn(move || uploads_of(server, number))
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    until("what was left half-way is gone", || {
        server.metric("upload_in_flight") == 0.0 && server.names("spool").is_empty()
    });
    let stored: BTreeSet<String> = server.names("files").into_iter().collect();
    assert!(told.is_subset(&stored), "{:?}", told.difference(&stored).collect::<Vec<_>>());
    let lines = String::from_utf8(server.file("../events.jsonl")).unwrap();
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_events: BTreeSet<String> = events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((events.len(), &of_events), (stored.len(), &stored));
}

/// The ids that were answered.
fn uploads_of(server: &Server, number: usize) -> Vec<String> {
    let mut client = server.client();
    let mut ids = Vec::new();
    for round in 0..ROUNDS {
        let content = noise(1 + (97 * number + 131 * round) % 5_000);
        let name = format!("{number}-{round}");
        let answer = match (number + round) % 6 {
            0 => {
                let of_another = "Repr-Digest: sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:";
                let answer = client.request(&format!("PUT /files/{name}\n{of_another}"), &content);
                assert_eq!(answer.status, 400, "{answer:?}");
                client = server.client();
                continue;
            }
            1 => {
                let answer = client.post_form(&form(&[("name=note", &content)]));
                assert_eq!(answer.status, 422, "{answer:?}");
                client = server.client();
                continue;
            }
            2 if round % 2 == 0 => {
                // Whole, and gone before the answer.
                client.send(format!(
                    "PUT /files/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 3\r\n\r\nabc",
                    crate::serving::TOKEN
                ));
                client = server.client();
                continue;
            }
            3 => client.post_form(&form(&[(&format!("name=f; filename={name}"), &content)])),
            _ => client.request(&format!("PUT /files/{name}"), &content),
        };
        assert_eq!(answer.status, 201, "{answer:?}");
        let file = &answer.json()["files"][0];
        assert_eq!((&file["filename"], &file["bytes"]), (&name.into(), &content.len().into()));
        assert!(server.file(&answer.id()) == content, "{file}");
        ids.push(answer.id());
    }
    ids
}
