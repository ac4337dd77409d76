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

pub(crate) fn run(title: &str, load: Load) -> io::Result<Scrapes> {
    let began = Instant::now();
    let mut subject = Subject::start(Contender::UploadMultipart, &load)?;
    let admin = subject.server.admin.ok_or_else(|| io::Error::other("no admin port"))?;
    let uploads = subject.uploads_per_slice()?;
    let saturation = uploads as f64 / SLICE_TIME.as_secs_f64();
    let mut levels = LEVELS.map(|level| (level, Puller::new(admin, &TARGETS, PULL_INTERVAL), Vec::new()));
    levels.iter().try_for_each(|(_, puller, _)| puller.warm_up())?;
    let mut longest = Duration::ZERO;
    for round in 1.. {
        let round_began = Instant::now();
        for ((_, share), puller, speeds) in &mut levels {
            let speed = puller.beside(|| match *share {
                Some(0.0) => {
                    sleep(SLICE_TIME);
                    Ok(0.0)
                }
                Some(share) => {
                    let some = ((uploads as f64 * share) as u64).max(1);
                    subject.slice(some, Some(saturation * share)).map(|slice| slice.outcome.uploads_per_second())
                }
                None => subject.slice(uploads, None).map(|slice| slice.outcome.uploads_per_second()),
            })?;
            speeds.push(speed);
        }
        longest = longest.max(round_began.elapsed());
        eprintln!("{title}: round {round}, {:.0} s", began.elapsed().as_secs_f64());
        if began.elapsed() + longest > load.time_max {
            break;
        }
    }
    let row = |((level, _), puller, uploads_per_second): ((&'static str, _), Puller, Vec<f64>)| Row {
        level,
        uploads_per_second,
        pulled: puller.pulled,
    };
    Ok(Scrapes { title: title.to_owned(), load, rows: levels.into_iter().map(row).collect() })
}
