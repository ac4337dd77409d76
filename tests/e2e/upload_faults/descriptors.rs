//! Too few file descriptors: connections wait, uploads hear 503, nothing spins, and it passes.

use std::fs;
use std::time::Duration;

use heapline_tests::deadline::eventually;
use heapline_tests::promises::{Promises, assert_at_rest, assert_not_spinning, noise};
use heapline_tests::service::Service;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::{Connection, Outcome, RECOVERY_LIMIT};

/// Connections that are open before descriptors run out, and those that use them up.
const EARLY: usize = 6;
const CROWD: usize = 40;

#[test]
fn a_server_without_descriptors_refuses_rests_and_recovers() -> Outcome {
    let (service, promises) = (Service::upload(&[])?, Promises::default());
    let mut early = (0..EARLY).map(|_| Connection::open(&service)).collect::<Result<Vec<_>, _>>()?;
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", service.id().unwrap_or(0))).map_or(0, Iterator::count);
    let id = service.id()?;
    eventually("the connections are accepted", RECOVERY_LIMIT, || {
        let sockets = fs::read_dir(format!("/proc/{id}/fd")).ok()?.flatten();
        let sockets = sockets.filter_map(|fd| fs::read_link(fd.path()).ok());
        let sockets = sockets.filter(|target| target.to_string_lossy().starts_with("socket:")).count();
        (sockets >= EARLY + 2).then_some(())
    });
    // Not one more than it has.
    limit(id, descriptors() as u64)?;
    let crowd = (0..CROWD).map(|_| Connection::open(&service)).collect::<Result<Vec<_>, _>>()?;
    assert_not_spinning(id)?;
    let mut statuses = Vec::new();
    for connection in &mut early {
        let content = noise(1, 10_000);
        connection.begin_put(content.len())?;
        connection.send(&content)?;
        statuses.push(connection.status()?);
    }
    // Busy, which passes, and not broken; whoever is refused makes room for the next.
    assert_eq!(statuses[0], 503);
    assert!(statuses.iter().all(|status| [201, 503].contains(status)), "{statuses:?}");
    drop(crowd);
    drop(early);
    // Those that are closed make room; the limit is what it was.
    limit(id, descriptors() as u64 + 12)?;
    eventually("uploads are taken again", RECOVERY_LIMIT, || {
        promises.put(&service, &noise(2, 10_000)).is_ok_and(|status| status == 201).then_some(())
    });
    for seed in 3..20 {
        assert_eq!(promises.put(&service, &noise(seed, 10_000))?, 201);
    }
    promises.check(&service)?;
    assert_at_rest(&service, (EARLY + CROWD) as u64)
}

/// The commit needs descriptors of its own, the first time: the journal's and the event log's.
#[test]
fn a_commit_without_descriptors_is_undone() -> Outcome {
    let (service, promises) = (Service::upload(&[])?, Promises::default());
    let id = service.id()?;
    let before = fs::read_dir(format!("/proc/{id}/fd"))?.count() as u64;
    // A socket and a spool file fit, and then one, two, three files more: somewhere in between the commit fails.
    for spare in 1..8 {
        limit(id, before + spare)?;
        let answer = heapline_tests::deadline::poll(Duration::from_secs(1), || {
            let mut connection = Connection::open(&service).ok()?;
            let content = noise(spare, 5_000);
            connection.begin_put(content.len()).ok()?;
            connection.send(&content).ok()?;
            connection.0.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
            connection.status().ok()
        });
        assert!(answer.is_none_or(|status| [201, 503].contains(&status)), "{spare} spare: {answer:?}");
    }
    limit(id, before + 100)?;
    eventually("uploads are taken", RECOVERY_LIMIT, || {
        promises.put(&service, &noise(2, 10_000)).is_ok_and(|status| status == 201).then_some(())
    });
    promises.check(&service)?;
    assert_at_rest(&service, 8)
}

/// Descriptors of a running process, from now on.
fn limit(id: u32, descriptors: u64) -> std::io::Result<()> {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    // The hard limit, which the child has from here, stays: so the other can be raised again.
    let limit = Rlimit { current: Some(descriptors), maximum: getrlimit(Resource::Nofile).maximum };
    Ok(prlimit(pid, Resource::Nofile, limit).map(drop)?)
}
