//! Uploads by the clients that people use: curl, Python's requests, a browser's form.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use heapline_tests::browser::Browser;
use heapline_tests::digest::sha256_hex;
use heapline_tests::form_page::FormPage;
use heapline_tests::service::{Service, TOKEN};
use heapline_tests::{deadline, http, part};
use serde_json::Value;

type Outcome = Result<(), Box<dyn Error>>;

#[test]
fn curl_uploads_one_file_and_gets_it_back() -> Outcome {
    let Some(curl) = part::available("curl_uploads_one_file_and_gets_it_back", part::program("curl")) else {
        return Ok(());
    };
    let server = Service::upload(&[])?;
    let files = tempfile::tempdir()?;
    let content = pseudo_random(1_300_000);
    let path = files.path().join("report.pdf");
    fs::write(&path, &content)?;

    let output = Command::new(&curl)
        .args(["--silent", "--show-error", "--include", "--form"])
        .arg(format!("file=@{}", path.display()))
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .arg(format!("http://{}/upload", server.listen()))
        .output()?;
    let answer = String::from_utf8(output.stdout)?;
    let (head, body) = answer.rsplit_once("\r\n\r\n").ok_or("no head")?;
    assert!(head.contains(" 201 "), "{answer}");
    let body: Value = serde_json::from_str(body)?;
    let file = &body["files"][0];
    assert_eq!(file["field"], "file");
    assert_eq!(file["filename"], "report.pdf");
    assert_eq!(file["bytes"], 1_300_000);
    assert_eq!(file["sha256"], sha256_hex(&content));
    let url = file["url"].as_str().ok_or("no url")?;
    assert!(head.to_lowercase().contains(&format!("location: {}", url.to_lowercase())), "{head}");
    assert_eq!(url, format!("/files/{}", file["id"].as_str().ok_or("no id")?));

    let back = fetch(&server, url)?;
    assert_eq!(back.body, content);
    let event = events(&server)?.remove(file["id"].as_str().ok_or("no id")?).ok_or("no event")?;
    assert_eq!(event["data"]["sha256"], sha256_hex(&content));
    assert_eq!(event["data"]["status"], "stored");
    assert_eq!(event["specversion"], "1.0");
    Ok(())
}

#[test]
fn curl_sends_two_files_a_field_and_an_empty_input_in_one_form() -> Outcome {
    let test = "curl_sends_two_files_a_field_and_an_empty_input_in_one_form";
    let Some(curl) = part::available(test, part::program("curl")) else { return Ok(()) };
    let server = Service::upload(&[])?;
    let files = tempfile::tempdir()?;
    let names = ["Übergrößen – 数据.txt", "quo\"te.bin"];
    let contents = [b"first".to_vec(), pseudo_random(70_000)];
    let mut command = Command::new(&curl);
    command.args(["--silent", "--show-error", "--fail-with-body", "--form", "note=hello"]);
    for (name, content) in names.iter().zip(&contents) {
        let path = files.path().join(name.replace('"', "_"));
        fs::write(&path, content)?;
        command.arg("--form").arg(format!("file=@{};filename=\"{}\"", path.display(), name.replace('"', "\\\"")));
    }
    let empty = files.path().join("empty.dat");
    fs::write(&empty, b"")?;
    command.arg("--form").arg(format!("other=@{}", empty.display()));
    command.args(["--header", &format!("Authorization: Bearer {TOKEN}")]);
    let output = command.arg(format!("http://{}/upload", server.listen())).output()?;
    let body: Value = serde_json::from_slice(&output.stdout)?;

    let stored = body["files"].as_array().ok_or("no files")?;
    assert_eq!(stored.len(), 3, "{body}");
    for ((file, name), content) in stored.iter().zip(names).zip(&contents) {
        assert_eq!(file["filename"], name);
        assert_eq!(file["sha256"], sha256_hex(content));
        assert_eq!(&fetch(&server, file["url"].as_str().ok_or("no url")?)?.body, content);
    }
    assert_eq!((&stored[2]["filename"], &stored[2]["bytes"]), (&"empty.dat".into(), &0.into()));
    assert_eq!(stored[2]["sha256"], sha256_hex(b""));
    assert_eq!(events(&server)?.len(), 3);
    Ok(())
}

