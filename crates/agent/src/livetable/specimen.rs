//! A small table, for whoever wants to damage one.

use std::sync::atomic::Ordering::Relaxed;

use super::atomic::AtomicU64;
use super::layout::Sizes;
use super::table::{Identity, Table};

const SIZES: Sizes = Sizes { stacks: 16, frames: 128, samples: 32 };
const SAMPLES: u64 = 24;

/// The bytes of a table of 42 KB in which some samples live, some ended, and stacks were lost: [`check`](super::check)
/// takes it. For fuzzing.
#[doc(hidden)]
pub fn specimen() -> Vec<u8> {
    let words: Vec<AtomicU64> = (0..SIZES.words()).map(|_| AtomicU64::new(0)).collect();
    let identity = Identity { pid: 7, start_unix_nanos: 1, period_bytes: 512 << 10, ..Identity::default() };
    if let Some(table) = Table::create(&words, SIZES, &identity) {
        table.set_maps("- 1000-2000 r-xp 0 00:00 0 /srv/shop\n");
        for number in 0..SAMPLES {
            let stack: Vec<usize> = (0..=number as usize % 7).map(|depth| 0x1000 + 16 * depth).collect();
            table.set_ticks(number);
            table.sampled((number + 2) << 12, &stack, 1 << (number % 20), table.interval_lg() + (number % 3) as u8);
        }
        for number in (0..SAMPLES).step_by(3) {
            table.freed((number + 2) << 12, 1 << (number % 20));
        }
    }
    words.iter().flat_map(|word| word.load(Relaxed).to_ne_bytes()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_specimen_is_a_table() {
        let totals = super::super::check(&super::specimen()).expect("a table");
        assert_eq!((totals.sampled, totals.freed, totals.live_samples, totals.without_stack), (24, 8, 16, 0));
    }
}
