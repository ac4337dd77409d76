//! The first two minutes: start it with nothing configured, paste the line that it prints.

use std::error::Error;
use std::fs;
use std::process::Command;
use std::time::Duration;

use heapline_tests::digest::sha256_hex;
use heapline_tests::process::Process;
use heapline_tests::{binary, deadline, http, part};
use rustix::process::Signal;
use serde_json::Value;

type Outcome = Result<(), Box<dyn Error>>;

#[test]
fn the_printed_curl_line_can_be_pasted() -> Outcome {
    if part::available("the_printed_curl_line_can_be_pasted", part::program("curl")).is_none() {
        return Ok(());
    }
    let home = tempfile::tempdir()?;
    let mut command = Command::new(binary::path("heapline-upload")?);
    // Ports that are free, as 8000 and 6060 may not be here; all else as somebody finds it.
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).current_dir(home.path());
    command.env_remove("HEAPLINE_TOKEN").env("HOME", home.path());
    let mut server = Process::spawn("heapline-upload", command, &home.path().join("log"))?;
    server.wait_ready(Duration::from_secs(30), |log| log.contains("curl --form file=@FILE"))?;
    let log = server.log();
    let line = log.lines().find(|line| line.contains("curl --form file=@FILE")).ok_or("no curl line")?;

    fs::write(home.path().join("hello.txt"), "hello\n")?;
    let pasted = line.trim().replace("FILE", "hello.txt");
    let output = Command::new("bash").args(["-c", &pasted]).current_dir(home.path()).output()?;
    let body: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{error}: {pasted} printed {}", String::from_utf8_lossy(&output.stdout)))?;
    assert_eq!(body["files"][0]["sha256"], sha256_hex(b"hello\n"));
    let id = body["files"][0]["id"].as_str().ok_or("no id")?;

    // The file and its event are where the line above says, and the agent answers at the address that it says.
    let (_, place) = log.split_once("files in ").ok_or("no place")?;
    let store = home.path().join(place.lines().next().unwrap_or_default().trim());
    assert_eq!(fs::read(store.join("files").join(id))?, b"hello\n");
    assert!(fs::read_to_string(store.join("events.jsonl"))?.contains(id));
    let (_, admin) = log.split_once("admin on http://").ok_or("no admin address")?;
    let admin = admin.split(',').next().unwrap_or_default().trim().parse()?;
    let memory = http::get(admin, "/memory")?.json()?;
    let terms = memory["equation"].as_object().ok_or("no equation")?.values();
    assert_eq!(
        terms.map(|term| term.as_i64().unwrap_or(i64::MIN)).sum::<i64>(),
        memory["rss_bytes"].as_i64().ok_or("no RSS")?
    );

    server.signal(Signal::INT);
    let ended = deadline::eventually("SIGINT ends it", Duration::from_secs(20), || server.ended());
    assert!(ended.success(), "{ended}");
    Ok(())
}
