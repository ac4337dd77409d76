//! Settings: flags, then the environment, then a TOML file, then defaults.

mod bucket;
mod file;
mod store;
mod token;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser};
use heapline::quantity::{parse_duration, parse_size};

use crate::admission::Limits;
use crate::flags::{self, Endpoint, Origin};
use crate::ledger::BUDGET_BYTES_MIN;
use crate::outbox::{KafkaOptions, KafkaSetting, KafkaSettings, OUTBOX_BYTES_MIN};
use crate::spool::{Setting, Source};
use crate::store::{Durability, Place, RoomLimits};

pub use token::{Access, TOKEN_VARIABLE};

/// Exit status of a refused command line, environment or file (`EX_USAGE`).
pub const EXIT_USAGE: u8 = 64;

/// An upload server whose memory line stays flat.
///
/// Files come by `POST /upload` (multipart/form-data) or `PUT /files/<filename>`, and are stored whole or not at all.
/// Every setting may also be given in the environment, or in a TOML file under its flag's name; a flag beats the
/// environment, which beats the file. Sizes read 64MiB, 5GiB or 1048576; durations 500ms, 30s or 10m.
/// The bearer token comes from --token-file or from HEAPLINE_TOKEN; a loopback server that is given none makes one.
#[derive(Clone, Debug, Parser)]
#[command(name = "heapline-upload", version, disable_help_subcommand = true)]
pub struct Config {
    /// Address of the public port. Port 0 takes a free one. Other than loopback needs a token
    #[arg(long, env = "HEAPLINE_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,

    /// Address of the admin port: /metrics, /memory, /debug/pprof/. It has no token: keep it private [default: 127.0.0.1:6060]
    #[arg(long, env = "HEAPLINE_ADMIN", value_name = "ADDRESS")]
    pub admin: Option<SocketAddr>,

    /// Where stored files and undelivered events are: a directory, made where missing, or s3://bucket/prefix, which any
    /// number of servers share. Uploads cost one write of their size; to a bucket, three requests a file and two a form too
    #[arg(long, env = "HEAPLINE_STORE", value_name = "DIRECTORY|S3-URL", default_value = "heapline-store")]
    pub store: Place,

    /// Directory of this server's own while --store is a bucket: files on their way, events that wait for Kafka. Needs
    /// room for the uploads in flight
    #[arg(long, env = "HEAPLINE_SPOOL_DIR", value_name = "DIRECTORY", default_value = "heapline-spool")]
    pub spool_dir: PathBuf,

    /// Address of an S3-compatible store, http://host:port or https://host [default: AWS]. Plain http only to loopback,
    /// unless --s3-plain-http any. Keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from the machine's role
    #[arg(long, env = "HEAPLINE_S3_ENDPOINT", value_name = "URL", value_parser = bucket::endpoint)]
    pub s3_endpoint: Option<String>,

    /// Region that requests are signed for
    #[arg(long, env = "HEAPLINE_S3_REGION", value_name = "NAME", value_parser = bucket::region, default_value = "us-east-1")]
    pub s3_region: String,

    /// How a bucket is addressed: path, endpoint/bucket/key; virtual, bucket.endpoint/key [default: path with
    /// --s3-endpoint, else virtual]
    #[arg(long, env = "HEAPLINE_S3_ADDRESSING", value_name = "STYLE", value_parser = ["path", "virtual"])]
    pub s3_addressing: Option<String>,

    /// Where a store may be reached by plain http: loopback only, or any address, which shows stored files to the network
    #[arg(long, env = "HEAPLINE_S3_PLAIN_HTTP", value_name = "WHERE", value_parser = ["loopback", "any"], default_value = "loopback")]
    pub s3_plain_http: String,

    /// File that holds the bearer token; white space around it is dropped
    #[arg(long, env = "HEAPLINE_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Kafka brokers that events go to, host:port, separated by commas. Without it events go to events.jsonl in the store
    #[arg(long, env = "HEAPLINE_KAFKA", value_name = "BROKERS", value_parser = brokers)]
    pub kafka: Option<String>,

    /// Kafka topic of the events
    #[arg(long, env = "HEAPLINE_TOPIC", value_name = "NAME", value_parser = topic, default_value = "statusNew")]
    pub topic: String,

