//! A profile as the flight recorder keeps it: in pprof's form, with names or with what it takes to find them later.
//!
//! Names cost a tenth of a second of a core and more; most recorded profiles nobody ever reads.

use super::live::own_mappings;
use super::model::Profile;
use super::profiler::{Kind, Workshop};
use super::query::NAMES_OF_ANOTHER_PROGRAM;
use super::{decode, encode, strip};
use crate::symbols::Symbols;
use crate::symbols::resolve::{self, Resolver};

/// The comment of a profile that has addresses and build ids and no names yet.
const WITHOUT_NAMES: &str = "no names yet: /profiles/<id> finds them";

impl Workshop {
    /// In pprof's form. Of another process, only files that are still what they were give names.
    pub(crate) fn pprof(&mut self, profile: Profile, is_own: bool) -> Vec<u8> {
        pprof(&mut self.resolver, profile, is_own)
    }

    /// In pprof's form with nothing looked up: for [`Workshop::with_names`], in this process or a later one.
    pub(crate) fn pprof_without_names(&self, profile: Profile) -> Vec<u8> {
        pprof_without_names(profile)
    }

    /// The same profile with names, as far as they can be found now; `None` where it has them.
    pub(crate) fn with_names(&mut self, content: &[u8], is_own: bool) -> Option<Vec<u8>> {
        with_names(&mut self.resolver, content, is_own)
    }
}

fn pprof(resolver: &mut Resolver, mut profile: Profile, is_own: bool) -> Vec<u8> {
    let symbols = if is_own {
        resolver.resolve(profile.addresses(), &own_mappings())
    } else {
        let unchanged = resolve::unchanged(&profile.mappings);
        if unchanged.first() != profile.mappings.first() {
            profile.comments.push(NAMES_OF_ANOTHER_PROGRAM.to_owned());
        }
        resolver.resolve(profile.addresses(), &unchanged)
    };
    strip::start_at_program(&mut profile, symbols);
    encode::pprof(&profile.into(), symbols, Kind::Heap)
}

fn pprof_without_names(mut profile: Profile) -> Vec<u8> {
    profile.comments.push(WITHOUT_NAMES.to_owned());
    encode::pprof(&profile.into(), &Symbols::default(), Kind::Heap)
}

fn with_names(resolver: &mut Resolver, content: &[u8], is_own: bool) -> Option<Vec<u8>> {
    let mut profile = decode::read_addresses(content).ok()?;
    let place = profile.comments.iter().position(|comment| comment == WITHOUT_NAMES)?;
    profile.comments.remove(place);
    profile.has_allocations = profile.counts_allocations();
    Some(pprof(resolver, profile, is_own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::{Count, Sample};

    #[inline(never)]
    fn remember() -> u64 {
        std::hint::black_box(1)
    }

    fn profile() -> Profile {
        let call = remember as fn() -> u64 as usize as u64 + 1;
        let one = Count { objects: 2.0, bytes: 4096.0, ..Count::default() };
        Profile {
            period_bytes: 512 << 10,
            taken_unix_nanos: 1_700_000_000_000_000_123,
            mappings: own_mappings(),
            samples: vec![Sample { stack: [call].into(), inuse: one, alloc: Some(one) }],
            has_allocations: true,
            ..Profile::default()
        }
    }

    fn functions(content: &[u8]) -> Vec<String> {
        let decoded = decode::read(content).expect("a profile");
        let calls = decoded.profile.addresses().collect::<Vec<_>>();
        calls.into_iter().map(|address| decoded.symbols.function(address).to_owned()).collect()
    }

    #[test]
    fn names_are_found_when_somebody_reads_it_in_this_process_or_the_next_one() {
        let recorded = pprof_without_names(profile());
        assert!(functions(&recorded)[0].starts_with("0x"));
        for is_own in [true, false] {
            let mut resolver = Resolver::default();
            let named = with_names(&mut resolver, &recorded, is_own).expect("it had none");
            assert_eq!(functions(&named), ["heapline::profile::recorded::tests::remember"]);
            let read = decode::read_addresses(&*named).expect("a profile");
            assert_eq!((read.samples, read.comments), (profile().samples, vec![]));
            assert_eq!((read.taken_unix_nanos, read.period_bytes), (1_700_000_000_000_000_123, 512 << 10));
            assert_eq!(with_names(&mut resolver, &named, is_own), None, "once is enough");
        }
    }

    #[test]
    fn of_another_version_of_the_program_there_are_addresses_and_build_ids() {
        let mut other = profile();
        other.mappings[0].build_id = "c0ffee".to_owned();
        let named = with_names(&mut Resolver::default(), &pprof_without_names(other), false).expect("it had none");
        assert!(functions(&named)[0].starts_with("0x"));
        let read = decode::read_addresses(&*named).expect("a profile");
        assert_eq!(read.mappings[0].build_id, "c0ffee");
        assert_eq!(read.comments, [NAMES_OF_ANOTHER_PROGRAM]);
    }
}
