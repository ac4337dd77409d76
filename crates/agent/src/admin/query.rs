//! The parameters that several routes have.

use hyper::StatusCode;

use super::answer::{Answer, error};
use crate::profile::base::Base;
use crate::profile::profiler::Profiler;
use crate::recorder::Recorder;

/// Seconds that a difference may take.
const SECONDS_MAX: u16 = 3_600;

/// The first value of a parameter, as it stands there.
pub(super) fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

pub(super) fn parse_seconds(query: &str) -> Result<Option<u16>, &'static str> {
    match parameter(query, "seconds").map(str::parse) {
        None => Ok(None),
        Some(Ok(seconds)) if (1..=SECONDS_MAX).contains(&seconds) => Ok(Some(seconds)),
        Some(_) => Err("seconds must be a whole number from 1 to 3600"),
    }
}

/// The recorded profile that the parameter `base` names, if it is there; else the refusal.
pub(super) async fn base(profiler: &Profiler, recorder: &Recorder, query: &str) -> Result<Option<Base>, Answer> {
    let Some(id) = parameter(query, "base") else { return Ok(None) };
    match recorder.base(profiler, id).await {
        Some(base) => Ok(Some(base)),
        None => Err(error(StatusCode::BAD_REQUEST, "there is no recorded profile of that name, see /profiles")),
    }
}