    /// Disk for events that wait for Kafka, a size, 1MiB at least; about 330 bytes an event. When it is full, uploads are
    /// refused with 503 until some are delivered
    #[arg(long, env = "HEAPLINE_OUTBOX_MAX", value_name = "SIZE", value_parser = outbox, default_value = "256MiB")]
    pub outbox_max: u64,
    /// A setting of librdkafka, repeatable; in the environment one a line, in the file a table [kafka-config]. Those that
    /// delivery and memory bounds rest on are refused. This build speaks PLAINTEXT and SASL_PLAINTEXT, not TLS
    #[arg(long, env = "HEAPLINE_KAFKA_CONFIG", value_name = "KEY=VALUE", value_delimiter = '\n')]
    pub kafka_config: Vec<KafkaSetting>,

    /// Memory at which this process would be killed, a size [default: the cgroup's limit, else the host's memory]
    #[arg(long, env = "HEAPLINE_MEMORY_LIMIT", value_name = "SIZE", value_parser = positive_size)]
    pub memory_limit: Option<u64>,

    /// Memory for uploads in flight, a size, 1MiB at least: read buffers, batches on their way to the disk, files held
    /// in memory. Where it is spent, files go to the disk, then new uploads wait up to 5 s, then get 503
    #[arg(long, env = "HEAPLINE_MEMORY_BUDGET", value_name = "SIZE", value_parser = budget, default_value = "64MiB")]
    pub memory_budget: u64,

    /// Files up to this size stay in memory, within the budget, until they are whole; 0 writes them as they come. A
    /// refused or cut upload of such a file costs no disk write [default: 0]
    #[arg(long, env = "HEAPLINE_SPOOL_THRESHOLD", value_name = "SIZE", value_parser = parse_size)]
    pub spool_threshold: Option<u64>,

    /// GrowthBook's address, http://host:port, whose flag request-parse-multipart-form, in MB of 2^20 bytes, takes the
    /// place of --spool-threshold. Costs a small request every 4 s; https is not spoken
    #[arg(long, env = "HEAPLINE_GROWTHBOOK_URL", value_name = "URL")]
    pub growthbook_url: Option<Endpoint>,

    /// Client key of GrowthBook's SDK connection
    #[arg(long, env = "HEAPLINE_GROWTHBOOK_CLIENT_KEY", value_name = "KEY")]
    pub growthbook_client_key: Option<String>,

    /// File that holds the flag in place of GrowthBook, in the same JSON; looked at every 4 s
    #[arg(long, env = "HEAPLINE_FLAGS_FILE", value_name = "FILE")]
    pub flags_file: Option<PathBuf>,

    /// Attributes that the flag's rules may ask about, name=value, separated by commas; beside id and hostname (the
    /// host's name), service (heapline-upload) and version
    #[arg(long, env = "HEAPLINE_FLAGS_ATTRIBUTES", value_name = "ATTRIBUTES", value_parser = attributes)]
    pub flags_attributes: Option<Attributes>,

    /// Largest file, a size. Costs no memory: files are streamed
    #[arg(long, env = "HEAPLINE_MAX_FILE", value_name = "SIZE", value_parser = positive_size, default_value = "5GiB")]
    pub max_file: u64,

    /// Largest request body, a size. Costs no memory either
    #[arg(long, env = "HEAPLINE_MAX_BODY", value_name = "SIZE", value_parser = positive_size, default_value = "5GiB")]
    pub max_body: u64,

    /// Most bytes of all stored files, a size; beyond it uploads get 507 before their body is read. Of a directory only.
    /// Costs a walk over the stored files at the start, beside the uploads [default: none]
    #[arg(long, env = "HEAPLINE_QUOTA", value_name = "SIZE", value_parser = positive_size)]
    pub quota: Option<u64>,

    /// Bytes of the disk that uploads leave free, a size; an upload that would not gets 507 before its body is read
    /// [default: 1% of the disk, 64MiB at most]
    #[arg(long, env = "HEAPLINE_DISK_RESERVE", value_name = "SIZE", value_parser = parse_size)]
    pub disk_reserve: Option<u64>,

    /// Connections served at once, a number from 1 to 1000000; more wait. An idle one costs about 14 KB, an upload in
    /// flight what --memory-budget has for it
    #[arg(long, env = "HEAPLINE_MAX_CONNECTIONS", value_name = "NUMBER", value_parser = connections, default_value = "4096")]
    pub max_connections: usize,

    /// How long uploads in flight may go on after SIGTERM, a duration; then they are cut
    #[arg(long, env = "HEAPLINE_DRAIN", value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    pub drain: Duration,

