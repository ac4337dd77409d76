//! A look at the heap by stacks. Names are found when somebody asks what grew: that takes a tenth of a second of a
//! core and more, and of most processes nobody ever does.

use std::time::Duration;

use crate::culprit::{Held, Moment, Sites};
use crate::livetable;
use crate::profile::live::own_mappings;
use crate::profile::model::{Count, Profile, Sample};
use crate::symbols::resolve::Resolver;

/// What has lived for a while, by stacks of the live table.
pub(super) struct Unnamed {
    pub(super) seconds: f64,
    live_bytes: Option<u64>,
    /// Everything that lived.
    all: Held,
    /// By the stack: what lives, and what it ever allocated.
    survivors: Vec<(u64, Count, Option<Count>)>,
}

impl Unnamed {
    /// What is at least so old. `None` where there is no live table.
    pub(super) fn see(seconds: f64, live_bytes: Option<u64>, age: Duration) -> Option<Unnamed> {
        let live = livetable::current()?;
        live.tick();
        let table = live.table();
        let mut survivors = Vec::new();
        let age_seconds = age.as_secs_f64().round() as u64;
        table
            .visit_survivors_and_allocations(age_seconds, |found| survivors.push((found.id, found.inuse, found.alloc)));
        let mut samples = Vec::with_capacity(survivors.len());
        table.visit_survivors(0, |found| samples.push(Sample { stack: [].into(), inuse: found.inuse, alloc: None }));
        let all = Held::of_all(&Profile { period_bytes: table.period_bytes(), samples, ..Profile::default() });
        Some(Unnamed { seconds, live_bytes, all, survivors })
    }

    /// By call site. What a stack held whose place in the table is another's by now has none.
    pub(super) fn named(self, sites: &mut Sites, resolver: &mut Resolver) -> Moment {
        let live = livetable::current();
        let stack = |id| live.and_then(|live| live.table().stack(id)).unwrap_or_default();
        let samples = self.survivors.into_iter().map(|(id, inuse, alloc)| Sample { stack: stack(id), inuse, alloc });
        let period_bytes = live.map_or(1, |live| live.table().period_bytes());
        let mut profile =
            Profile { period_bytes, mappings: own_mappings(), samples: samples.collect(), ..Profile::default() };
        let symbols = resolver.resolve_revealed(&mut profile);
        Moment::new(self.seconds, self.live_bytes, sites.group(&profile, symbols).held).of_survivors(self.all)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Unnamed>() + self.survivors.capacity() * size_of::<(u64, Count, Option<Count>)>()
    }
}
