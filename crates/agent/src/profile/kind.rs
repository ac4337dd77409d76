//! The two kinds of heap profile that Go has.

/// Which of Go's two views of the heap: they differ in the sample type shown first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Heap,
    Allocs,
}
