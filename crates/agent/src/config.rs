//! Settings, and the one place that reads the environment.

use std::env;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::alert::{Webhook, WebhookError};
use crate::livetable::samples_per_second_default;
use crate::quantity::{self, QuantityError};
use crate::readiness::Readiness;

/// Where the admin server listens unless told otherwise: loopback, since it has no authentication.
pub const ADMIN_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 6060);

/// Settings of the agent. A field that is `None` is read from the environment, else has its default.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Address of the admin server; port 0 takes a free one, see [`Agent::admin_addr`](crate::Agent::admin_addr).
    /// Environment: `HEAPLINE_ADMIN`. Default: 127.0.0.1:6060.
    pub admin: Option<SocketAddr>,
    /// Memory at which the process would be killed, in bytes; it beats the cgroup's limit. Environment:
    /// `HEAPLINE_MEMORY_LIMIT`, a size such as `2GiB`. Default: the smallest limit of the process's cgroups, else the
    /// memory of the host.
    pub memory_limit_bytes: Option<u64>,
    /// Whether allocations are sampled and `/debug/pprof/` answers. Environment: `PPROF`, `true` or `false`.
    /// Default: true. Cost: see [`use_jemalloc!`](crate::use_jemalloc).
    pub pprof: Option<bool>,
    /// Samples a second of allocations that come and go, of all threads together, beyond which the sampler takes fewer and gives
    /// each more weight; 0 for no bound, as whoever reads jemalloc's own dumps beside the agent wants it. Environment:
    /// `HEAPLINE_SAMPLES_PER_SECOND_MAX`. Default: 100 for each core that the process may use, at least
    /// 250.
    pub samples_per_second_max: Option<u32>,
    /// Directory for what outlives the process: the live table, 10 MB a process. Environment: `HEAPLINE_STATE`. Default:
    /// `heapline/<program>` in `$XDG_STATE_HOME`, else in `~/.local/state`. Where it cannot be written, nothing outlives
    /// the process.
    pub state_dir: Option<PathBuf>,
    /// What `/readyz` answers. Default: ready.
    pub readiness: Option<Readiness>,
    /// Where to post when memory begins to climb, and when it has stopped: see [`alert`](crate::alert). Plain http.
    /// Environment: `HEAPLINE_WEBHOOK`, `http://[user:password@]host[:port][/path]`. Default: nowhere.
    pub webhook: Option<Webhook>,
    /// The host's own version: the label `version` of `heapline_build_info`, so that a new version that climbs can be
    /// told from the one before. Environment: `HEAPLINE_SERVICE_VERSION`. Default: the agent's version.
    pub service_version: Option<String>,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The variable is not UTF-8.
    #[error("{variable} is not UTF-8")]
    NotUtf8 {
        /// Its name.
        variable: &'static str,
    },
    /// Not `address:port`.
    #[error("{variable}={value:?} is not an address such as 127.0.0.1:6060")]
    Address {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// Not a size.
    #[error("{variable} cannot be used")]
    Size {
        /// Its name.
        variable: &'static str,
        /// What is wrong with its value.
        source: QuantityError,
    },
    /// Not a whole number from 0 to 2^32 - 1.
    #[error("{variable}={value:?} is not a whole number")]
    Number {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// Neither true nor false.
    #[error("{variable}={value:?} is neither true nor false")]
    Switch {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// Not an address that can be posted to. It may hold a secret, so it is not shown.
    #[error("{variable} cannot be used")]
    Webhook {
        /// Its name.
        variable: &'static str,
        /// What is wrong with it.
        source: WebhookError,
    },
    /// A limit of no bytes.
    #[error("the memory limit is 0 bytes")]
    ZeroLimit,
}

/// Every setting decided.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) admin: SocketAddr,
    pub(crate) memory_limit_bytes: Option<u64>,
    pub(crate) pprof: bool,
    pub(crate) samples_per_second_max: u32,
    /// `None` where there is not even a home.
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) readiness: Readiness,
    pub(crate) webhook: Option<Webhook>,
    pub(crate) service_version: String,
}

