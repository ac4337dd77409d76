use std::path::Path;

use clap::Command;
use toml::{Table, Value};

use super::Stop;

/// What a file cannot hold: itself, and what only makes sense once.
const FLAGS_ONLY: [&str; 4] = ["config", "check", "help", "version"];

/// The one flag that is a table here.
const TABLE_FLAG: &str = "kafka-config";

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One setting of the file as its flag would read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) flag: String,
    pub(super) value: String,
}

pub(super) fn read(path: &Path, command: &Command) -> Result<Vec<Setting>, Stop> {
    let refused = |what: String| Stop::Refused(format!("{}: {what}", path.display()));
    let bytes = std::fs::metadata(path).map_err(|error| refused(error.to_string()))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(refused(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    settings(&text, command).map_err(refused)
}

fn settings(text: &str, command: &Command) -> Result<Vec<Setting>, String> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        format!("line {}: {}", line.unwrap_or(1), error.message().replace('\n', " "))
    })?;
    let mut settings: Vec<Setting> = Vec::new();
    for (key, value) in table {
        let flag = key.replace('_', "-");
        let known = command.get_arguments().any(|argument| argument.get_long() == Some(&flag));
        if !known || FLAGS_ONLY.contains(&flag.as_str()) {
            return Err(format!("unknown key '{key}'"));
        }
        if settings.iter().any(|setting| setting.flag == flag) {
            return Err(format!("'{key}' is there twice, with - and with _"));
        }
        if let (TABLE_FLAG, Value::Table(table)) = (flag.as_str(), &value) {
            pairs(table, "", &mut |key, value| {
                settings.push(Setting { flag: flag.clone(), value: format!("{key}={value}") })
            })?;
            continue;
        }
        let value = scalar(&value).ok_or_else(|| format!("'{key}' must be a string or a whole number"))?;
        settings.push(Setting { flag, value });
    }
    Ok(settings)
}

/// A table's entries; dots make tables of keys without quotes, so they are put together again.
fn pairs(table: &Table, prefix: &str, found: &mut impl FnMut(&str, &str)) -> Result<(), String> {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        match value {
            Value::Table(inner) => pairs(inner, &format!("{key}."), found)?,
            Value::Boolean(value) => found(&key, &value.to_string()),
            other => found(&key, &scalar(other).ok_or_else(|| format!("'{key}' must be a string or a whole number"))?),
        }
    }
    Ok(())
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::Config;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        let settings = settings(text, &Config::command())?;
        let mut pairs: Vec<_> = settings.into_iter().map(|setting| (setting.flag, setting.value)).collect();
        pairs.sort();
        Ok(pairs)
    }

    #[test]
    fn keys_are_flags_with_either_sign() {
        let pair = |flag: &str, value: &str| (flag.to_owned(), value.to_owned());
        assert_eq!(
            read("max-file = \"1GiB\"\nmax_connections = 7\n"),
            Ok(vec![pair("max-connections", "7"), pair("max-file", "1GiB")])
        );
        assert_eq!(
            read("[kafka-config]\nlinger.ms = 5\n\"sasl.password\" = \"p=q\"\n"),
            Ok(vec![pair("kafka-config", "linger.ms=5"), pair("kafka-config", "sasl.password=p=q")])
        );
        assert_eq!(read("# nothing\n"), Ok(vec![]));
    }

    #[test]
    fn what_a_file_cannot_say() {
        for (text, part) in [
            ("max-fiel = 1", "unknown key 'max-fiel'"),
            ("token = \"x\"", "unknown key 'token'"),
            ("check = true", "unknown key 'check'"),
            ("config = \"x\"", "unknown key"),
            ("max-file = 1\nmax_file = 2", "twice"),
            ("max-file = 1.5", "string or a whole number"),
            ("\nmax-file = ", "line 2"),
            ("[upload]\nlisten = 1", "unknown key 'upload'"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(part) && !error.contains('\n'), "{text:?}: {error}");
        }
    }
}
