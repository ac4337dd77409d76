//! How much of a profile has names, counted in one that is taken for it.

use std::collections::HashSet;

use serde::Serialize;

use crate::profile::profiler::{ProfileError, Profiler};

/// Fewer addresses say nothing about a program.
const ADDRESSES_MIN: usize = 20;

/// Addresses of the program itself, its libraries left out, each counted once.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Coverage {
    pub(crate) addresses: usize,
    pub(crate) with_function: usize,
    pub(crate) with_line: usize,
}

impl Coverage {
    /// A quarter or more of the functions that are named have no line.
    pub(crate) fn lacks_lines(&self) -> bool {
        self.with_function >= ADDRESSES_MIN && self.with_line * 4 < self.with_function * 3
    }
}

pub(super) async fn measure(profiler: &Profiler) -> Result<Coverage, ProfileError> {
    profiler
        .work(|shop| {
            let profile = shop.capture()?;
            let symbols = shop.resolver.resolve(profile.addresses(), &profile.mappings);
            let Some(program) = profile.mappings.first() else { return Ok(Coverage::default()) };
            let addresses: HashSet<u64> = profile.addresses().filter(|&address| program.contains(address)).collect();
            let count = |is: &dyn Fn(u64) -> bool| addresses.iter().filter(|&&address| is(address)).count();
            Ok(Coverage {
                addresses: addresses.len(),
                with_function: count(&|address| !symbols.function(address).is_empty()),
                with_line: count(&|address| symbols.frames(address).iter().any(|frame| frame.line > 0)),
            })
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_functions_without_lines_are_no_matter() {
        let coverage = |with_function, with_line| Coverage { addresses: with_function, with_function, with_line };
        assert!(coverage(100, 60).lacks_lines());
        assert!(!coverage(100, 90).lacks_lines());
        assert!(!coverage(10, 0).lacks_lines());
    }
}
