//! Calls of a file, each with what it says about a stack that it is in; samples are added up by site as they come.

use super::super::site::{Largest, Sites, unnamed};
use super::{Grouped, OneSide};
use crate::profile::model::Count;
use crate::symbols::Frame;
use crate::symbols::owner::{Rank, rank};

/// Frames of a stack that are looked at and shown.
const STACK_FRAMES_MAX: usize = 64;

/// A call, inlined ones included.
pub(super) struct Call {
    /// The innermost first.
    pub(super) frames: Box<[Frame]>,
    /// The best frame, the innermost among equals.
    best: Option<(Rank, u32)>,
    /// The first frame that is worth showing.
    shown: Option<u32>,
    site: Option<u32>,
}

#[derive(Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    grouped: Grouped,
    /// The stack that holds most at each site, by its calls.
    largest: Vec<(u32, f64, Vec<u32>)>,
    places: std::collections::HashMap<u32, usize>,
    pub(super) period_bytes: u64,
    allocated_bytes: f64,
}

impl Calls {
    pub(super) fn new(period_bytes: u64) -> Calls {
        Calls { period_bytes, ..Calls::default() }
    }

    pub(super) fn push(&mut self, frames: Box<[Frame]>) -> u32 {
        let (mut best, mut shown) = (None, None);
        for (place, frame) in frames.iter().enumerate() {
            let rank = rank(frame);
            if rank == Rank::Nothing {
                continue;
            }
            shown = shown.or(Some(place as u32));
            if best.is_none_or(|(best, _)| rank > best) {
                best = Some((rank, place as u32));
            }
            if rank == Rank::User {
                break;
            }
        }
        self.calls.push(Call { frames, best, shown, site: None });
        (self.calls.len() - 1) as u32
    }

    /// Adds a sample whose stack is these calls, the leaf first.
    pub(super) fn add(&mut self, stack: &[u32], inuse: Count, alloc: Option<Count>, sites: &mut Sites) {
        let mut best: Option<(Rank, u32)> = None;
        for &call in stack {
            let Some((rank, _)) = self.calls.get(call as usize).and_then(|call| call.best) else { continue };
            if best.is_none_or(|(best, _)| rank > best) {
                best = Some((rank, call));
            }
            if rank == Rank::User {
                break;
            }
        }
        let number = match best {
            Some((_, call)) => self.site(call, sites),
            None => sites.of_frame(&unnamed()),
        };
        self.grouped.held.entry(number).or_default().add(inuse, alloc, self.period_bytes);
        self.allocated_bytes += alloc.map_or(0.0, |alloc| alloc.bytes);
        if best.is_none() {
            return;
        }
        let next = self.largest.len();
        let place = *self.places.entry(number).or_insert(next);
        if place == next {
            self.largest.push((number, f64::NEG_INFINITY, Vec::new()));
        }
        let (_, bytes, largest) = &mut self.largest[place];
        if inuse.bytes > *bytes {
            *bytes = inuse.bytes;
            largest.clear();
            largest.extend(stack.iter().take(4 * STACK_FRAMES_MAX));
        }
    }

    fn site(&mut self, call: u32, sites: &mut Sites) -> u32 {
        let call = &mut self.calls[call as usize];
        let place = call.best.map_or(0, |(_, place)| place as usize);
        *call.site.get_or_insert_with(|| sites.of_frame(&call.frames[place]))
    }

    pub(super) fn into_read(mut self, seconds: f64) -> OneSide {
        for (number, bytes, stack) in &self.largest {
            let calls = || stack.iter().filter_map(|&call| self.calls.get(call as usize));
            let mut best: Option<(Rank, &Frame)> = None;
            for call in calls() {
                if let Some((rank, place)) = call.best
                    && best.is_none_or(|(best, _)| rank > best)
                {
                    best = Some((rank, &call.frames[place as usize]));
                }
            }
            let Some((_, site)) = best else { continue };
            let before_shown = |call: &Call| call.shown.map_or(call.frames.len(), |place| place as usize);
            let hidden_calls = calls().take_while(|call| call.shown.is_none());
            let hidden: usize = hidden_calls.map(|call| call.frames.len()).sum();
            let hidden = hidden + calls().find(|call| call.shown.is_some()).map_or(0, before_shown);
            let frames = calls().flat_map(|call| call.frames.iter()).skip(hidden).take(STACK_FRAMES_MAX);
            let largest = Largest { bytes: *bytes, site: site.clone(), stack: frames.cloned().collect() };
            self.grouped.largest.insert(*number, largest);
        }
        OneSide { seconds, grouped: self.grouped, allocated_bytes: self.allocated_bytes }
    }
}
