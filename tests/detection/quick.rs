//! A quick part of the labelled corpus: what every build must still tell, and must still not cry about. The whole of it
//! is `cargo run --release -p heapline-tests --bin detection`.

#[expect(dead_code, reason = "the evaluation writes CSV, too")]
mod corpus;
mod ours;
#[expect(dead_code, reason = "the evaluation looks closer")]
mod score;

use corpus::{KINDS, Trace};
use score::Score;

#[test]
fn most_leaks_are_found_in_time_and_few_alarms_are_false() {
    let mut score = Score::default();
    for kind in KINDS {
        let trace = Trace::new(kind, 0);
        score.add(&trace, &ours::alarms(&trace));
    }
    assert!(score.recall() >= 0.85, "{}\n{}", Score::HEADER, score.line("Heapline"));
    assert!(score.cried <= 1, "{}\n{}", Score::HEADER, score.line("Heapline"));
    assert_eq!(score.class_right, score.class_told);
}

#[test]
fn a_trace_is_the_same_whenever_it_is_made() {
    for kind in KINDS {
        let (first, second) = (Trace::new(kind, 7), Trace::new(kind, 7));
        assert_eq!(first, second);
        assert!(first.rows.len() > 20, "{kind:?}");
        assert_eq!(first.leak.is_some(), kind.leaks(), "{kind:?}");
    }
}