    /// What a 201 promises: fsync, file and event survive a power cut, at the cost of the disk's sync time; none, they
    /// survive this process only
    #[arg(long, env = "HEAPLINE_DURABILITY", value_name = "PROMISE", value_parser = durability(), default_value = "fsync")]
    pub durability: Durability,

    /// Digest of stored files. sha256 costs about 0.6 s of a core per GB; none leaves "sha256" null
    #[arg(long, env = "HEAPLINE_DIGEST", value_name = "ALGORITHM", value_parser = digest(), action = ArgAction::Set, default_value = "sha256")]
    pub digest: bool,

    /// TOML file with any of these settings, under the flags' names, with - or _
    #[arg(long, env = "HEAPLINE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Check every setting and exit, 0 or 64; binds and writes nothing
    #[arg(long)]
    pub check: bool,
}

/// Names and values: numbers and true or false as such, anything else as text.
pub type Attributes = serde_json::Map<String, serde_json::Value>;

/// Why there is no configuration to run with.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stop {
    /// `--help` or `--version`: print this and exit 0.
    #[error("{0}")]
    Print(String),
    /// A setting that cannot be used, in one line: exit [`EXIT_USAGE`].
    #[error("{0}")]
    Refused(String),
}

impl Config {
    /// Reads flags, the environment and the file that they name.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn load(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Stop> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let given = Self::command().try_get_matches_from(&arguments).map_err(stop)?;
        let config = Self::from_arg_matches(&given).map_err(stop)?;
        let Some(path) = &config.config else {
            return Ok(config);
        };
        let settings = file::read(path, &Self::command())?;
        let program = arguments.first().cloned().unwrap_or_default();
        let in_file = |settings: &mut dyn Iterator<Item = &file::Setting>| {
            settings.map(|setting| OsString::from(format!("--{}={}", setting.flag, setting.value))).collect::<Vec<_>>()
        };
        // Alone first, so that a bad value is blamed on the file even where a flag beats it.
        let alone = [vec![program], in_file(&mut settings.iter())].concat();
        Self::try_parse_from(alone)
            .map_err(|error| Stop::Refused(format!("{}: {}", path.display(), one_line(&error))))?;
        let beaten = |setting: &file::Setting| {
            use clap::parser::ValueSource::{CommandLine, EnvVariable};
            matches!(given.value_source(&setting.flag.replace('-', "_")), Some(CommandLine | EnvVariable))
        };
        let rest = in_file(&mut settings.iter().filter(|setting| !beaten(setting)));
        Self::try_parse_from([arguments, rest].concat()).map_err(stop)
    }

    /// What `--check` finds out beyond the settings themselves.
    ///
    /// # Errors
    /// [`Stop::Refused`] where the store's directory exists and is none, or could not be written.
    pub fn check_store(&self) -> Result<(), Stop> {
        let flag = if matches!(self.store, Place::Bucket { .. }) { "--spool-dir" } else { "--store" };
        store::check(flag, self.local_dir())
    }

    /// The directory on this machine: of the store, or of what is on its way to it.
    pub fn local_dir(&self) -> &Path {
        match &self.store {
            Place::Directory(dir) => dir,
            Place::Bucket { .. } => &self.spool_dir,
        }
    }

    /// The server's bounds: those that can be set, and the others.
    pub fn limits(&self) -> Limits {
        Limits {
            file_bytes_max: self.max_file,
            body_bytes_max: self.max_body,
            connections_max: self.max_connections,
            ..Limits::default()
        }
    }

    /// What may be filled.
    pub fn room(&self) -> RoomLimits {
        RoomLimits { quota_bytes: self.quota, reserve_bytes: self.disk_reserve }
    }

    /// How much of a file stays in memory, before any flag says otherwise.
    pub fn threshold(&self) -> Setting {
        match self.spool_threshold {
            Some(bytes) => Setting { bytes, source: Source::Config },
            None if self.growthbook_url.is_some() || self.flags_file.is_some() => {
                Setting { bytes: flags::DEFAULT_MB << 20, source: Source::Default }
            }
            None => Setting { bytes: 0, source: Source::Default },
        }
    }

    /// Where the live flag is, if there is one.
    ///
    /// # Errors
    /// [`Stop::Refused`] where the settings do not go together, whichever of flags, environment and file they are from.
    pub fn flags(&self) -> Result<Option<Origin>, Stop> {
        let refused = |what: &str| Err(Stop::Refused(what.to_owned()));
        match (&self.growthbook_url, &self.growthbook_client_key, &self.flags_file) {
            (None, None, None) => Ok(None),
            (None, None, Some(path)) => Ok(Some(Origin::File(path.clone()))),
            (_, _, Some(_)) => refused("--flags-file takes the place of --growthbook-url: give one of them"),
            (Some(endpoint), Some(key), None) => match endpoint.clone().with_client_key(key) {
                Ok(endpoint) => Ok(Some(Origin::GrowthBook(endpoint))),
                Err(error) => refused(&format!("--growthbook-client-key: {error}")),
            },
            _ => refused("--growthbook-url and --growthbook-client-key need each other"),
        }
    }

    /// What the live flag's rules may ask about.
    pub fn attributes(&self) -> Attributes {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let own =
            [("id", host.clone()), ("hostname", host), ("service", "heapline-upload".to_owned()), ("version", version)];
        let mut attributes: Attributes = own.map(|(name, value)| (name.to_owned(), value.into())).into_iter().collect();
        attributes.extend(self.flags_attributes.clone().unwrap_or_default());
        attributes
    }

    /// Where events go, if to Kafka.
    ///
    /// # Errors
    /// [`Stop::Refused`] where librdkafka does not take a setting.
    pub fn kafka(&self) -> Result<Option<KafkaOptions>, Stop> {
        let settings = KafkaSettings::new(&self.kafka_config);
        let settings = settings.map_err(|error| Stop::Refused(format!("--kafka-config: {error}")))?;
        let topic = self.topic.clone();
        let outbox_bytes_max = self.outbox_max;
        Ok(self.kafka.clone().map(|brokers| KafkaOptions { brokers, topic, outbox_bytes_max, settings }))
    }
}

