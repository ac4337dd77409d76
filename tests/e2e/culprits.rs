//! Host programs that leak in one way each, and some that do not: the right function is named first, with how much it
//! grows, and nothing where nothing leaks. `make culprits` runs them all, for four minutes each.

use std::thread;
use std::time::Duration;

use heapline_tests::hosts::{HOSTS, Host, IN_TESTS, observe};

/// Long enough for what leaks from the start; the whole of it is waited only for what is never to be named.
const LIMIT: Duration = Duration::from_secs(165);

#[test]
fn what_leaks_is_named_and_what_does_not_is_not() {
    let faults: Vec<String> = thread::scope(|scope| {
        let observed: Vec<_> = HOSTS[..IN_TESTS].iter().map(|host| scope.spawn(move || faults(host))).collect();
        observed.into_iter().flat_map(|observed| observed.join().expect("observed")).collect()
    });
    assert_eq!(faults, Vec::<String>::new());
}

fn faults(host: &Host) -> Vec<String> {
    match observe(host, LIMIT, true) {
        Ok(outcome) => outcome.faults().into_iter().map(|fault| format!("{}: {fault}", host.name)).collect(),
        Err(error) => vec![format!("{}: {error}", host.name)],
    }
}
