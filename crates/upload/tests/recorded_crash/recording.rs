//! strace's words, read as steps on the store and answers to clients.

use std::collections::HashMap;
use std::path::Path;

/// In the order of the recording.
pub(crate) struct Recording {
    pub(crate) steps: Vec<Step>,
}

/// Something that had been done at a moment; it was begun at another.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) begun: usize,
    pub(crate) what: What,
}

/// Paths are relative to the store, which is "".
#[derive(Debug)]
pub(crate) enum What {
    MakeDirectory(String),
    Create {
        path: String,
        truncate: bool,
    },
    Write {
        path: String,
        at: Option<usize>,
        bytes: Vec<u8>,
    },
    SetLength {
        path: String,
        bytes: usize,
    },
    SetAttribute {
        path: String,
        name: String,
        value: Vec<u8>,
    },
    /// With all attributes, or with the data alone.
    Sync {
        path: String,
        attributes: bool,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove(String),
    Answer(Answer),
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Id and SHA-256 of each.
    pub(crate) files: Vec<(String, String)>,
}

impl Recording {
    /// Reads what `strace -f -yy -xx` wrote: every string in hexadecimal, so that nothing in it can be mistaken.
    pub(crate) fn read(trace: &str, store: &Path) -> Self {
        let store = store.to_str().unwrap();
        let mut unfinished: HashMap<&str, (usize, String)> = HashMap::new();
        let mut steps: Vec<(usize, Step)> = Vec::new();
        for (moment, line) in trace.lines().enumerate() {
            let Some((thread, call)) = line.split_once(' ') else { continue };
            let call = call.trim_start();
            if let Some(begin) = call.strip_suffix(" <unfinished ...>") {
                unfinished.insert(thread, (moment, begin.to_owned()));
                continue;
            }
            let (begun, call) = match call.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
                None => (moment, call.to_owned()),
                Some((_, rest)) => {
                    let Some((begun, begin)) = unfinished.remove(thread) else { continue };
                    (begun, begin + rest)
                }
            };
            let Some(what) = step(&call, store) else { continue };
            // Whoever was being answered may have heard it.
            let at = if matches!(what, What::Answer(_)) { begun } else { moment };
            steps.push((at, Step { begun, what }));
        }
        steps.sort_by_key(|(at, _)| *at);
        Self { steps: steps.into_iter().map(|(_, step)| step).collect() }
    }

    pub(crate) fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.steps.iter().filter_map(|step| match &step.what {
            What::Answer(answer) => Some(answer),
            _ => None,
        })
    }
}

fn step(call: &str, store: &str) -> Option<What> {
    let (name, rest) = call.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(") ")?;
    let result: i64 = result.trim_start().strip_prefix("= ")?.split(['<', ' ']).next()?.parse().ok()?;
    if result < 0 {
        return None;
    }
    let strings: Vec<Vec<u8>> = quoted(arguments);
    let text = |n: usize| strings.get(n).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let descriptors: Vec<String> = bracketed(arguments);
    let inside = |path: &str| path.strip_prefix(store).map(|path| path.trim_start_matches('/').to_owned());
    let of = |n: usize| inside(descriptors.get(n)?);
    let below = |n: usize, name: usize| {
        let name = text(name)?;
        let path = if name.starts_with('/') { inside(&name)? } else { format!("{}/{name}", of(n)?) };
        Some(path.trim_start_matches('/').to_owned())
    };
    match name {
        "write" | "writev" | "sendto" if descriptors.first()?.starts_with("TCP") => answer(&strings.concat()),
        "write" | "writev" | "pwrite64" => {
            let at = if name == "pwrite64" { arguments.rsplit(", ").next()?.parse().ok() } else { None };
            let mut bytes = strings.concat();
            bytes.truncate(usize::try_from(result).ok()?);
            Some(What::Write { path: of(0)?, at, bytes })
        }
        "openat" if arguments.contains("O_CREAT") => {
            Some(What::Create { path: below(0, 0)?, truncate: arguments.contains("O_TRUNC") })
        }
        "mkdir" | "mkdirat" => Some(What::MakeDirectory(below(0, 0)?)),
        "ftruncate" => Some(What::SetLength { path: of(0)?, bytes: arguments.rsplit(", ").next()?.parse().ok()? }),
        "fsetxattr" => Some(What::SetAttribute { path: of(0)?, name: text(0)?, value: strings.get(1)?.clone() }),
        "fsync" | "fdatasync" => Some(What::Sync { path: of(0)?, attributes: name == "fsync" }),
        "renameat" | "renameat2" => Some(What::Rename { from: below(0, 0)?, to: below(1, 1)? }),
        "unlinkat" => Some(What::Remove(below(0, 0)?)),
        _ => None,
    }
}

fn answer(bytes: &[u8]) -> Option<What> {
    let text = String::from_utf8_lossy(bytes);
    let status = text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let files = json["files"].as_array().into_iter().flatten();
    Some(What::Answer(Answer { status, files: files.map(|file| (word(&file["id"]), word(&file["sha256"]))).collect() }))
}

/// What stands in quotation marks, out of its hexadecimal.
fn quoted(arguments: &str) -> Vec<Vec<u8>> {
    arguments.split('"').skip(1).step_by(2).map(unhex).collect()
}

/// What stands in angle brackets: where a descriptor leads.
fn bracketed(arguments: &str) -> Vec<String> {
    let ends = arguments.split('<').skip(1).filter_map(|rest| rest.split_once('>'));
    ends.map(
        |(path, _)| {
            if path.starts_with('\\') { String::from_utf8_lossy(&unhex(path)).into_owned() } else { path.to_owned() }
        },
    )
    .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.split("\\x").skip(1).map(|digits| u8::from_str_radix(&digits[..2], 16).unwrap()).collect()
}
