//! The settings of a bucket, and what does not go together with one.

use super::{Config, Stop};
use crate::store::Place;
use crate::store::bucket::{BUCKET_FILE_BYTES_MAX, BucketOptions, PART_BYTES};

/// The part of the memory budget, one in so many, that is set aside for parts on their way to a bucket; one part at least.
const PARTS_SHARE: u64 = 4;
/// Below it, parts would take more than half.
const BUDGET_BYTES_MIN: u64 = 16 << 20;

impl Config {
    /// The bucket, if files go to one.
    ///
    /// # Errors
    /// [`Stop::Refused`] where settings do not go together.
    pub fn bucket(&self) -> Result<Option<BucketOptions>, Stop> {
        let Place::Bucket { name, prefix } = &self.store else { return Ok(None) };
        let refused = |what: String| Err(Stop::Refused(what));
        if let Some(endpoint) = &self.s3_endpoint
            && self.s3_plain_http == "loopback"
            && endpoint.strip_prefix("http://").is_some_and(|host| !is_loopback(host))
        {
            return refused(format!(
                "--s3-endpoint {endpoint} shows stored files to the network: use https, or --s3-plain-http any"
            ));
        }
        if self.memory_budget < BUDGET_BYTES_MIN {
            return refused("--memory-budget: 16MiB at least with a bucket".to_owned());
        }
        if self.quota.is_some() {
            return refused("--quota: of a directory only; a bucket has quotas of its own".to_owned());
        }
        if self.max_file > BUCKET_FILE_BYTES_MAX {
            return refused("--max-file: a bucket takes 50000MiB at most".to_owned());
        }
        let path_style = self.s3_addressing.as_deref().map_or(self.s3_endpoint.is_some(), |style| style == "path");
        Ok(Some(BucketOptions {
            name: name.clone(),
            prefix: prefix.clone(),
            endpoint: self.s3_endpoint.clone(),
            region: self.s3_region.clone(),
            path_style,
        }))
    }

    /// What of the memory budget is set aside for parts on their way to a bucket.
    pub fn parts_budget(&self) -> u64 {
        match self.store {
            Place::Bucket { .. } => (self.memory_budget / PARTS_SHARE).max(PART_BYTES),
            Place::Directory(_) => 0,
        }
    }
}

pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let legal = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
    match host.map(|host| host.trim_end_matches('/')) {
        Some(host) if !host.is_empty() && host.bytes().all(legal) => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err("it reads http://host:port or https://host, without a path".to_owned()),
    }
}

pub(super) fn region(text: &str) -> Result<String, String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if (1..=64).contains(&text.len()) && text.bytes().all(legal) {
        Ok(text.to_owned())
    } else {
        Err("no region's name".to_owned())
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    let name = name.unwrap_or(host);
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn what_does_not_go_with_a_bucket_is_refused_in_a_line() {
        for (arguments, part) in [
            (&["--s3-endpoint=http://minio:9000"][..], "--s3-plain-http any"),
            (&["--memory-budget=8MiB"], "--memory-budget"),
            (&["--max-file=60GiB"], "--max-file"),
            (&["--quota=1GiB"], "--quota"),
            (&["--s3-endpoint=http://127.0.0.1:9000"], ""),
            (&["--s3-endpoint=http://[::1]:9000"], ""),
            (&["--s3-endpoint=https://minio"], ""),
            (&["--s3-endpoint=http://minio:9000", "--s3-plain-http=any"], ""),
        ] {
            let arguments = ["heapline-upload", "--store=s3://files"].iter().chain(arguments).map(OsString::from);
            match Config::load(arguments).and_then(|config| config.bucket()) {
                Ok(_) => assert_eq!(part, ""),
                Err(Stop::Refused(line)) => assert!(!part.is_empty() && line.contains(part), "{line}"),
                Err(other) => panic!("{other}"),
            }
        }
    }
}
