//! Full disks, disks without names left, read-only ones: on tmpfs mounts of a few MiB.

use std::fs;

use heapline_tests::deadline::eventually;
use heapline_tests::form::Form;
use heapline_tests::part;
use heapline_tests::promises::{Promises, assert_at_rest, noise};
use heapline_tests::service::{Service, Setup, TOKEN};
use heapline_tests::small_disk::SmallDisk;

use super::{Outcome, RECOVERY_LIMIT, readiness, store_available};

const MIB: usize = 1 << 20;
const MANY_NAMES: u64 = 10_000;

fn on(disk: &SmallDisk, arguments: &[&str]) -> Result<Service, Box<dyn std::error::Error>> {
    Ok(Service::upload_with(Setup { arguments, store: Some(disk.path()), ..Setup::default() })?)
}

/// The disk fills while files are written: 507, and what was begun makes room again at once. With a threshold, files are
/// whole in memory before the disk hears of them.
#[test]
fn a_disk_that_fills_under_uploads_refuses_them_and_gives_the_room_back() -> Outcome {
    for arguments in [&[][..], &["--spool-threshold", "32MiB"], &["--digest", "none"]] {
        let disk = SmallDisk::new(16 << 20, MANY_NAMES);
        let Some(disk) = part::available("upload_faults::disk::a_disk_that_fills", disk) else { return Ok(()) };
        let (service, promises) = (on(&disk, arguments)?, Promises::default());
        for seed in 0..3 {
            assert_eq!(promises.put(&service, &noise(seed, MIB))?, 201);
        }
        let too_large = service.put("large.bin", &noise(9, 14 * MIB))?;
        assert_eq!((too_large.status, too_large.header("content-type")), (507, Some("application/problem+json")));
        // A form of which one file has room: nothing of it stays.
        let form = Form::new().file("a", "a", &noise(10, 2 * MIB)).file("b", "b", &noise(11, 12 * MIB));
        assert_eq!(form.post(service.listen(), TOKEN)?.status, 507);
        assert_eq!(promises.put(&service, &noise(12, 8 * MIB))?, 201, "the room is there again");

        disk.fill()?;
        for seed in 20..30 {
            assert_eq!(promises.put(&service, &noise(seed, MIB))?, 507);
        }
        // What takes no room goes on: reading, and deleting, which makes some.
        promises.check(&service)?;
        let id = promises.ids()[0].clone();
        assert_eq!(service.ask("DELETE", &format!("/files/{id}"), &[])?.status, 204);
        promises.forget(&id);
        assert_at_rest(&service, 8)?;
        disk.make_room()?;
        assert_eq!(promises.put(&service, &noise(30, MIB))?, 201);
        promises.check(&service)?;
        assert_eq!(readiness(&service), Some(200));
    }
    Ok(())
}

/// The default places the agent's state in the store: a full disk must not end the process through it.
#[test]
fn the_agents_state_in_a_full_store_costs_nothing_but_itself() -> Outcome {
    let disk = SmallDisk::new(24 << 20, MANY_NAMES);
    let test = "upload_faults::disk::the_agents_state_in_a_full_store";
    let Some(disk) = part::available(test, disk) else { return Ok(()) };
    let state = disk.path().join("heapline").to_string_lossy().into_owned();
    disk.fill()?;
    disk.give_back(64 << 10)?;
    // Started with hardly any room, and filled up under it.
    let environment = [("HEAPLINE_STATE", state.as_str())];
    let setup = Setup { environment: &environment, store: Some(disk.path()), ..Setup::default() };
    let (mut service, promises) = (Service::upload_with(setup)?, Promises::default());
    disk.fill()?;
    assert_eq!(promises.put(&service, &noise(1, MIB))?, 507);
    service.stop();
    disk.make_room()?;
    service.start_again()?;
    disk.fill()?;
    for seed in 2..20 {
        assert_eq!(promises.put(&service, &noise(seed, 100_000))?, 507);
    }
    assert_at_rest(&service, 8)?;
    disk.make_room()?;
    assert_eq!(promises.put(&service, &noise(1, MIB))?, 201);
    promises.check(&service)
}

/// The commit point itself finds no room: the form is undone.
#[test]
fn a_full_outbox_disk_undoes_the_form() -> Outcome {
    let test = "upload_faults::disk::a_full_outbox_disk_undoes_the_form";
    let Some(disk) = part::available(test, SmallDisk::new(32 << 20, MANY_NAMES)) else { return Ok(()) };
    let outbox = SmallDisk::at(&disk.path().join("outbox"), 256 << 10, 100);
    let Some(outbox) = part::available(test, outbox) else { return Ok(()) };
    let (service, promises) = (on(&disk, &[])?, Promises::default());
    assert_eq!(promises.put(&service, b"before")?, 201);
    outbox.fill()?;
    // The journal's last page may have room for a few.
    let mut refused = 0;
    for seed in 0..60 {
        let form = [noise(seed, 1000), noise(seed + 100, 2000)];
        let files = Form::new().file("a", "a", &form[0]).file("b", "b", &form[1]);
        let answer = files.post(service.listen(), TOKEN)?;
        assert!([201, 507].contains(&answer.status), "{}", answer.text());
        refused += u32::from(!promises.note(&answer, form.iter().map(Vec::as_slice)));
    }
    assert!(refused >= 30, "{refused} forms were refused");
    assert_eq!(fs::read_dir(disk.path().join("files"))?.count(), promises.len(), "a refused form is not visible");
    assert_at_rest(&service, 8)?;
    outbox.make_room()?;
    assert_eq!(promises.put(&service, b"after")?, 201);
    promises.check(&service)?;
    // What the failed appends left in the journal, if anything, is nothing to the next process.
    let mut service = service;
    service.kill();
    service.start_again()?;
    promises.check(&service)
}

