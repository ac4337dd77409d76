//! A profile as a client asks for it: which samples, and in which form.

use super::base::Base;
use super::compact::Compact;
use super::kind::Kind;
use super::live::{self, View};
use super::model::Profile;
use super::refusal::{NotTaken, ProfileError};
use super::{dump, encode, strip, text};
use crate::jemalloc::prof;
use crate::livetable;
use crate::symbols::object_state;
use crate::symbols::resolve::{self, Resolver};

/// A comment in a profile of the process before.
pub(super) const NAMES_OF_ANOTHER_PROGRAM: &str =
    "no names: this program is not the one that left the profile; symbolize it with the file of its build id";

/// What to take.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) kind: Kind,
    /// The difference over this time in place of the state now. Not with `debug`.
    pub(crate) seconds: Option<u16>,
    /// Go's text in place of the gzipped protocol buffer.
    pub(crate) debug: bool,
    /// Give unused pages back to the kernel first.
    pub(crate) gc: bool,
    /// Which samples. All but [`View::Now`] need the live table.
    pub(crate) view: View,
    /// The difference to this one. Not with `seconds` or `debug`.
    pub(crate) base: Option<Base>,
}

#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) body: Vec<u8>,
    /// Text for people, else a gzipped pprof profile.
    pub(crate) text: bool,
}

pub(super) fn capture(gc: bool, view: View) -> Result<Profile, NotTaken> {
    compact(gc, view).map(Compact::into_profile)
}

pub(super) fn compact(gc: bool, view: View) -> Result<Compact, NotTaken> {
    if gc {
        prof::purge_all();
    }
    match livetable::current() {
        Some(table) => live::capture(table, view).ok_or(NotTaken::Refused(ProfileError::Nothing)),
        None if view != View::Now => Err(NotTaken::Refused(ProfileError::NeedsLiveTable)),
        None => dump::capture().map(Compact::from).map_err(NotTaken::Failed),
    }
}

pub(super) fn render(mut profile: Compact, query: &Query, resolver: &mut Resolver) -> Result<Rendered, NotTaken> {
    let symbols = match query.view {
        // Files may have changed since that process ended: then there are addresses and build ids, and no names.
        View::Previous { .. } => {
            let unchanged = resolve::unchanged(&profile.mappings);
            if unchanged.first() != profile.mappings.first() {
                profile.comments.push(NAMES_OF_ANOTHER_PROGRAM.to_owned());
            }
            resolver.resolve(profile.addresses(), &unchanged)
        }
        View::Now | View::Survivors { .. } | View::Peak => {
            let missing = object_state::missing_of_program();
            profile.comments.extend(missing.into_iter().map(|missing| format!("names: {missing}")));
            resolver.resolve(profile.addresses(), &profile.mappings)
        }
    };
    strip::compact_at_program(&mut profile, symbols);
    let mut of_both = None;
    if let Some(base) = &query.base {
        let changed;
        (changed, of_both) = base.difference(profile.into_profile(), symbols).map_err(NotTaken::Refused)?;
        profile = changed.into();
    }
    let symbols = of_both.as_ref().unwrap_or(symbols);
    let body = if query.debug {
        text::go_text(&profile.into_profile(), symbols).into_bytes()
    } else {
        encode::pprof(&profile, symbols, query.kind)
    };
    Ok(Rendered { body, text: query.debug })
}