fn stop(error: clap::Error) -> Stop {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Print(error.to_string()),
        _ => Stop::Refused(one_line(&error)),
    }
}

/// Clap's first paragraph: what is wrong and, where it says so, what would be right.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let line = lines.collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

fn attributes(text: &str) -> Result<Attributes, String> {
    let attribute = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = match serde_json::from_str::<serde_json::Value>(value) {
            Ok(value) if value.is_number() || value.is_boolean() => value,
            _ => value.into(),
        };
        Some((name.trim().to_owned(), value)).filter(|(name, _)| !name.is_empty())
    };
    text.split(',').map(|pair| attribute(pair).ok_or_else(|| "each attribute reads name=value".to_owned())).collect()
}

fn budget(text: &str) -> Result<u64, String> {
    match positive_size(text)? {
        bytes if bytes < BUDGET_BYTES_MIN => Err("1MiB at least".to_owned()),
        bytes => Ok(bytes),
    }
}

fn outbox(text: &str) -> Result<u64, String> {
    match positive_size(text)? {
        bytes if bytes < OUTBOX_BYTES_MIN => Err("1MiB at least".to_owned()),
        bytes => Ok(bytes),
    }
}

fn positive_size(text: &str) -> Result<u64, String> {
    match parse_size(text) {
        Ok(0) => Err("it must be more than 0".to_owned()),
        other => other.map_err(|error| error.to_string()),
    }
}

fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=1_000_000) => Ok(number),
        _ => Err("it must be a number from 1 to 1000000".to_owned()),
    }
}

fn brokers(text: &str) -> Result<String, String> {
    let is_broker = |broker: &str| {
        broker
            .trim()
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    if text.split(',').all(is_broker) { Ok(text.to_owned()) } else { Err("each broker reads host:port".to_owned()) }
}

/// Kafka's own rule.
fn topic(text: &str) -> Result<String, String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if (1..=249).contains(&text.len()) && text.bytes().all(legal) && text != "." && text != ".." {
        Ok(text.to_owned())
    } else {
        Err("a topic has 1 to 249 letters, digits, '.', '_' and '-'".to_owned())
    }
}

fn durability() -> impl TypedValueParser<Value = Durability> {
    PossibleValuesParser::new(["fsync", "none"])
        .map(|text| if text == "fsync" { Durability::Fsync } else { Durability::None })
}

fn digest() -> impl TypedValueParser<Value = bool> {
    PossibleValuesParser::new(["sha256", "none"]).map(|text| text == "sha256")
}

#[cfg(test)]
mod tests;
