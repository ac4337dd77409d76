//! Somebody removes the store, or a directory of it, under the running server.

use std::fs;

use heapline_tests::promises::{Promises, assert_not_spinning, noise};
use heapline_tests::service::Service;

use heapline_tests::deadline::eventually;

use super::{Connection, Outcome, RECOVERY_LIMIT, readiness, store_available};

#[test]
fn a_store_that_is_removed_acknowledges_nothing_more() -> Outcome {
    let (mut service, promises) = (Service::upload(&[])?, Promises::default());
    assert_eq!(promises.put(&service, &noise(1, 100_000))?, 201);
    // One has begun, and has its file open.
    let content = noise(2, 400_000);
    let mut half = Connection::open(&service)?;
    half.begin_put(content.len())?;
    half.send(&content[..300_000])?;
    eventually("its spool file", RECOVERY_LIMIT, || fs::read_dir(service.store().join("spool")).ok()?.next().map(drop));
    fs::remove_dir_all(service.store())?;
    half.send(&content[300_000..])?;
    assert_eq!(half.status()?, 503);
    for seed in 3..10 {
        let answer = service.put("file.bin", &noise(seed, 1000))?;
        assert_eq!((answer.status, answer.header("content-type")), (503, Some("application/problem+json")));
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(readiness(&service), Some(503));
    eventually("the metric says so", RECOVERY_LIMIT, || (store_available(&service) == Some(0.0)).then_some(()));
    // Not "there is no such file": nobody can tell.
    assert_eq!(service.ask("GET", &format!("/files/{}", promises.ids()[0]), &[])?.status, 503);
    assert_eq!(service.ask("DELETE", &format!("/files/{}", promises.ids()[0]), &[])?.status, 503);
    assert_not_spinning(service.id()?)?;
    promises.forget_all();
    assert_eq!(service.stop().and_then(|status| status.code()), Some(0));
    service.start_again()?;
    assert_eq!(promises.put(&service, b"after")?, 201);
    promises.check(&service)
}

/// A form whose record is durable and whose files cannot be renamed is finished by the next process.
#[test]
fn a_files_directory_that_is_removed_costs_no_committed_form() -> Outcome {
    let (mut service, promises) = (Service::upload(&[])?, Promises::default());
    assert_eq!(promises.put(&service, &noise(1, 1000))?, 201);
    fs::remove_dir_all(service.store().join("files"))?;
    promises.forget_all();
    let status = promises.put(&service, &noise(2, 1000))?;
    assert_eq!(status, 503);
    assert_eq!(readiness(&service), Some(503));
    assert_not_spinning(service.id()?)?;
    service.stop();
    service.start_again()?;
    assert_eq!(fs::read_dir(service.store().join("files"))?.count(), 1, "it was committed, so it is stored");
    assert_eq!(promises.put(&service, &noise(3, 1000))?, 201);
    promises.check(&service)
}
