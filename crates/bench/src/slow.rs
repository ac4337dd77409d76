//! Many uploads that have stopped half-way: what each costs in memory above an idle connection, and what stays.

use std::io::{self, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::contender::{Contender, Promise};
use crate::load::{self, Request, read_created, sleep};
use crate::server::{Server, TOKEN};

/// A slow client's pieces: each upload gets one in turn, until all stand half-way.
const PIECE_BYTES: usize = 32 << 10;
/// After which a server has done what it does with what it was sent.
const SETTLE_TIME: Duration = Duration::from_secs(2);
const IDLE_TIME: Duration = Duration::from_secs(12);
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// In MB, of the whole server.
pub(crate) struct Figures {
    pub idle: f64,
    pub paused: f64,
    pub peak: f64,
    pub after: f64,
}

/// One server after the other; what stays is read when all had their uploads and a while of rest.
pub(crate) fn measure(
    title: &str,
    contenders: &[Contender],
    uploads: usize,
    bytes: u64,
    dir: &Path,
) -> Vec<(Contender, io::Result<Figures>)> {
    let mut rows = Vec::new();
    for &contender in contenders {
        eprintln!("{title}: {}", contender.name());
        rows.push((contender, pause(contender, uploads, bytes, dir)));
    }
    sleep(IDLE_TIME);
    let after = |(mut figures, server, _dir): (Figures, Server, TempDir)| {
        (figures.peak, figures.after) = server.rss_megabytes()?;
        Ok(figures)
    };
    rows.into_iter().map(|(contender, row)| (contender, row.and_then(after))).collect()
}

fn pause(contender: Contender, uploads: usize, bytes: u64, dir: &Path) -> io::Result<(Figures, Server, TempDir)> {
    let dir = tempfile::tempdir_in(dir)?;
    let server = contender.start(dir.path(), Promise { sync: false, digest: false })?;
    let request = Request::new(&load::Options {
        to: server.address,
        token: TOKEN.to_owned(),
        form: contender.form(),
        connections: uploads,
        bytes,
        uploads: uploads as u64,
        first: 0,
        rate: None,
        close: false,
        slow: None,
    });
    let connections = (0..uploads).map(|_| load::connect(server.address));
    let mut connections: Vec<TcpStream> = connections.collect::<io::Result<_>>()?;
    sleep(SETTLE_TIME);
    let idle = now(&server)?;
    // Alike but for the number in its head, which the first piece holds.
    let bytes_of = |number: usize| {
        let mut whole = Vec::new();
        request.write_to(&mut whole, number as u64, u64::MAX, |_| ()).map(|()| whole)
    };
    let shared = bytes_of(0)?;
    let mut sent = 0;
    while sent < bytes as usize / 2 {
        for (number, connection) in connections.iter_mut().enumerate() {
            let own = if sent == 0 { Some(bytes_of(number)?) } else { None };
            connection.write_all(&own.as_ref().unwrap_or(&shared)[sent..sent + PIECE_BYTES])?;
        }
        sent += PIECE_BYTES;
    }
    sleep(SETTLE_TIME);
    let paused = now(&server)?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    for connection in &mut connections {
        connection.write_all(&shared[sent..])?;
        read_created(connection, &mut answer)?;
    }
    drop(connections);
    Ok((Figures { idle, paused, peak: paused, after: paused }, server, dir))
}

fn now(server: &Server) -> io::Result<f64> {
    Ok(server.rss_megabytes()?.1)
}
