//! What fell within a window's reach, kept from look to look.

use std::collections::VecDeque;

use crate::history::{History, Pair};
use crate::trend::blocks::Reel;

/// Falls that are remembered; beyond, the two smallest count as one.
const FALLS_MAX: usize = 64;

/// The largest fall of medians from any earlier one of the same life within a reach, over a horizon.
#[derive(Debug, Clone)]
pub(super) struct Falls {
    reel: Reel,
    horizon_seconds: f64,
    front: Front,
}

#[derive(Debug, Clone)]
struct Front {
    reach_seconds: f64,
    /// Medians that may still be fallen from, falling: the first is the highest in reach.
    peaks: VecDeque<Pair>,
    /// When something fell and how deep, each deeper than all that came later.
    falls: VecDeque<(f64, f64)>,
}

impl Falls {
    pub(super) fn new(reel: Reel, reach_seconds: f64, horizon_seconds: f64) -> Self {
        let front = Front { reach_seconds, peaks: VecDeque::new(), falls: VecDeque::new() };
        Self { reel, horizon_seconds, front }
    }

    /// As it is now.
    pub(super) fn largest(&mut self, history: &History) -> f64 {
        let since = history.now_seconds() - self.horizon_seconds;
        let Self { reel, front, .. } = self;
        if !reel.holds(history, since) {
            front.peaks.clear();
            front.falls.clear();
        }
        reel.read(history, |block| front.add(block));
        while front.falls.front().is_some_and(|fall| fall.0 < since) {
            front.falls.pop_front();
        }
        let newest = reel.newest().and_then(|block| front.fall_to(&block)).unwrap_or(0.0);
        front.falls.front().map_or(newest, |fall| fall.1.max(newest)).max(0.0)
    }
}

impl Front {
    fn add(&mut self, block: Pair) {
        if let Some(bytes) = self.fall_to(&block).filter(|bytes| *bytes > 0.0) {
            while self.falls.back().is_some_and(|fall| fall.1 <= bytes) {
                self.falls.pop_back();
            }
            let is_full = self.falls.len() == FALLS_MAX;
            match self.falls.back_mut() {
                Some(smallest) if is_full => smallest.0 = block.seconds,
                _ => self.falls.push_back((block.seconds, bytes)),
            }
        }
        while self.peaks.back().is_some_and(|peak| peak.middle <= block.middle) {
            self.peaks.pop_back();
        }
        self.peaks.push_back(block);
    }

    /// From the highest in reach.
    fn fall_to(&mut self, block: &Pair) -> Option<f64> {
        if self.peaks.back().is_some_and(|peak| peak.born_seconds != block.born_seconds) {
            self.peaks.clear();
        }
        while self.peaks.front().is_some_and(|peak| peak.seconds < block.seconds - self.reach_seconds) {
            self.peaks.pop_front();
        }
        self.peaks.front().map(|peak| peak.middle - block.middle)
    }
}
