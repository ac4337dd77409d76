//! Memory: the budget, the threshold and its changes in mid-flight, answers that nobody reads.

use std::time::Duration;

use heapline_upload::admission::Limits;
use heapline_upload::ledger::Ledger;
use heapline_upload::spool::{Setting, Source, Threshold};

use crate::client::{Client, noise};
use crate::serving::{Server, Setup, TOKEN, until};

const MIB: usize = 1 << 20;

fn held(bytes: u64) -> Setting {
    Setting { bytes, source: Source::File }
}

fn put_head(bytes: usize) -> String {
    format!("PUT /files/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {bytes}\r\n\r\n")
}

/// Uploads of which all but the last byte was sent.
fn paused(server: &Server, uploads: usize, content: &[u8]) -> Vec<Client> {
    let start = |_| {
        let mut client = server.client();
        client.send(put_head(content.len())).send(&content[..content.len() - 1]);
        client
    };
    let clients = (0..uploads).map(start).collect();
    let sent = (uploads * (content.len() - 1)) as f64;
    until("all of it arrived", || server.metric("upload_received_bytes_total") == sent);
    clients
}

fn finish(server: &Server, clients: Vec<Client>, content: &[u8]) {
    for mut client in clients {
        let id = client.send(&content[content.len() - 1..]).answer().id();
        assert!(server.file(&id) == content);
    }
}

#[test]
fn a_file_below_the_threshold_stays_in_memory_until_it_is_whole() {
    let content = noise(MIB);
    let setup = Setup { threshold: Threshold::new(held(2 << 20)), ..Setup::default() };
    let server = Server::with(setup);
    let clients = paused(&server, 2, &content);
    assert!(server.metric("upload_ledger_bytes") >= (2 * MIB) as f64);
    assert!(server.names("spool").is_empty());
    server.client().request("PUT /files/larger", &noise(3 * MIB)).id();
    finish(&server, clients, &content);
    assert_eq!(server.metric("upload_spool_threshold_bytes{source=\"file\"}"), (2 * MIB) as f64);
}

#[test]
fn a_lower_threshold_reaches_uploads_in_flight() {
    let content = noise(3 * MIB);
    let threshold = Threshold::new(held(32 << 20));
    let server = Server::with(Setup { threshold: threshold.clone(), ..Setup::default() });
    let clients = paused(&server, 4, &content);
    assert!(server.metric("upload_ledger_bytes") >= (12 * MIB) as f64);
    threshold.set(Setting { bytes: 0, source: Source::Config });
    until("everything is on the disk", || server.names("spool").len() == 4);
    // What is left are the uploads themselves and their read buffers.
    until("memory is given back", || server.metric("upload_ledger_bytes") <= (4 * 272 * 1024) as f64);
    assert_eq!(server.metric("upload_spool_threshold_bytes{source=\"config\"}"), 0.0);
    assert_eq!(server.find_metric("upload_spool_threshold_bytes{source=\"file\"}"), None);
    threshold.set(held(32 << 20));
    finish(&server, clients, &content);
}

#[test]
fn files_in_memory_make_room_for_new_uploads() {
    let content = noise(MIB);
    let (ledger, threshold) = (Ledger::new(8 << 20), Threshold::new(held(32 << 20)));
    let server = Server::with(Setup { ledger: ledger.clone(), threshold, ..Setup::default() });
    let clients = paused(&server, 20, &content);
    until("what does not fit is on the disk", || !server.names("spool").is_empty());
    assert!(server.metric("upload_ledger_bytes") <= server.metric("upload_ledger_limit_bytes"));
    finish(&server, clients, &content);
    until("all is given back", || ledger.used_bytes() == 0);
}

#[test]
fn without_room_a_new_upload_waits_and_then_hears_503() {
    let limits = Limits { memory_wait_max: Duration::from_millis(100), ..Limits::default() };
    let content = noise(100);
    let server = Server::with(Setup { ledger: Ledger::new(64 << 10), limits, ..Setup::default() });
    let clients = paused(&server, 4, &content);
    let refused = server.client().request("PUT /files/a", &content);
    refused.assert_problem(503);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(server.outcome("refused"), 1.0);
    finish(&server, clients, &content);
    until("there is room again", || server.client().request("PUT /files/a", &content).status == 201);
}

/// Every frame is written before the next is asked for: slower, but nothing waits for ever and nothing is lost.
#[test]
fn an_admitted_upload_goes_on_without_any_memory_to_spare() {
    for digest in [true, false] {
        let ledger = Ledger::new(64 << 10);
        let server = Server::with(Setup { digest, ledger: ledger.clone(), ..Setup::default() });
        for bytes in [0, 1, 8191, 8192, 100_000, 3 * MIB] {
            let content = noise(bytes);
            let id = server.client().request("PUT /files/a", &content).id();
            assert!(server.file(&id) == content, "{bytes}");
        }
        until("all is given back", || ledger.used_bytes() == 0);
    }
}

#[test]
fn an_answer_that_nobody_reads_is_given_up() {
    let limits = Limits { write_idle_max: Duration::from_millis(200), ..Limits::default() };
    let (ledger, content) = (Ledger::new(64 << 20), noise(32 * MIB));
    let server = Server::with(Setup { limits, ledger: ledger.clone(), ..Setup::default() });
    let id = server.client().request("PUT /files/a", &content).id();
    until("uploads have given back theirs", || ledger.used_bytes() == 0);
    let mut client = server.client();
    client.send(format!("GET /files/{id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"));
    until("it is being sent", || ledger.used_bytes() > 0);
    until("it is given up", || ledger.used_bytes() == 0);
    assert!(client.rest().len() < content.len());
    assert!(server.client().request(&format!("GET /files/{id}"), b"").body == content);
}