impl Config {
    pub(crate) fn resolve(self) -> Result<Settings, ConfigError> {
        self.resolve_with(|variable| env::var_os(variable))
    }

    fn resolve_with(self, lookup: impl Fn(&str) -> Option<OsString>) -> Result<Settings, ConfigError> {
        // An empty variable is an unset one: that is how container manifests spell "nothing".
        let text = |variable: &'static str| match lookup(variable) {
            None => Ok(None),
            Some(value) => match value.into_string() {
                Ok(value) if value.is_empty() => Ok(None),
                Ok(value) => Ok(Some((variable, value))),
                Err(_) => Err(ConfigError::NotUtf8 { variable }),
            },
        };
        let admin = match self.admin {
            Some(admin) => Some(admin),
            None => text("HEAPLINE_ADMIN")?.map(address).transpose()?,
        };
        let memory_limit_bytes = match self.memory_limit_bytes {
            Some(limit) => Some(limit),
            None => text("HEAPLINE_MEMORY_LIMIT")?.map(size).transpose()?,
        };
        if memory_limit_bytes == Some(0) {
            return Err(ConfigError::ZeroLimit);
        }
        let pprof = match self.pprof {
            Some(pprof) => Some(pprof),
            None => text("PPROF")?.map(switch).transpose()?,
        };
        let samples_per_second_max = match self.samples_per_second_max {
            Some(max) => Some(max),
            None => text("HEAPLINE_SAMPLES_PER_SECOND_MAX")?.map(number).transpose()?,
        };
        let webhook = match self.webhook {
            Some(webhook) => Some(webhook),
            None => text("HEAPLINE_WEBHOOK")?.map(webhook).transpose()?,
        };
        let service_version = match self.service_version {
            Some(version) => Some(version),
            None => text("HEAPLINE_SERVICE_VERSION")?.map(|(_, version)| version),
        };
        let state_dir = self.state_dir.or_else(|| directory(&lookup, "HEAPLINE_STATE", ""));
        let state_dir = state_dir.or_else(|| Some(user_state(&lookup)?.join("heapline").join(program())));
        Ok(Settings {
            admin: admin.unwrap_or(ADMIN_DEFAULT),
            memory_limit_bytes,
            pprof: pprof.unwrap_or(true),
            samples_per_second_max: samples_per_second_max.unwrap_or_else(samples_per_second_default),
            state_dir,
            readiness: self.readiness.unwrap_or_default(),
            webhook,
            service_version: service_version.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
        })
    }
}

/// The user's directory for state, by the XDG base directory specification.
fn user_state(lookup: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // The specification has relative paths ignored.
    let state = directory(lookup, "XDG_STATE_HOME", "").filter(|path| path.is_absolute());
    state.or_else(|| directory(lookup, "HOME", ".local/state"))
}

/// A directory below the one that a variable names; an empty variable is an unset one.
fn directory(lookup: &impl Fn(&str) -> Option<OsString>, variable: &str, below: &str) -> Option<PathBuf> {
    let value = lookup(variable).filter(|value| !value.is_empty())?;
    Some(Path::new(&value).join(below))
}

/// The program's file name.
pub(crate) fn program() -> OsString {
    let path = env::current_exe().ok();
    path.and_then(|path| Some(path.file_name()?.to_owned())).unwrap_or_else(|| "unnamed".into())
}

