//! One feature of GrowthBook's answer, evaluated as its SDKs do: the first rule that applies, else the default value.
//!
//! Rules that force a value are followed, with conditions on attributes, coverage and ranges. What only makes sense for
//! people and not for a server (experiments, filters, prerequisites) is passed over.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::condition;

const BYTES_A_MB: f64 = (1 << 20) as f64;

/// A TB. More is a mistake: files do not stay in memory by the TB.
const THRESHOLD_MB_MAX: f64 = (1 << 20) as f64;

/// Why an answer has no value for the flag.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlagError {
    #[error("it is not GrowthBook's JSON")]
    Json(#[from] serde_json::Error),
    #[error("it has no features")]
    NoFeatures,
    #[error("the flag is not among the features")]
    NoFlag,
    /// The value as JSON, cut short.
    #[error("the flag's value is {0}, not a number of MB from 0 to {THRESHOLD_MB_MAX}")]
    NotAThreshold(String),
}

/// Members that are not named here are skipped as they are read.
#[derive(Deserialize)]
struct Answer {
    features: Option<Features>,
}

#[derive(Deserialize)]
struct Features {
    /// [`super::FLAG`]
    #[serde(rename = "request-parse-multipart-form")]
    threshold_mb: Option<Feature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feature {
    #[serde(default)]
    default_value: Value,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    condition: Map<String, Value>,
    force: Option<Value>,
    coverage: Option<f64>,
    range: Option<(f64, f64)>,
    hash_attribute: Option<String>,
    hash_version: Option<u8>,
    seed: Option<String>,
    filters: Option<IgnoredAny>,
    parent_conditions: Option<IgnoredAny>,
}

/// The threshold of an answer or a file, in bytes.
///
/// # Errors
/// [`FlagError`].
pub(super) fn threshold_bytes(answer: &[u8], attributes: &Map<String, Value>) -> Result<u64, FlagError> {
    let answer: Answer = serde_json::from_slice(answer)?;
    let features = answer.features.ok_or(FlagError::NoFeatures)?;
    let feature = features.threshold_mb.ok_or(FlagError::NoFlag)?;
    let value = feature.value(super::FLAG, attributes);
    match value.as_f64() {
        Some(mb) if (0.0..=THRESHOLD_MB_MAX).contains(&mb) => Ok((mb * BYTES_A_MB) as u64),
        _ => Err(FlagError::NotAThreshold(value.to_string().chars().take(40).collect())),
    }
}

impl Feature {
    fn value(&self, key: &str, attributes: &Map<String, Value>) -> &Value {
        let applies = |rule: &&Rule| {
            rule.filters.is_none()
                && rule.parent_conditions.is_none()
                && condition::holds(&rule.condition, attributes)
                && rule.includes(key, attributes)
        };
        let forced = self.rules.iter().filter(|rule| rule.force.is_some()).find(applies);
        forced.and_then(|rule| rule.force.as_ref()).unwrap_or(&self.default_value)
    }
}

impl Rule {
    /// Whether a gradual rollout has reached whoever has these attributes.
    fn includes(&self, key: &str, attributes: &Map<String, Value>) -> bool {
        if self.range.is_none() && self.coverage.is_none_or(|coverage| coverage >= 1.0) {
            return true;
        }
        let value = match attributes.get(self.hash_attribute.as_deref().unwrap_or("id")) {
            Some(Value::String(text)) if !text.is_empty() => text.clone(),
            Some(value @ Value::Number(_)) => value.to_string(),
            _ => return false,
        };
        let n = bucket(self.seed.as_deref().unwrap_or(key), &value, self.hash_version.unwrap_or(1));
        match (self.range, self.coverage) {
            (Some((start, end)), _) => (start..end).contains(&n),
            (None, coverage) => coverage.is_some_and(|coverage| coverage > 0.0 && n <= coverage),
        }
    }
}

/// Where a value falls between 0 and 1: the hash of GrowthBook's SDK documentation, in its two versions.
fn bucket(seed: &str, value: &str, version: u8) -> f64 {
    if version == 2 {
        let inner = fnv1a_32(&format!("{seed}{value}"));
        f64::from(fnv1a_32(&inner.to_string()) % 10_000) / 10_000.0
    } else {
        f64::from(fnv1a_32(&format!("{value}{seed}")) % 1_000) / 1_000.0
    }
}

fn fnv1a_32(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn attributes() -> Map<String, Value> {
        json!({"id": "a", "env": "prod", "cores": 8}).as_object().unwrap().clone()
    }

    fn threshold_mb(feature: Value) -> Result<f64, FlagError> {
        let answer = json!({"status": 200, "features": {"other": 1, crate::flags::FLAG: feature}, "dateUpdated": "x"});
        threshold_bytes(answer.to_string().as_bytes(), &attributes()).map(|bytes| bytes as f64 / BYTES_A_MB)
    }

    #[test]
    fn the_first_rule_that_applies_else_the_default() {
        for (feature, expected) in [
            (json!({"defaultValue": 32}), 32.0),
            (json!({"defaultValue": 0}), 0.0),
            (json!({"defaultValue": 0.5, "rules": []}), 0.5),
            (json!({"defaultValue": 32, "rules": [{"force": 1}]}), 1.0),
            (json!({"defaultValue": 32, "rules": [{"condition": {"env": "test"}, "force": 1}, {"force": 2}]}), 2.0),
            (json!({"defaultValue": 32, "rules": [{"condition": {"env": "prod"}, "force": 0}, {"force": 2}]}), 0.0),
            (json!({"defaultValue": 32, "rules": [{"variations": [1, 2], "weights": [0.5, 0.5]}]}), 32.0),
            (json!({"defaultValue": 32, "rules": [{"force": 1, "parentConditions": [{"id": "x"}]}]}), 32.0),
            (json!({"defaultValue": 32, "rules": [{"force": 1, "coverage": 0}]}), 32.0),
            (json!({"defaultValue": 32, "rules": [{"force": 1, "coverage": 1}]}), 1.0),
            (json!({"defaultValue": 32, "rules": [{"force": 1, "coverage": 0.5, "hashAttribute": "none"}]}), 32.0),
            (json!({"defaultValue": 32, "rules": [{"force": 1, "range": [0.2, 0.3], "seed": ""}]}), 1.0),
            (json!({"defaultValue": 32, "rules": [{"force": 1, "range": [0.3, 0.9], "seed": ""}]}), 32.0),
        ] {
            assert_eq!(threshold_mb(feature.clone()).unwrap(), expected, "{feature}");
        }
    }

    #[test]
    fn what_is_not_a_threshold() {
        for value in [json!("32"), json!(-1), json!(null), json!(true), json!([32]), json!({}), json!(1e300)] {
            let error = threshold_mb(json!({"defaultValue": value})).unwrap_err();
            assert!(matches!(error, FlagError::NotAThreshold(_)), "{value}: {error}");
        }
        for (answer, expected) in [
            ("", "JSON"),
            ("oops", "JSON"),
            (r#"{"features": {"request-parse-multipart-form": {"defaultValue": NaN}}}"#, "JSON"),
            (r#"{"features": {"request-parse-multipart-form": 32}}"#, "JSON"),
            (r#"{"status": 200}"#, "no features"),
            (r#"{"features": null}"#, "no features"),
            (r#"{"features": {}}"#, "not among"),
        ] {
            let error = threshold_bytes(answer.as_bytes(), &attributes()).unwrap_err();
            assert!(error.to_string().contains(expected), "{answer}: {error}");
        }
    }

    /// From the test cases that GrowthBook publishes for its SDKs.
    #[test]
    fn buckets_are_those_of_the_sdks() {
        for (seed, value, version, expected) in [
            ("", "a", 1, 0.22),
            ("", "b", 1, 0.077),
            ("b", "a", 1, 0.946),
            ("ef", "d", 1, 0.652),
            ("asdf", "8952klfjas09ujk", 1, 0.549),
            ("", "123", 1, 0.011),
            ("seed", "a", 2, 0.0505),
        ] {
            assert_eq!(bucket(seed, value, version), expected, "{seed:?} {value:?} {version}");
        }
    }
}
