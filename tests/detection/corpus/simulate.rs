//! Plays a recipe.

use super::noise::{Chance, Colour, Noise};
use super::recipe::{Dose, Kind, Recipe};
use super::{Leak, Row, Trace};

const DAY: f64 = 86_400.0;
const ROCKET_SECONDS: f64 = 4.0 * 3_600.0;

/// Resident bytes for each live one.
const OVERHEAD: f64 = 1.07;

/// The trace and its truth.
pub(crate) fn play(kind: Kind, seed: u64, recipe: &Recipe) -> Trace {
    let mut process = Process::new(recipe, seed.wrapping_mul(7_919).wrapping_add(kind as u64 + 1));
    let mut rows = Vec::new();
    let mut leaked_by = Vec::new();
    while process.seconds < recipe.duration_seconds {
        let row = process.step();
        if let Some(row) = row {
            rows.push(row);
        }
        leaked_by.push((process.seconds, process.leaked_ever));
    }
    let leak = recipe.leak.map(|dose| truth(&dose, recipe, &leaked_by));
    Trace { kind, seed, limit_bytes: recipe.limit_bytes as i64, interval_seconds: recipe.interval_seconds, rows, leak }
}

fn truth(dose: &Dose, recipe: &Recipe, leaked_by: &[(f64, f64)]) -> Leak {
    let deadline_seconds = if 1.0 / dose.per_second < ROCKET_SECONDS {
        dose.onset_seconds + 600.0
    } else if dose.with_traffic {
        dose.onset_seconds + 1.5 * DAY
    } else {
        leaked_by
            .iter()
            .find(|(_, leaked)| *leaked >= 0.1 / if recipe.rss_only { OVERHEAD } else { 1.0 })
            .map_or(recipe.duration_seconds, |(seconds, _)| *seconds)
    };
    Leak {
        onset_seconds: dose.onset_seconds,
        bytes_per_second: dose.per_second * recipe.limit_bytes * if recipe.rss_only { OVERHEAD } else { 1.0 },
        class: dose.class,
        deadline_seconds,
    }
}

struct Process<'a> {
    recipe: &'a Recipe,
    chance: Chance,
    noise: Noise,
    rss_noise: Noise,
    load: Noise,
    seconds: f64,
    born: f64,
    restarts: usize,
    leaked: f64,
    leaked_ever: f64,
    stair: f64,
    dirty: f64,
    gap_until: f64,
    base: f64,
}

impl<'a> Process<'a> {
    fn new(recipe: &'a Recipe, seed: u64) -> Self {
        Self {
            recipe,
            chance: Chance::new(seed),
            noise: Noise::new(recipe.colour, seed ^ 1),
            rss_noise: Noise::new(Colour::Pink, seed ^ 2),
            load: Noise::new(Colour::Pink, seed ^ 3),
            seconds: 0.0,
            born: 0.0,
            restarts: 0,
            leaked: 0.0,
            leaked_ever: 0.0,
            stair: 0.0,
            dirty: 0.0,
            gap_until: 0.0,
            base: recipe.base,
        }
    }

    /// Between 0 and 1, mean one half on a weekday.
    fn traffic(&self) -> f64 {
        let days = self.seconds / DAY + self.recipe.phase;
        let angle = std::f64::consts::TAU * days;
        let wave = 0.5 - 0.42 * angle.cos() - 0.08 * (2.0 * angle + 0.7).cos();
        let weekday = (days + self.recipe.weekday) % 7.0;
        if weekday >= 5.0 { wave * (1.0 - self.recipe.weekend_dip) } else { wave }
    }