/// Behind the commit point there is no room for the event: the form is answered as failed and the server says that it
/// is not ready, until the rest can be done; then it is done.
#[test]
fn no_room_for_the_event_behind_the_commit_point_is_made_up_for() -> Outcome {
    let test = "upload_faults::disk::no_room_for_the_event_behind_the_commit_point";
    let Some(disk) = part::available(test, SmallDisk::new(8 << 20, MANY_NAMES)) else { return Ok(()) };
    let outbox = SmallDisk::at(&disk.path().join("outbox"), 1 << 20, 100);
    let Some(_outbox) = part::available(test, outbox) else { return Ok(()) };
    let (service, promises) = (on(&disk, &[])?, Promises::default());
    assert_eq!(promises.put(&service, b"before")?, 201);
    disk.fill()?;
    let mut status = 201;
    for _ in 0..40 {
        // One page for the file; none for the event's line, once that needs a new one.
        disk.give_back(4096)?;
        status = promises.put(&service, b"x")?;
        if status != 201 {
            break;
        }
    }
    assert_eq!(status, 507);
    assert_eq!(readiness(&service), Some(503));
    assert_eq!(promises.put(&service, b"y")?, 507, "nothing is acknowledged behind it");
    heapline_tests::promises::assert_not_spinning(service.id()?)?;
    disk.make_room()?;
    eventually("what was committed is finished", RECOVERY_LIMIT, || (readiness(&service) == Some(200)).then_some(()));
    assert_eq!(promises.put(&service, b"after")?, 201);
    promises.check(&service)?;
    assert_at_rest(&service, 8)?;
    Ok(())
}

#[test]
fn a_disk_without_names_left_refuses_and_recovers() -> Outcome {
    let test = "upload_faults::disk::a_disk_without_names_left";
    let Some(disk) = part::available(test, SmallDisk::new(16 << 20, 60)) else { return Ok(()) };
    let (service, promises) = (on(&disk, &[])?, Promises::default());
    let mut refused = 0;
    for seed in 0..100 {
        match promises.put(&service, &noise(seed, 100))? {
            201 => assert_eq!(refused, 0),
            status => {
                assert_eq!(status, 507);
                refused += 1;
            }
        }
    }
    assert!(promises.len() > 20 && refused > 20, "{} stored, {refused} refused", promises.len());
    assert_at_rest(&service, 8)?;
    for id in promises.ids().into_iter().take(10) {
        assert_eq!(service.ask("DELETE", &format!("/files/{id}"), &[])?.status, 204);
        promises.forget(&id);
    }
    assert_eq!(promises.put(&service, b"after")?, 201);
    promises.check(&service)
}

/// As after an error of the file system: every upload is refused, the server says so, and it goes on when it can.
#[test]
fn a_read_only_store_is_told_and_left() -> Outcome {
    let test = "upload_faults::disk::a_read_only_store";
    let Some(disk) = part::available(test, SmallDisk::new(16 << 20, MANY_NAMES)) else { return Ok(()) };
    let (mut service, promises) = (on(&disk, &[])?, Promises::default());
    // Before the first upload nothing is open for writing.
    disk.set_read_only(true)?;
    for seed in 0..10 {
        let answer = service.put("file.bin", &noise(seed, 1000))?;
        assert_eq!((answer.status, answer.header("content-type")), (503, Some("application/problem+json")));
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(readiness(&service), Some(503));
    let said = service.ask("GET", "/readyz", &[])?.text();
    assert!(said.contains("read-only"), "{said}");
    eventually("the metric says so", RECOVERY_LIMIT, || (store_available(&service) == Some(0.0)).then_some(()));
    assert_eq!(service.ask("GET", "/livez", &[])?.status, 200);
    assert_at_rest(&service, 8)?;
    disk.set_read_only(false)?;
    eventually("ready again", RECOVERY_LIMIT, || (readiness(&service) == Some(200)).then_some(()));
    eventually("the metric says so", RECOVERY_LIMIT, || (store_available(&service) == Some(1.0)).then_some(()));
    for seed in 0..10 {
        assert_eq!(promises.put(&service, &noise(seed, 1000))?, 201);
    }
    service.kill();
    disk.set_read_only(true)?;
    assert!(service.start_again().is_err(), "a store that cannot be written is no store to start with");
    disk.set_read_only(false)?;
    service.start_again()?;
    promises.check(&service)
}
