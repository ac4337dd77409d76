//! How long a scrape takes while the server is at rest, has work, and has more than it can do; beside an answer of a few
//! bytes from the same port, which costs what the machine and the connection cost.

use std::io;
use std::time::{Duration, Instant};

use crate::contender::Contender;
use crate::load::sleep;
use crate::pulls::{Pulled, Puller};
use crate::slices::{Load, SLICE_TIME, Subject};

/// Each of the two targets is asked for every other time.
const PULL_INTERVAL: Duration = Duration::from_millis(10);
const TARGETS: [&str; 2] = ["/metrics", "/livez"];

/// After the warm-up: pages that it left go back to the kernel within a second.
const SETTLE_TIME: Duration = Duration::from_secs(3);

/// The load, as a share of what the server takes; none of it at rest, and no rate for all of it.
const LEVELS: [(&str, Option<f64>); 3] =
    [("at rest", Some(0.0)), ("at 70% of saturation", Some(0.7)), ("saturated", None)];

pub(crate) struct Row {
    pub level: &'static str,
    pub uploads_per_second: Vec<f64>,
    pub pulled: Vec<Pulled>,
}

pub(crate) struct Scrapes {
    pub title: String,
    pub load: Load,
    pub rows: Vec<Row>,
}

/// One level behind the other: rest is rest, and not the moments after a load.
pub(crate) fn run(title: &str, load: Load) -> io::Result<Scrapes> {
    let mut subject = Subject::start(Contender::UploadMultipart, &load)?;
    let admin = subject.server.admin.ok_or_else(|| io::Error::other("no admin port"))?;
    let uploads = subject.uploads_per_slice()?;
    let saturation = uploads as f64 / SLICE_TIME.as_secs_f64();
    sleep(SETTLE_TIME);
    let mut rows = Vec::new();
    for (level, share) in LEVELS {
        eprintln!("{title}: {level}");
        let mut puller = Puller::new(admin, &TARGETS, PULL_INTERVAL);
        puller.warm_up()?;
        let mut uploads_per_second = Vec::new();
        let began = Instant::now();
        while began.elapsed() < load.time_max / LEVELS.len() as u32 {
            uploads_per_second.push(puller.beside(|| match share {
                Some(0.0) => {
                    sleep(SLICE_TIME);
                    Ok(0.0)
                }
                Some(share) => {
                    let some = ((uploads as f64 * share) as u64).max(1);
                    Ok(subject.slice(some, Some(saturation * share))?.outcome.uploads_per_second())
                }
                None => Ok(subject.slice(uploads, None)?.outcome.uploads_per_second()),
            })?);
        }
        rows.push(Row { level, uploads_per_second, pulled: puller.pulled });
    }
    Ok(Scrapes { title: title.to_owned(), load, rows })
}