    fn step(&mut self) -> Option<Row> {
        let r = self.recipe;
        let interval = r.interval_seconds * if self.chance.happens(0.3) { self.chance.range(0.9, 1.1) } else { 1.0 };
        self.seconds += interval;
        if r.restarts.get(self.restarts).is_some_and(|at| self.seconds >= *at) {
            self.restarts += 1;
            self.born = self.seconds;
            self.leaked = 0.0;
            self.dirty = 0.0;
            self.base = r.base * self.chance.range(0.9, 1.1);
        }
        let traffic = self.traffic();
        self.grow(interval, traffic);
        let age = self.seconds - self.born;
        let start = 1.0 - (-age / r.start_seconds).exp();
        let mut live =
            (self.base + self.leaked_in("climbing")) * start + r.warm_up * (1.0 - (-age / r.warm_up_seconds).exp());
        if age > r.cache_start_seconds {
            live += r.cache * (1.0 - (-(age - r.cache_start_seconds) / r.cache_seconds).exp());
        }
        live += r.wave * traffic;
        live += r.sawtooth * (self.seconds / r.sawtooth_seconds).fract();
        live += r.steps.iter().filter(|(at, _)| *at <= self.seconds).map(|(_, size)| size).sum::<f64>();
        let in_batch = (self.seconds + 0.5 * r.batch_every_seconds) % r.batch_every_seconds;
        if in_batch < r.batch_seconds {
            live += r.batch * (in_batch / (0.3 * r.batch_seconds).min(330.0)).min(1.0);
        }
        let in_burst = (self.seconds + 0.3 * r.burst_every_seconds) % r.burst_every_seconds;
        let burst = if in_burst < r.burst_seconds { r.burst } else { 0.0 };
        live += burst;
        self.dirty = if burst > 0.0 { 0.9 * burst } else { self.dirty * (-interval / 1_800.0).exp() };
        let dirty = if burst > 0.0 { 0.0 } else { self.dirty };
        let load = ((1.0 + 0.6 * self.load.after(interval)) * 100.0).max(0.0).round();
        live += r.work * load / 100.0;
        live += r.noise * self.noise.after(interval);
        live = live.max(0.01);
        self.row(live, dirty, load)
    }

    fn grow(&mut self, interval: f64, traffic: f64) {
        let Some(dose) = self.recipe.leak.filter(|dose| self.seconds > dose.onset_seconds) else { return };
        let rate = dose.per_second * if dose.with_traffic { 2.0 * traffic } else { 1.0 };
        let grown = rate * interval.min(self.seconds - dose.onset_seconds);
        self.leaked_ever += grown;
        match dose.stair_seconds {
            None => self.leaked += grown,
            Some(stair_seconds) => {
                self.stair += grown;
                let size = stair_seconds * dose.per_second;
                if self.stair >= size {
                    self.leaked += size;
                    self.stair -= size;
                }
            }
        }
    }

    fn leaked_in(&self, class: &str) -> f64 {
        if self.recipe.leak.is_some_and(|dose| dose.class == class) { self.leaked } else { 0.0 }
    }

    fn row(&mut self, live: f64, dirty: f64, load: f64) -> Option<Row> {
        let r = self.recipe;
        let active = live * 1.06 + self.leaked_in("fragmenting");
        let resident = active + dirty + 0.004 + live * 0.01;
        let interval = r.interval_seconds;
        let rss = resident
            + 0.02
            + self.leaked_in("climbing_outside_allocator")
            + r.rss_wander * self.rss_noise.after(interval);
        if r.gaps && self.seconds > self.gap_until && self.chance.happens(interval / DAY * 1.5) {
            self.gap_until = self.seconds + self.chance.log_range(2.0 * interval, 7_200.0);
        }
        if self.seconds < self.gap_until || (r.missing > 0.0 && self.chance.happens(r.missing)) {
            return None;
        }
        let bytes = |share: f64| (share * r.limit_bytes) as i64;
        let heap = |share: f64| (!r.rss_only).then(|| bytes(share));
        Some(Row {
            at_seconds: self.seconds,
            seconds: self.seconds
                + r.clock_step_seconds.map_or(0.0, |(at, by)| if self.seconds >= at { by } else { 0.0 }),
            allocated_bytes: heap(live),
            active_bytes: heap(active).filter(|_| !r.allocated_only),
            resident_bytes: heap(resident).filter(|_| !r.allocated_only),
            rss_bytes: (!r.allocated_only).then(|| bytes(rss.max(0.005))),
            in_flight: r.work_known.then_some(load as u64),
        })
    }
}
