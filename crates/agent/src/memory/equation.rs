//! The memory equation: why the process is as large as it is.

use super::HeapBytes;

/// Four terms that add up to the resident memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Equation {
    /// What the program has allocated and not freed. 0 without jemalloc's statistics.
    pub live_heap_bytes: i64,
    /// Lost to size classes and partly used pages, and jemalloc's bookkeeping.
    pub allocator_overhead_bytes: i64,
    /// Unused pages that jemalloc has not given back yet; it does so after the decay time, or on demand.
    pub retained_dirty_bytes: i64,
    /// Resident without jemalloc's knowledge: the binary, thread stacks, mappings. Negative where live pages were
    /// never touched, so that they are allocated but not resident.
    pub outside_allocator_bytes: i64,
}

impl Equation {
    /// Splits `rss_bytes`. Without `heap` all of it is outside the allocator.
    pub fn new(rss_bytes: u64, heap: Option<&HeapBytes>) -> Self {
        let rss = signed(rss_bytes);
        let Some(heap) = heap else {
            return Self { outside_allocator_bytes: rss, ..Self::default() };
        };
        let live = signed(heap.allocated);
        let resident = signed(heap.resident);
        // jemalloc counts its internal allocations both as metadata and as active, so the difference may fall a
        // little below zero; the overhead takes up what is left, which keeps the sum exact.
        let retained_dirty = (resident - signed(heap.active) - signed(heap.metadata)).max(0);
        Self {
            live_heap_bytes: live,
            allocator_overhead_bytes: resident - retained_dirty - live,
            retained_dirty_bytes: retained_dirty,
            outside_allocator_bytes: rss - resident,
        }
    }

    /// The resident memory that the terms explain.
    pub fn rss_bytes(&self) -> i64 {
        self.live_heap_bytes + self.allocator_overhead_bytes + self.retained_dirty_bytes + self.outside_allocator_bytes
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn heap(allocated: u64, active: u64, metadata: u64, resident: u64) -> HeapBytes {
        HeapBytes { allocated, active, metadata, resident, mapped: resident, retained: 0 }
    }

    #[test]
    fn each_term_has_its_meaning() {
        let equation = Equation::new(150 * MIB, Some(&heap(80 * MIB, 90 * MIB, 5 * MIB, 120 * MIB)));
        assert_eq!(equation.live_heap_bytes, 80 << 20);
        assert_eq!(equation.allocator_overhead_bytes, 15 << 20);
        assert_eq!(equation.retained_dirty_bytes, 25 << 20);
        assert_eq!(equation.outside_allocator_bytes, 30 << 20);
    }

    #[test]
    fn pages_never_touched_make_the_last_term_negative() {
        let equation = Equation::new(20 * MIB, Some(&heap(100 * MIB, 100 * MIB, MIB, 101 * MIB)));
        assert_eq!(equation.outside_allocator_bytes, -(81 << 20));
    }

    #[test]
    fn without_statistics_everything_is_outside() {
        let equation = Equation::new(MIB, None);
        assert_eq!(equation.outside_allocator_bytes, 1 << 20);
        assert_eq!(equation.rss_bytes(), 1 << 20);
    }

    proptest! {
        #[test]
        fn the_terms_always_add_up(rss in 0..1_u64 << 45, a in 0..1_u64 << 44, b in 0..1_u64 << 44, c in 0..1_u64 << 40, d in 0..1_u64 << 45) {
            let equation = Equation::new(rss, Some(&heap(a, b, c, d)));
            prop_assert_eq!(equation.rss_bytes(), rss as i64);
            prop_assert!(equation.retained_dirty_bytes >= 0);
        }
    }
}
