//! librdkafka's settings as an operator gives them: all but those that the outbox's promises rest on.

use std::fmt;
use std::str::FromStr;

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;

/// Settings that are ours, and why.
const OWNED: [(&[&str], &str); 6] = [
    (&["bootstrap.servers", "metadata.broker.list"], "--kafka sets it"),
    (&["partitioner"], "keys must stay where kafka-go's Hash puts them"),
    (
        &["enable.idempotence", "acks", "request.required.acks", "transactional.id"],
        "delivery at least once rests on it",
    ),
    (
        &["message.timeout.ms", "delivery.timeout.ms", "retries", "message.send.max.retries"],
        "events wait as long as it takes",
    ),
    (
        &["queue.buffering.max.messages", "queue.buffering.max.kbytes", "batch.size", "batch.num.messages"],
        "the memory bound rests on it",
    ),
    (&["statistics.interval.ms", "log_level", "plugin.library.paths"], "the server sets it"),
];
/// What a value is not shown of.
const SECRET_PARTS: [&str; 5] = ["password", "secret", "pem", "token", "sasl.oauthbearer.config"];

/// `key=value` pairs for librdkafka.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaSettings {
    pairs: Vec<(String, String)>,
}

/// One `key=value`.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaSetting {
    key: String,
    value: String,
}

/// A setting that is not taken. Never shows a value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSetting {
    #[error("a setting reads key=value")]
    Form,
    #[error("{key} cannot be set: {why}")]
    Owned { key: String, why: &'static str },
    #[error("librdkafka refuses {key}: {why}")]
    Refused { key: String, why: String },
}

impl FromStr for KafkaSetting {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        let (key, value) = text.split_once('=').ok_or(BadSetting::Form)?;
        let key = key.trim();
        if key.is_empty() {
            return Err(BadSetting::Form);
        }
        if let Some((_, why)) = OWNED.iter().find(|(keys, _)| keys.contains(&key)) {
            return Err(BadSetting::Owned { key: key.to_owned(), why });
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

impl KafkaSettings {
    /// Takes settings that librdkafka knows, whose values it understands, and that this build of it can do.
    ///
    /// # Errors
    /// [`BadSetting::Refused`] for the first that it does not take.
    pub fn new(settings: &[KafkaSetting]) -> Result<Self, BadSetting> {
        for setting in settings {
            let mut alone = ClientConfig::new();
            alone.set(&setting.key, &setting.value);
            if let Err(KafkaError::ClientConfig(_, why, key, _)) = alone.create_native_config() {
                let secret = SECRET_PARTS.iter().any(|part| key.contains(part));
                let why = if secret { "its value, or that it is set".to_owned() } else { why };
                return Err(BadSetting::Refused { key, why });
            }
        }
        let pairs = settings.iter().map(|setting| (setting.key.clone(), setting.value.clone())).collect();
        Ok(Self { pairs })
    }

    pub(super) fn apply(&self, config: &mut ClientConfig) {
        for (key, value) in &self.pairs {
            config.set(key, value);
        }
    }
}

impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.pairs.iter().map(|(key, _)| key)).finish()
    }
}

impl fmt::Debug for KafkaSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(texts: &[&str]) -> Result<KafkaSettings, BadSetting> {
        let settings: Result<Vec<KafkaSetting>, BadSetting> = texts.iter().map(|text| text.parse()).collect();
        KafkaSettings::new(&settings?)
    }

    #[test]
    fn settings_pass_through_and_ours_do_not() {
        let given =
            settings(&["linger.ms=50", "compression.type=none", "sasl.mechanisms=PLAIN", "sasl.password=hush=x"]);
        let mut config = ClientConfig::new();
        given.as_ref().unwrap().apply(&mut config);
        assert_eq!((config.get("linger.ms"), config.get("sasl.password")), (Some("50"), Some("hush=x")));
        assert!(!format!("{given:?}").contains("hush"));
        for (text, part) in [
            ("linger.ms", "key=value"),
            ("=1", "key=value"),
            ("acks=1", "at least once"),
            ("bootstrap.servers=a:1", "--kafka"),
            ("no.such.setting=1", "no.such.setting"),
            ("linger.ms=soon", "linger.ms"),
        ] {
            let error = settings(&[text]).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains('\n'), "{text}: {error}");
        }
    }
}
