//! The memory of the running server: of an upload in flight, of many that are over, of a threshold that is lowered, and
//! that the ledger's word is true. `RSS ≤ base + budget + connections × small` is held in the upload crate's own tests.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use heapline_tests::deadline::{eventually, pace};
use heapline_tests::growthbook::{CLIENT_KEY, GrowthBook, Reply};
use heapline_tests::promises::noise;
use heapline_tests::service::{Service, TOKEN};
use heapline_tests::{exposition, http, soak};
use rustix::process::{Resource, getrlimit, setrlimit};

type Outcome = Result<(), Box<dyn Error>>;

const LIMIT: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

/// The story's file.
const FILE_BYTES: usize = 1_300_000;
/// What an upload in flight may cost above its idle connection.
const UPLOAD_BYTES_MAX: u64 = 64 << 10;
/// RSS after many uploads and a rest, above RSS after the first thousand.
const LASTING_GROWTH_BYTES_MAX: u64 = 8 * MIB;
const REST: Duration = Duration::from_secs(10);
/// Threads that have written for all of them end ten seconds later.
const SETTLE: Duration = Duration::from_secs(25);

#[test]
fn a_paused_upload_costs_no_more_than_64_kib_above_an_idle_connection() -> Outcome {
    costs_little(&format!("Content-Length: {FILE_BYTES}\r\n\r\n"), "")
}

/// A body that hyper reads, buffers and all.
#[test]
fn a_paused_upload_of_unknown_length_costs_no_more_either() -> Outcome {
    costs_little(&format!("Transfer-Encoding: chunked\r\n\r\n{FILE_BYTES:x}\r\n"), "\r\n0\r\n\r\n")
}

/// `start` stands between a request's other fields and its content, `end` behind that.
fn costs_little(start: &str, end: &str) -> Outcome {
    const UPLOADS: usize = 500;
    more_descriptors()?;
    let service = Service::upload(&["--durability", "none"])?;
    // What a server costs once, whatever it is asked, is not an upload's.
    warm_up(&service)?;
    let mut connections = (0..UPLOADS).map(|_| connect(&service)).collect::<Result<Vec<_>, _>>()?;
    for connection in &mut connections {
        connection.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")?;
        connection.read_exact(&mut [0; 15])?;
    }
    let idle = service.resident_bytes()?;
    let content = noise(1, FILE_BYTES);
    let before = metric(&service, "upload_received_bytes_total")?;
    for connection in &mut connections {
        let head = format!("PUT /files/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n{start}");
        connection.write_all(head.as_bytes())?;
        connection.write_all(&content[..FILE_BYTES - 1])?;
    }
    let all = before + (UPLOADS * (FILE_BYTES - 1)) as f64;
    eventually("all of it arrived", LIMIT, || {
        (metric(&service, "upload_received_bytes_total").ok()? == all).then_some(())
    });
    let each = || Some(service.resident_bytes().ok()?.saturating_sub(idle) / UPLOADS as u64);
    let first = each();
    let settled = eventually("64 KiB each", SETTLE, || each().filter(|bytes| *bytes <= UPLOAD_BYTES_MAX));
    println!("{first:?} bytes each at once, {settled} settled, above {idle} in all");
    assert_eq!(metric(&service, "upload_in_flight")?, UPLOADS as f64);
    for connection in &mut connections {
        connection.write_all(&content[FILE_BYTES - 1..])?;
        connection.write_all(end.as_bytes())?;
    }
    eventually("all are stored", LIMIT, || (metric(&service, "upload_in_flight").ok()? == 0.0).then_some(()));
    Ok(())
}

/// The ledger says what is taken; the kernel says the same.
#[test]
fn the_ledger_and_rss_move_together() -> Outcome {
    const STEP: usize = 10;
    let service = Service::upload(&["--spool-threshold", "32MiB", "--durability", "none"])?;
    warm_up(&service)?;
    let content = noise(2, 1 << 20);
    let mut connections = Vec::new();
    let mut seen = vec![(metric(&service, "upload_ledger_bytes")? as u64, service.resident_bytes()?)];
    let mut arrived = metric(&service, "upload_received_bytes_total")?;
    for _ in 0..3 {
        for _ in 0..STEP {
            let mut connection = connect(&service)?;
            begin_put(&mut connection, content.len())?;
            connection.write_all(&content[..content.len() - 1])?;
            connections.push(connection);
        }
        arrived += (STEP * (content.len() - 1)) as f64;
        eventually("it arrived", LIMIT, || {
            (metric(&service, "upload_received_bytes_total").ok()? == arrived).then_some(())
        });
        seen.push((metric(&service, "upload_ledger_bytes")? as u64, service.resident_bytes()?));
    }
    println!("ledger and RSS: {seen:?}");
    for step in seen.windows(2) {
        let (ledger, resident) = (step[1].0 - step[0].0, step[1].1.saturating_sub(step[0].1));
        assert!(ledger >= STEP as u64 * MIB, "what is held is in the ledger: {seen:?}");
        assert!(resident >= STEP as u64 * MIB / 2, "what is in the ledger is in RSS: {seen:?}");
        assert!(resident <= ledger + 4 * MIB, "what is in RSS is in the ledger: {seen:?}");
    }
    let (empty, full) = (seen[0].1, service.resident_bytes()?);
    drop(connections);
    eventually("the ledger is empty", LIMIT, || (metric(&service, "upload_ledger_bytes").ok()? == 0.0).then_some(()));
    eventually("RSS follows", LIMIT, || (service.resident_bytes().ok()? <= empty + (full - empty) / 3).then_some(()));
    Ok(())
}