fn address((variable, value): (&'static str, String)) -> Result<SocketAddr, ConfigError> {
    value.trim().parse().map_err(|_| ConfigError::Address { variable, value })
}

fn size((variable, value): (&'static str, String)) -> Result<u64, ConfigError> {
    quantity::parse_size(&value).map_err(|source| ConfigError::Size { variable, source })
}

fn number((variable, value): (&'static str, String)) -> Result<u32, ConfigError> {
    value.trim().parse().map_err(|_| ConfigError::Number { variable, value })
}

fn webhook((variable, value): (&'static str, String)) -> Result<Webhook, ConfigError> {
    value.parse().map_err(|source| ConfigError::Webhook { variable, source })
}

fn switch((variable, value): (&'static str, String)) -> Result<bool, ConfigError> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Ok(true),
        "false" | "0" | "off" | "no" => Ok(false),
        _ => Err(ConfigError::Switch { variable, value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(config: Config, variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        config.resolve_with(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn defaults_hold_where_nothing_is_said() {
        let settings = resolve(Config::default(), &[("PPROF", ""), ("HEAPLINE_ADMIN", "")]).expect("defaults");
        assert_eq!(settings.admin, ADMIN_DEFAULT);
        assert_eq!(settings.memory_limit_bytes, None);
        assert!(settings.pprof && settings.readiness.is_ready());
    }

    #[test]
    fn a_field_beats_the_environment() {
        let variables = [("HEAPLINE_ADMIN", "127.0.0.1:1"), ("HEAPLINE_MEMORY_LIMIT", "2GiB"), ("PPROF", "False")];
        let settings = resolve(Config::default(), &variables).expect("valid");
        assert_eq!((settings.admin.port(), settings.memory_limit_bytes, settings.pprof), (1, Some(2 << 30), false));

        let explicit = Config {
            admin: Some(ADMIN_DEFAULT),
            memory_limit_bytes: Some(7),
            pprof: Some(true),
            samples_per_second_max: Some(9),
            state_dir: Some("/srv/state".into()),
            readiness: Some(Readiness::new(false)),
            webhook: Some("http://a/".parse().expect("an address")),
            service_version: Some("2.0".to_owned()),
        };
        let settings = resolve(explicit, &variables).expect("valid");
        assert_eq!((settings.admin, settings.memory_limit_bytes, settings.pprof), (ADMIN_DEFAULT, Some(7), true));
        assert!(!settings.readiness.is_ready() && settings.webhook.is_some());
        assert_eq!((settings.service_version.as_str(), settings.samples_per_second_max), ("2.0", 9));
    }

    #[test]
    fn the_state_directory() {
        let state = |config: Config, variables: &[(&str, &str)]| resolve(config, variables).expect("valid").state_dir;
        let below = |home: &str| Some(Path::new(home).join("heapline").join(program()));
        assert_eq!(state(Config::default(), &[]), None);
        assert_eq!(state(Config::default(), &[("HOME", "/home/a")]), below("/home/a/.local/state"));
        let variables = [("HOME", "/home/a"), ("XDG_STATE_HOME", "/var/state")];
        assert_eq!(state(Config::default(), &variables), below("/var/state"));
        let variables = [("HOME", "/home/a"), ("XDG_STATE_HOME", "not/absolute")];
        assert_eq!(state(Config::default(), &variables), below("/home/a/.local/state"));
        let variables = [("HOME", "/home/a"), ("HEAPLINE_STATE", "/srv/b")];
        assert_eq!(state(Config::default(), &variables), Some("/srv/b".into()));
        let explicit = Config { state_dir: Some("/srv/c".into()), ..Config::default() };
        assert_eq!(state(explicit, &variables), Some("/srv/c".into()));
    }

    #[test]
    fn switches() {
        for (text, expected) in
            [("false", false), ("0", false), ("off", false), ("FALSE", false), ("TRUE", true), ("1", true)]
        {
            let settings = resolve(Config::default(), &[("PPROF", text)]).expect("valid");
            assert_eq!(settings.pprof, expected, "{text}");
        }
    }

    #[test]
    fn a_bad_value_is_an_error_that_names_its_variable() {
        for (variable, value) in [
            ("PPROF", "maybe"),
            ("HEAPLINE_ADMIN", "6060"),
            ("HEAPLINE_ADMIN", "localhost"),
            ("HEAPLINE_MEMORY_LIMIT", "lots"),
            ("HEAPLINE_SAMPLES_PER_SECOND_MAX", "-1"),
            ("HEAPLINE_WEBHOOK", "https://user:secret@hooks.example/T0"),
        ] {
            let error = resolve(Config::default(), &[(variable, value)]).expect_err("invalid");
            assert!(error.to_string().contains(variable), "{error}");
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
        assert!(resolve(Config::default(), &[("HEAPLINE_MEMORY_LIMIT", "0")]).is_err());
    }
}
