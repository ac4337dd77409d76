//! A recorded profile that the heap now is compared with.

use std::sync::Arc;

use super::decode::{self, Decoded};
use super::model::Profile;
use super::refusal::ProfileError;
use crate::symbols::{Location, Symbols};

/// Above every address of a program: where addresses stand that are made up.
const MADE_UP: u64 = 1 << 62;

/// pprof, as it was recorded.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    content: Arc<[u8]>,
    is_own: bool,
}

impl Base {
    /// `is_own`: of this process, so that addresses mean the same.
    pub(crate) fn new(content: Vec<u8>, is_own: bool) -> Base {
        Base { content: content.into(), is_own }
    }

    pub(crate) fn is_own(&self) -> bool {
        self.is_own
    }

    /// By the machine's addresses, which only mean something where it [is own](Base::is_own).
    pub(crate) fn by_address(&self) -> Result<Profile, ProfileError> {
        decode::read_addresses(&*self.content).map_err(|error| unreadable(&error))
    }

    /// By names: stacks have made-up addresses.
    pub(crate) fn named(&self) -> Result<Decoded, ProfileError> {
        decode::read(&*self.content).map_err(|error| unreadable(&error))
    }

    /// By names, where an address without one has its object's.
    pub(crate) fn named_by_object(&self) -> Result<Decoded, ProfileError> {
        decode::read_by_object(&*self.content).map_err(|error| unreadable(&error))
    }

    /// What has changed since, and the names for it where `symbols` are not enough. Of the same process, stack by stack;
    /// of another, what was is taken off under its own names: they add up by function, as `pprof -diff_base` does it.
    pub(crate) fn difference(
        &self,
        now: Profile,
        symbols: &Symbols,
    ) -> Result<(Profile, Option<Symbols>), ProfileError> {
        if self.is_own {
            return Ok((now.delta(&self.by_address()?), None));
        }
        let Decoded { profile: mut before, symbols: earlier } = self.named()?;
        let mut both = Symbols::default();
        let mut add = |address: u64, from: &Symbols, at: u64| {
            let location = Location { frames: from.frames(at).into(), function_start: from.function_start(at) };
            both.insert(address, location);
        };
        for address in now.addresses() {
            add(address, symbols, address);
        }
        for sample in &mut before.samples {
            for return_address in &mut sample.stack {
                let address = return_address.saturating_sub(1);
                add(address + MADE_UP, &earlier, address);
                *return_address += MADE_UP;
            }
        }
        Ok((now.delta(&before), Some(both)))
    }
}

fn unreadable(error: &decode::DecodeError) -> ProfileError {
    ProfileError::Failed(format!("the recorded profile cannot be used: {error}"))
}