#[test]
fn many_uploads_leave_no_memory_behind() -> Outcome {
    const FIRST: u64 = 1_000;
    let uploads = soak::scaled(10_000, 100_000);
    let service = Service::upload(&["--durability", "none"])?;
    upload(&service, FIRST)?;
    let first = service.resident_bytes()?;
    upload(&service, uploads - FIRST)?;
    let busy = service.resident_bytes()?;
    pace(Instant::now() + REST, || false);
    let rested = service.resident_bytes()?;
    println!("RSS {first} after {FIRST} uploads, {busy} after {uploads}, {rested} after {REST:?} of rest");
    assert!(
        rested <= first + LASTING_GROWTH_BYTES_MAX,
        "RSS {first} after {FIRST}, {rested} after {uploads} and a rest"
    );
    Ok(())
}

/// GrowthBook's flag from 32 MB to 0: uploads in flight are written out and their memory given back within 10 s.
#[test]
fn a_flag_lowered_in_mid_flight_gives_the_memory_back() -> Outcome {
    // Below three quarters of the budget, so that it is the flag that lowers it.
    const UPLOADS: usize = 24;
    let growthbook = GrowthBook::start(Reply::flag(32))?;
    let url = growthbook.url();
    let arguments = ["--growthbook-url", &url, "--growthbook-client-key", CLIENT_KEY, "--durability", "none"];
    let service = Service::upload(&arguments)?;
    let threshold = "upload_spool_threshold_bytes{source=\"growthbook\"}";
    eventually("the flag is there", LIMIT, || (metric(&service, threshold).ok()? == 32.0 * MIB as f64).then_some(()));
    warm_up(&service)?;
    let (before, arrived) = (service.resident_bytes()?, metric(&service, "upload_received_bytes_total")?);
    let content = noise(3, 1 << 20);
    let mut connections = Vec::new();
    for _ in 0..UPLOADS {
        let mut connection = connect(&service)?;
        begin_put(&mut connection, content.len())?;
        connection.write_all(&content[..content.len() - 1])?;
        connections.push(connection);
    }
    let all = arrived + (UPLOADS * (content.len() - 1)) as f64;
    eventually("it arrived", LIMIT, || (metric(&service, "upload_received_bytes_total").ok()? == all).then_some(()));
    let held = service.resident_bytes()?;
    assert!(held >= before + UPLOADS as u64 * MIB / 2, "{before} before, {held} held");
    growthbook.answer(Reply::flag(0));
    let changed = Instant::now();
    // Read buffers stay with their connections.
    let back = eventually("the memory is given back", Duration::from_secs(10), || {
        let lowered = metric(&service, threshold).ok()? == 0.0;
        service.resident_bytes().ok().filter(|bytes| lowered && *bytes <= before + (held - before) / 2)
    });
    println!("{before} before, {held} held, {back} after {:?}", changed.elapsed());
    assert_eq!(metric(&service, threshold)?, 0.0);
    for connection in &mut connections {
        connection.write_all(&content[content.len() - 1..])?;
        let mut line = [0; 12];
        connection.read_exact(&mut line)?;
        assert_eq!(&line, b"HTTP/1.1 201");
    }
    Ok(())
}

/// Small files on connections of their own, eight at a time.
fn upload(service: &Service, count: u64) -> Outcome {
    let next = AtomicU64::new(0);
    let refused = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    if !service.put("a", &[7; 2_000]).is_ok_and(|answer| answer.status == 201) {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(refused.into_inner(), 0, "uploads failed");
    Ok(())
}

fn warm_up(service: &Service) -> Outcome {
    for seed in 0..4 {
        assert_eq!(service.put("warm-up", &noise(seed, FILE_BYTES))?.status, 201);
    }
    Ok(())
}

fn connect(service: &Service) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(service.listen())?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

fn begin_put(connection: &mut TcpStream, bytes: usize) -> std::io::Result<()> {
    write!(
        connection,
        "PUT /files/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {bytes}\r\n\r\n"
    )
}

fn metric(service: &Service, series: &str) -> Result<f64, Box<dyn Error>> {
    let text = http::get(service.admin(), "/metrics")?.text();
    exposition::value(&text, series).ok_or_else(|| format!("no {series}").into())
}

fn more_descriptors() -> Outcome {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
