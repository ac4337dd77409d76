//! The shelf on a real file system.

use super::super::policy::Reason;
use super::*;
use crate::verdict::Verdict;

fn entry(token: &str, number: u64, taken: u64, reason: Reason) -> Entry {
    Entry::new(token, number, taken, reason, Verdict::Climbing)
}

fn ids(shelf: &Shelf) -> Vec<String> {
    shelf.entries().into_iter().map(|entry| entry.id).collect()
}

#[test]
fn the_next_process_finds_what_is_whole() {
    let state = tempfile::tempdir().expect("a directory");
    let first = Shelf::open(state.path(), "aa", &[]).expect("opens");
    for number in 0..3 {
        first.put(entry("aa", number, number, Reason::Periodic), format!("profile {number}").as_bytes()).expect("kept");
    }
    let directory = state.path().join(DIRECTORY);
    let torn = directory.join(first.entries()[1].file_name());
    fs::write(torn, "prof").expect("cut");
    fs::write(directory.join("notes.txt"), "mine").expect("written");
    fs::create_dir(directory.join("aa-9.1.periodic.flat.00000000.pb.gz")).expect("made");
    std::os::unix::fs::symlink("/dev/zero", directory.join("aa-8.1.periodic.flat.00000000.pb.gz")).expect("linked");
    fs::write(directory.join(format!("aa-3.{TEMPORARY}")), "half").expect("written");
    fs::write(directory.join(format!("cc-3.{TEMPORARY}")), "half").expect("written");

    let second = Shelf::open(state.path(), "bb", &["cc".to_owned()]).expect("opens");
    assert_eq!(ids(&second), ["aa-0", "aa-2"]);
    assert!(!second.is_own(&second.entries()[0]));
    assert_eq!(second.read("aa-2").expect("there").1, b"profile 2");
    assert!(second.read("aa-1").is_none() && second.read("../notes.txt").is_none());
    assert!(!directory.join(format!("aa-3.{TEMPORARY}")).exists(), "nobody writes it any more");
    assert!(directory.join(format!("cc-3.{TEMPORARY}")).exists(), "somebody does");
    assert!(directory.join("notes.txt").exists());
    let third = Shelf::open(state.path(), "cc", &["aa".to_owned()]).expect("opens");
    assert!(third.entries().is_empty(), "a process that lives keeps its own");
}

#[test]
fn what_goes_meanwhile_is_forgotten() {
    let state = tempfile::tempdir().expect("a directory");
    let shelf = Shelf::open(state.path(), "aa", &[]).expect("opens");
    let kept = shelf.put(entry("aa", 1, 1, Reason::Request), b"a profile").expect("kept");
    assert_eq!((kept.bytes, shelf.bytes()), (9, 9));
    fs::remove_file(state.path().join(DIRECTORY).join(kept.file_name())).expect("removed");
    assert!(shelf.read("aa-1").is_none() && shelf.entries().is_empty());
}

#[test]
fn count_and_bytes_are_bounded() {
    let state = tempfile::tempdir().expect("a directory");
    let shelf = Shelf::open(state.path(), "aa", &[]).expect("opens");
    for number in 0..PROFILES_MAX as u64 + 10 {
        let reason = if number % 16 == 1 { Reason::Verdict } else { Reason::Periodic };
        shelf.put(entry("aa", number, number, reason), b"small").expect("kept");
    }
    let kept = shelf.entries();
    assert_eq!(kept.len(), PROFILES_MAX);
    assert_eq!(kept.iter().filter(|entry| entry.reason == Reason::Verdict).count(), 5);
    assert_eq!((kept[0].id.as_str(), kept[1].id.as_str()), ("aa-0", "aa-1"), "the first stays to compare with");

    let large = vec![7; PROFILE_BYTES_MAX as usize];
    for number in 100..106 {
        shelf.put(entry("aa", number, number, Reason::Headroom), &large).expect("kept");
        assert!(shelf.bytes() <= PROFILES_BYTES_MAX);
    }
    let on_disk = fs::read_dir(state.path().join(DIRECTORY)).expect("a directory").count();
    assert_eq!(on_disk, shelf.entries().len());
    let too_large = [&large[..], &[0]].concat();
    let before = ids(&shelf);
    assert!(shelf.put(entry("aa", 200, 200, Reason::Verdict), &too_large).is_err());
    assert_eq!(ids(&shelf), before, "what cannot be kept costs nothing that is");
    let first = &shelf.entries()[0];
    assert!(shelf.replace(first, &too_large).is_err());
    assert!(shelf.replace(first, &large).is_err(), "in another form it does not pass the bound either");
    assert_eq!(shelf.read("aa-0").expect("it stays").1, b"small");
    // A later process with smaller bounds, or more predecessors, makes room as it opens.
    assert!(Shelf::open(state.path(), "bb", &[]).expect("opens").bytes() <= PROFILES_BYTES_MAX);
}
