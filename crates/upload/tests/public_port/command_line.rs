//! The binary: exit codes, precedence of settings, signals.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;
use crate::serving::{TOKEN, until};

pub(crate) fn program(arguments: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heapline-upload"));
    command.args(arguments).current_dir(directory).env_clear();
    command
}

fn check(arguments: &[&str], variables: &[(&str, &str)], directory: &Path) -> (Option<i32>, String) {
    let mut command = program(arguments, directory);
    let Output { status, stderr, .. } = command.envs(variables.iter().copied()).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

pub(crate) struct Running {
    pub(crate) process: Child,
    /// What it printed: where it is, and the curl line.
    lines: [String; 2],
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut lines = [String::new(), String::new()];
        for line in &mut lines {
            assert_ne!(stdout.read_line(line).unwrap(), 0, "no line on stdout");
        }
        Self { process, lines }
    }

    pub(crate) fn client(&self) -> Client {
        self.client_of(" on http://")
    }

    pub(crate) fn admin_client(&self) -> Client {
        self.client_of("admin on http://")
    }

    fn client_of(&self, mark: &str) -> Client {
        let address = self.lines[0].split_once(mark).unwrap().1.split_once(',').unwrap().0;
        Client::connect(address.parse().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    fn exit_code(mut self) -> Option<i32> {
        let mut code = None;
        until("the process ends", || {
            code = self.process.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn check_says_0_or_64_in_one_line_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    std::fs::write(dir.join("token"), "secret\n").unwrap();
    std::fs::write(dir.join("good.toml"), "max_file = \"1GiB\"\nlisten = \"0.0.0.0:1\"\ntoken-file = \"token\"\n")
        .unwrap();
    std::fs::write(dir.join("unknown.toml"), "max-fiel = 1\n").unwrap();
    std::fs::write(dir.join("bad.toml"), "drain = 30\n").unwrap();
    let files = || std::fs::read_dir(dir).unwrap().count();
    let before = files();
    for (arguments, variables, code, part) in [
        (&["--check"][..], &[][..], 0, ""),
        (&["--check", "--config", "good.toml"], &[], 0, ""),
        (&["--check"], &[("HEAPLINE_CONFIG", "good.toml")], 0, ""),
        (&["--check", "--listen", "0.0.0.0:1"], &[("HEAPLINE_TOKEN", "t")], 0, ""),
        (&["--check", "--listen", "0.0.0.0:1"], &[], 64, "--token-file"),
        (&["--check", "--token-file", "missing"], &[], 64, "missing"),
        (&["--check"], &[("HEAPLINE_TOKEN", " ")], 64, "HEAPLINE_TOKEN"),
        (&["--check"], &[("HEAPLINE_MAX_BODY", "much")], 64, "--max-body"),
        (&["--check", "--config", "unknown.toml"], &[], 64, "max-fiel"),
        (&["--check", "--config", "bad.toml"], &[], 64, "bad.toml"),
        (&["--check", "--config", "bad.toml", "--drain", "1s"], &[], 64, "bad.toml"),
        (&["--check", "--config", "absent.toml"], &[], 64, "absent.toml"),
        (&["--check", "--memory-budget", "1KiB"], &[], 64, "--memory-budget"),
        (&["--check", "--growthbook-url", "http://gb"], &[], 64, "--growthbook-client-key"),
        (&["--check", "--growthbook-url", "https://gb"], &[], 64, "https"),
        (&["--check", "--store", "token"], &[], 64, "--store"),
        (&["--check", "--store", "token/below"], &[], 64, "--store"),
        (&["--check", "--store", "not/there/yet"], &[], 0, ""),
        (&["--frobnicate"], &[], 64, "--frobnicate"),
    ] {
        let (exit, stderr) = check(arguments, variables, dir);
        assert_eq!(exit, Some(code), "{arguments:?} {variables:?}: {stderr}");
        assert_eq!(stderr.lines().count(), usize::from(code != 0), "{stderr}");
        assert!(stderr.contains(part), "{arguments:?}: {stderr}");
    }
    assert_eq!(files(), before);
}

#[test]
fn help_and_version_exit_0() {
    let directory = tempfile::tempdir().unwrap();
    for (flag, part) in [("--help", "--max-connections"), ("--version", "heapline-upload ")] {
        let Output { status, stdout, .. } = program(&[flag], directory.path()).output().unwrap();
        assert!(status.success() && String::from_utf8(stdout).unwrap().contains(part));
    }
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    std::fs::write(dir.join("c.toml"), "store = \"of-file\"\n").unwrap();
    for (flags, variable, expected) in [
        (&["--config", "c.toml"][..], None, "of-file"),
        (&["--config", "c.toml"], Some("of-environment"), "of-environment"),
        (&["--config", "c.toml", "--store", "of-flag"], Some("of-environment"), "of-flag"),
        (&[], None, "heapline-store"),
    ] {
        let mut command = program(flags, dir);
        command.envs(variable.map(|value| ("HEAPLINE_STORE", value)));
        let running = Running::start(command);
        assert!(running.lines[0].trim_end().ends_with(&format!("files in {expected}")), "{:?}", running.lines);
        assert!(dir.join(expected).join("files").is_dir());
    }
}

#[test]
fn a_made_token_is_shown_and_works_and_a_given_one_is_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let running = Running::start(program(&[], directory.path()));
    let secret = running.lines[1].split_once("Bearer ").unwrap().1.split_once('\'').unwrap().0;
    assert!(running.lines[1].starts_with("curl --form file=@FILE -H 'Authorization: Bearer "));
    let head = |secret: &str| {
        format!("PUT /files/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\nContent-Length: 1\r\n\r\na")
    };
    assert_eq!(running.client().send(head(secret)).answer().status, 201);
    assert_eq!(running.client().send(head(TOKEN)).answer().status, 401);
    drop(running);

    let mut command = program(&[], directory.path());
    command.env("HEAPLINE_TOKEN", TOKEN);
    let running = Running::start(command);
    assert!(!running.lines.concat().contains(TOKEN));
    assert_eq!(running.client().send(head(TOKEN)).answer().status, 201);
}

#[test]
fn one_signal_drains_and_a_second_leaves_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = program(&["--drain", "20s"], directory.path());
        command.env("HEAPLINE_TOKEN", TOKEN);
        Running::start(command)
    };
    let half =
        format!("PUT /files/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 6\r\n\r\nabc");
    let spool = directory.path().join("heapline-store/spool");
    let in_flight = || std::fs::read_dir(&spool).unwrap().count() == 1;
    let draining = |running: &Running| {
        // A connection that the signal finds without a request is closed without an answer.
        until("it drains", || {
            let mut client = running.client();
            client.send_or_not("GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            String::from_utf8_lossy(&client.rest()).starts_with("HTTP/1.1 503")
        });
    };

    for signal in [Signal::TERM, Signal::INT] {
        let running = start();
        let mut uploading = running.client();
        uploading.send(&half);
        until("an upload is in flight", in_flight);
        running.signal(signal);
        draining(&running);
        assert_eq!(uploading.send("def").answer().status, 201);
        assert_eq!(running.exit_code(), Some(0));
    }

    let running = start();
    let mut uploading = running.client();
    uploading.send(&half);
    until("an upload is in flight", in_flight);
    running.signal(Signal::TERM);
    draining(&running);
    running.signal(Signal::TERM);
    assert_eq!(running.exit_code(), Some(130));
}
