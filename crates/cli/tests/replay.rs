//! `heapline replay` from outside: what it prints, and how it refuses.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn replay(arguments: &[&str], input: &str) -> Output {
    replay_in_chunks(arguments, input, usize::MAX)
}

fn replay_in_chunks(arguments: &[&str], input: &str, chunk_bytes: usize) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_heapline"))
        .arg("replay")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    // A refusal may come before all is read.
    let writer =
        std::thread::spawn(move || input.as_bytes().chunks(chunk_bytes).all(|chunk| stdin.write_all(chunk).is_ok()));
    let output = child.wait_with_output().expect("ends");
    writer.join().expect("no panic");
    output
}

fn lines(output: &Output) -> Vec<serde_json::Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A leak of 100 KB/s from the tenth minute on.
fn leak() -> Vec<(f64, i64)> {
    (0..600)
        .map(|step| f64::from(step) * 10.0)
        .map(|t| (t, 50_000_000 + (100_000.0 * (t - 600.0).max(0.0)) as i64))
        .collect()
}

fn csv() -> String {
    let rows = leak().into_iter().map(|(seconds, bytes)| format!("{seconds},{bytes},1000000000\n"));
    format!("seconds,rss_bytes,limit_bytes\n{}", rows.collect::<String>())
}

#[test]
fn a_leak_is_told_with_its_slope() {
    let told = lines(&replay(&["-"], &csv()));
    let verdicts: Vec<_> = told.iter().map(|line| line["verdict"].as_str().expect("text")).collect();
    assert_eq!(verdicts, ["warming_up", "flat", "climbing"]);
    let climb = &told[2];
    let seconds = climb["seconds"].as_f64().expect("number");
    assert!((600.0..=1_200.0).contains(&seconds), "{climb}");
    for (field, low, high) in
        [("slope_bytes_per_second", 9.5e4, 10.5e4), ("slope_low", 5e4, 1e5), ("slope_high", 1e5, 1.5e5)]
    {
        assert!((low..=high).contains(&climb[field].as_f64().expect(field)), "{climb}");
    }
    let truth = (1e9 - 50e6 - 1e5 * (seconds - 600.0)) / 1e5;
    let time = climb["time_to_limit_seconds"].as_f64().expect("number");
    assert!((time / truth - 1.0).abs() < 0.1, "{climb}");
    assert!(climb["evidence"].as_str().is_some_and(|text| text.contains("limit")), "{climb}");
}

#[test]
fn prometheus_says_the_same_as_csv() {
    let values: Vec<_> = leak().iter().map(|(seconds, bytes)| format!("[{seconds},\"{bytes}\"]")).collect();
    let json = format!(
        r#"{{"status":"success","data":{{"resultType":"matrix","result":[
           {{"metric":{{"__name__":"process_resident_memory_bytes"}},"values":[{}]}}]}}}}"#,
        values.join(",")
    );
    assert_eq!(lines(&replay(&["-", "--limit", "1GB"], &json)), lines(&replay(&["-", "--limit", "1GB"], &csv())));
}

#[test]
fn a_prefix_of_a_trace_gets_a_prefix_of_the_answers() {
    let text = csv();
    let all = lines(&replay(&["-"], &text));
    for rows in [2, 70, 150, 400] {
        let prefix: String = text.lines().take(rows).map(|line| format!("{line}\n")).collect();
        let some = lines(&replay(&["-"], &prefix));
        assert_eq!(all[..some.len()], some);
    }
}

#[test]
fn how_the_input_is_cut_does_not_matter() {
    let whole = replay(&["-"], &csv()).stdout;
    for chunk_bytes in [1, 7, 4_096] {
        assert_eq!(replay_in_chunks(&["-"], &csv(), chunk_bytes).stdout, whole, "{chunk_bytes}");
    }
}

#[test]
fn every_says_the_state_between_changes() {
    let told = lines(&replay(&["-", "--every", "10m"], &csv()));
    assert!(told.len() >= 10, "{told:?}");
    assert!(told.windows(2).all(|pair| pair[0]["seconds"].as_f64() < pair[1]["seconds"].as_f64()));
}

#[test]
fn a_bad_command_line_exits_64_with_one_line() {
    for arguments in [
        &["-", "--limit", "many"][..],
        &["-", "--limit", "0"],
        &["-", "--every", "soon"],
        &["-", "--speed"],
        &[],
        &["/nowhere"],
    ] {
        let output = replay(arguments, "");
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(text.trim_end().lines().count(), 1, "{arguments:?}: {text}");
    }
}

#[test]
fn bad_input_exits_65_with_one_line_that_names_file_and_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("trace.csv");
    for (text, expected) in [
        ("", "empty"),
        ("a,b\n1,2\n", "must name seconds"),
        ("seconds,rss_bytes\n1,2\n2,x\n", "line 3"),
        ("{\"status\":", "JSON"),
    ] {
        fs::write(&path, text).expect("written");
        let output = replay(&[Path::to_str(&path).expect("UTF-8")], "");
        assert_eq!(output.status.code(), Some(65), "{text:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("trace.csv") && said.contains(expected), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
}