#[test]
fn curl_with_a_wrong_token_is_refused_before_it_sends_the_body() -> Outcome {
    let test = "curl_with_a_wrong_token_is_refused_before_it_sends_the_body";
    let Some(curl) = part::available(test, part::program("curl")) else { return Ok(()) };
    let server = Service::upload(&[])?;
    let files = tempfile::tempdir()?;
    let path = files.path().join("large.bin");
    fs::write(&path, pseudo_random(8_000_000))?;
    let output = Command::new(&curl)
        .args(["--silent", "--verbose", "--expect100-timeout", "20", "--header", "Expect: 100-continue"])
        .args(["--write-out", "\n%{http_code} %{size_upload}", "--header", "Authorization: Bearer wrong", "--form"])
        .arg(format!("file=@{}", path.display()))
        .arg(format!("http://{}/upload", server.listen()))
        .output()?;
    let (answer, trace) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(answer.ends_with("\n401 0"), "{answer}");
    assert!(!trace.contains("100 Continue"), "{trace}");
    assert!(trace.to_lowercase().contains("www-authenticate: bearer"), "{trace}");
    assert!(trace.to_lowercase().contains("application/problem+json"), "{trace}");
    nothing_is_left(&server.store())
}

#[test]
fn python_requests_uploads_a_form() -> Outcome {
    let test = "python_requests_uploads_a_form";
    // Debian's own Python is the one that has Debian's requests.
    let python = Path::new("/usr/bin/python3");
    let has_requests = Command::new(python).args(["-c", "import requests"]).stderr(Stdio::null()).status();
    let requests = match has_requests {
        Ok(status) if status.success() => Ok(python),
        _ => Err(part::Missing { part: "python3-requests".to_owned(), why: "/usr/bin/python3 has none".to_owned() }),
    };
    let Some(python) = part::available(test, requests) else { return Ok(()) };
    let server = Service::upload(&[])?;
    let script = r#"
import hashlib, io, requests, sys
url, token = sys.argv[1:]
first, second = bytes(range(256)) * 5000, b"\r\n--\r\n" * 1000
answer = requests.post(url, headers={"Authorization": "Bearer " + token}, data={"comment": "ünï"}, files=[
    ("a", ("naïve.bin", io.BytesIO(first), "application/octet-stream")),
    ("b", ("b.txt", second))])
assert answer.status_code == 201, (answer.status_code, answer.text)
files = answer.json()["files"]
assert [f["field"] for f in files] == ["a", "b"], files
assert [f["filename"] for f in files] == ["naïve.bin", "b.txt"], files
assert [f["sha256"] for f in files] == [hashlib.sha256(x).hexdigest() for x in (first, second)], files
# Without a length: chunks, as a generator is sent.
again = requests.put(url.replace("/upload", "/files/streamed.bin"), headers={"Authorization": "Bearer " + token},
                     data=(first[i:i + 7777] for i in range(0, len(first), 7777)))
assert again.status_code == 201, (again.status_code, again.text)
assert again.json()["files"][0]["sha256"] == hashlib.sha256(first).hexdigest(), again.text
"#;
    let url = format!("http://{}/upload", server.listen());
    let output = Command::new(python).args(["-c", script, &url, TOKEN]).output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(events(&server)?.len(), 3);
    Ok(())
}

/// A browser's form cannot carry a bearer token, so, as in production, something in front adds it: here a page that
/// hands the form's own bytes on.
#[test]
fn a_browsers_form_is_stored() -> Outcome {
    let Some(browser) = part::available("a_browsers_form_is_stored", Browser::find()) else { return Ok(()) };
    let server = Service::upload(&[])?;
    let page = FormPage::start(server.listen(), TOKEN)?;
    let _session = browser.open(&format!("http://{}/", page.address()))?;
    let answer = deadline::eventually("the form is sent and answered", Duration::from_secs(60), || page.answer());
    assert_eq!(answer.status, 201, "{}", answer.text());
    let body = answer.json()?;
    let stored = body["files"].as_array().ok_or("no files")?;
    // The input that was left empty is no file.
    assert_eq!(stored.len(), 2, "{body}");
    assert_eq!(stored[0]["filename"], "Grüße \"1\".txt");
    assert_eq!(stored[0]["sha256"], sha256_hex("Grüße aus dem Formular\n".as_bytes()));
    assert_eq!(stored[1]["filename"], "bytes.bin");
    assert_eq!(stored[1]["bytes"], 300_000);
    Ok(())
}

fn fetch(server: &Service, url: &str) -> Result<http::Response, Box<dyn Error>> {
    let answer = http::request(server.listen(), "GET", url, &[("Authorization", &format!("Bearer {TOKEN}"))], &[])?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(answer)
}

fn events(server: &Service) -> Result<BTreeMap<String, Value>, Box<dyn Error>> {
    let lines = fs::read_to_string(server.store().join("events.jsonl"))?;
    let mut events = BTreeMap::new();
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line)?;
        events.insert(event["data"]["id"].as_str().ok_or("an event without id")?.to_owned(), event);
    }
    Ok(events)
}

fn nothing_is_left(store: &Path) -> Outcome {
    for directory in ["files", "spool"] {
        let left: Vec<_> = fs::read_dir(store.join(directory))?.collect();
        assert!(left.is_empty(), "{directory} holds {left:?}");
    }
    Ok(())
}

fn pseudo_random(bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}
