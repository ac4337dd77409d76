//! What each kind of trace is made of. Sizes are shares of the limit, times are seconds.

use super::noise::{COLOURS, Chance, Colour};

const HOUR: f64 = 3_600.0;
const DAY: f64 = 86_400.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Rocket,
    Steady,
    TrafficLeak,
    Onset,
    Staircase,
    Restarting,
    Outside,
    Fragmentation,
    RssOnly,
    Noise,
    WarmUp,
    SlowWarmUp,
    Cache,
    Diurnal,
    Weekly,
    Sawtooth,
    Steps,
    Batch,
    Retention,
    InFlight,
    WanderingRss,
    Deploys,
}

pub(crate) const KINDS: [Kind; 22] = [
    Kind::Rocket,
    Kind::Steady,
    Kind::TrafficLeak,
    Kind::Onset,
    Kind::Staircase,
    Kind::Restarting,
    Kind::Outside,
    Kind::Fragmentation,
    Kind::RssOnly,
    Kind::Noise,
    Kind::WarmUp,
    Kind::SlowWarmUp,
    Kind::Cache,
    Kind::Diurnal,
    Kind::Weekly,
    Kind::Sawtooth,
    Kind::Steps,
    Kind::Batch,
    Kind::Retention,
    Kind::InFlight,
    Kind::WanderingRss,
    Kind::Deploys,
];

impl Kind {
    pub(crate) fn leaks(self) -> bool {
        self <= Kind::RssOnly
    }
}

/// Everything a simulated process may do; 0 or `None` where it does not.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) limit_bytes: f64,
    pub(crate) duration_seconds: f64,
    pub(crate) interval_seconds: f64,
    pub(crate) gaps: bool,
    /// Share of the scrapes that fail, each on its own.
    pub(crate) missing: f64,
    /// When the clock is set, and by how much.
    pub(crate) clock_step_seconds: Option<(f64, f64)>,
    pub(crate) rss_only: bool,
    pub(crate) allocated_only: bool,
    pub(crate) base: f64,
    pub(crate) colour: Colour,
    pub(crate) noise: f64,
    /// Noise of the RSS alone.
    pub(crate) rss_wander: f64,
    /// How fast the base is reached.
    pub(crate) start_seconds: f64,
    pub(crate) warm_up: f64,
    pub(crate) warm_up_seconds: f64,
    pub(crate) cache: f64,
    pub(crate) cache_seconds: f64,
    pub(crate) cache_start_seconds: f64,
    /// From trough to peak.
    pub(crate) wave: f64,
    pub(crate) phase: f64,
    pub(crate) weekend_dip: f64,
    pub(crate) weekday: f64,
    pub(crate) sawtooth: f64,
    pub(crate) sawtooth_seconds: f64,
    pub(crate) steps: Vec<(f64, f64)>,
    pub(crate) batch: f64,
    pub(crate) batch_every_seconds: f64,
    pub(crate) batch_seconds: f64,
    /// Dirty pages left by bursts: share, how often, how long they last.
    pub(crate) burst: f64,
    pub(crate) burst_every_seconds: f64,
    pub(crate) burst_seconds: f64,
    pub(crate) work: f64,
    pub(crate) work_known: bool,
    pub(crate) restarts: Vec<f64>,
    pub(crate) leak: Option<Dose>,
}

/// A leak.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dose {
    pub(crate) per_second: f64,
    pub(crate) onset_seconds: f64,
    /// In proportion to traffic.
    pub(crate) with_traffic: bool,
    /// In steps this far apart.
    pub(crate) stair_seconds: Option<f64>,
    pub(crate) class: &'static str,
}

impl Recipe {
    pub(crate) fn new(kind: Kind, seed: u64) -> Self {
        let mut chance = Chance::new(seed.wrapping_mul(1_000_003).wrapping_add(kind as u64));
        let c = &mut chance;
        let mut recipe = Self::plain(c);
        recipe.shape(kind, c);
        recipe
    }

    /// What is not 0, for people.
    pub(crate) fn words(&self) -> String {
        let mut words = format!(
            "{:.1} d every {} s, base {:.2}, {:?} noise {:.4}, wander {:.4}, warm-up {:.3} in {:.0} s",
            self.duration_seconds / DAY,
            self.interval_seconds,
            self.base,
            self.colour,
            self.noise,
            self.rss_wander,
            self.warm_up,
            self.warm_up_seconds,
        );
        let flags = [
            ("gaps", self.gaps),
            ("RSS only", self.rss_only),
            ("allocated only", self.allocated_only),
            ("clock set", self.clock_step_seconds.is_some()),
            ("work known", self.work_known),
        ];
        flags.iter().filter(|(_, set)| *set).for_each(|(name, _)| words += &format!(", {name}"));
        let sizes = [
            ("cache", self.cache, self.cache_seconds),
            ("cache from", self.cache, self.cache_start_seconds),
            ("wave", self.wave, self.phase),
            ("weekend", self.weekend_dip, self.weekday),
            ("sawtooth", self.sawtooth, self.sawtooth_seconds),
            ("batch", self.batch, self.batch_every_seconds),
            ("burst", self.burst, self.burst_every_seconds),
            ("work", self.work, 0.0),
        ];
        for (name, size, seconds) in sizes.into_iter().filter(|(_, size, _)| *size > 0.0) {
            words += &format!(", {name} {size:.3} {seconds:.2}");
        }
        if !self.steps.is_empty() {
            words += &format!(", steps {:?}", self.steps);
        }
        if let Some(first) = self.restarts.first() {
            words += &format!(", {} restarts from {first:.0} s", self.restarts.len());
        }
        if let Some(stair) = self.leak.and_then(|leak| leak.stair_seconds) {
            words += &format!(", stairs of {stair:.0} s");
        }
        words
    }

    fn plain(c: &mut Chance) -> Self {
        let colour = c.one_of(&COLOURS);
        Self {
            limit_bytes: c.log_range(128e6, 64e9).round(),
            duration_seconds: c.range(2.0, 4.0) * DAY,
            interval_seconds: c.one_of(&[5.0, 10.0, 15.0, 30.0, 60.0, 60.0, 300.0]),
            gaps: c.happens(0.3),
            missing: if c.happens(0.3) { c.range(0.0, 0.05) } else { 0.0 },
            clock_step_seconds: None,
            rss_only: c.happens(0.15),
            allocated_only: c.happens(0.1),
            base: c.range(0.05, 0.3),
            colour,
            noise: c.log_range(5e-4, 0.01),
            rss_wander: c.log_range(2e-4, 2e-3),
            start_seconds: 15.0,
            warm_up: c.range(0.0, 0.05),
            warm_up_seconds: c.log_range(20.0, 300.0),
            cache: 0.0,
            cache_seconds: 1.0,
            cache_start_seconds: 0.0,
            wave: 0.0,
            phase: c.unit(),
            weekend_dip: 0.0,
            weekday: c.range(0.0, 7.0).floor(),
            sawtooth: 0.0,
            sawtooth_seconds: 1.0,
            steps: Vec::new(),
            batch: 0.0,
            batch_every_seconds: 1.0,
            batch_seconds: 1.0,
            burst: 0.0,
            burst_every_seconds: 1.0,
            burst_seconds: 1.0,
            work: 0.0,
            work_known: false,
            restarts: Vec::new(),
            leak: None,
        }
    }

    fn shape(&mut self, kind: Kind, c: &mut Chance) {
        match kind {
            Kind::Rocket => {
                let hours = c.log_range(0.4, 3.6);
                let onset = if c.happens(0.3) { 0.0 } else { c.range(0.3, 6.0) * HOUR };
                self.duration_seconds = onset + hours * HOUR;
                self.interval_seconds = c.one_of(&[1.0, 5.0, 10.0, 15.0, 30.0, 60.0]);
                self.noise = c.log_range(2e-4, 3e-3);
                // A gap of minutes takes the deadline away; single failed scrapes do not.
                self.gaps = false;
                self.leak(1.0 / hours / HOUR, onset, "climbing");
            }
            Kind::Steady => self.leak(c.log_range(0.05, 2.0) / DAY, 0.0, "climbing"),
            Kind::Onset => {
                let onset = c.range(0.2, 1.5) * DAY;
                self.leak(c.log_range(0.05, 2.0) / DAY, onset, "climbing");
            }
            Kind::TrafficLeak => {
                self.wave = c.range(0.03, 0.2);
                self.duration_seconds = c.range(3.0, 6.0) * DAY;
                let onset = if c.happens(0.5) { 0.0 } else { c.range(0.5, 2.0) * DAY };
                self.leak(c.log_range(0.06, 0.3) / DAY, onset, "climbing");
                self.dose().with_traffic = true;
            }
            Kind::Staircase => {
                let per_day = c.log_range(0.08, 1.0);
                self.leak(per_day / DAY, 0.0, "climbing");
                self.dose().stair_seconds = Some(c.range(0.006, 0.02) / per_day * DAY);
            }
            Kind::Restarting => {
                let per_day = c.log_range(0.1, 2.0);
                self.leak(per_day / DAY, 0.0, "climbing");
                let every = c.range(2.0, 10.0) * HOUR;
                self.restart(every, c);
            }
            Kind::Outside => self.leak(c.log_range(0.05, 2.0) / DAY, 0.0, "climbing_outside_allocator"),
            Kind::Fragmentation => self.leak(c.log_range(0.05, 2.0) / DAY, 0.0, "fragmenting"),
            Kind::RssOnly => {
                self.rss_only = true;
                let onset = if c.happens(0.5) { 0.0 } else { c.range(0.2, 1.0) * DAY };
                self.leak(c.log_range(0.05, 2.0) / DAY, onset, "climbing");
            }
            Kind::Noise => self.noise = c.log_range(2e-3, 0.03),
            Kind::WarmUp => {
                self.warm_up = c.range(0.1, 0.4);
                self.warm_up_seconds = c.log_range(60.0, 1_800.0);
            }
            Kind::SlowWarmUp => {
                self.warm_up = c.range(0.08, 0.4);
                self.warm_up_seconds = c.log_range(1.0, 6.0) * HOUR;
            }
            Kind::Cache => {
                self.cache = c.range(0.05, 0.4);
                self.cache_seconds = c.log_range(0.3, 6.0) * HOUR;
                self.cache_start_seconds = if c.happens(0.7) { 0.0 } else { c.range(1.0, 20.0) * HOUR };
            }
            Kind::Diurnal => {
                self.wave = c.range(0.03, 0.25);
                self.duration_seconds = c.range(2.0, 6.0) * DAY;
            }
            Kind::Weekly => {
                self.wave = c.range(0.05, 0.25);
                self.weekend_dip = c.range(0.2, 0.6);
                self.duration_seconds = c.range(9.0, 16.0) * DAY;
                self.interval_seconds = c.one_of(&[60.0, 300.0]);
            }
            Kind::Sawtooth => {
                self.sawtooth = c.range(0.02, 0.25);
                self.sawtooth_seconds = c.log_range(60.0, if self.sawtooth < 0.07 { 14_400.0 } else { 480.0 });
            }
            Kind::Steps => {
                let count = 1 + (c.unit() * 4.0) as usize;
                self.steps = (0..count).map(|_| (c.unit() * self.duration_seconds, c.range(-0.08, 0.15))).collect();
            }
            Kind::Batch => {
                self.batch = c.range(0.05, 0.3);
                self.batch_every_seconds = c.log_range(0.5, 24.0) * HOUR;
                self.batch_seconds = self.batch_every_seconds.min(4.0 * HOUR) * c.range(0.1, 0.5);
            }
            Kind::Retention => {
                self.burst = c.range(0.1, 0.4);
                self.burst_every_seconds = c.log_range(0.5, 12.0) * HOUR;
                self.burst_seconds = c.log_range(30.0, 3_600.0);
            }
            Kind::InFlight => {
                self.work = c.range(0.03, 0.2);
                self.work_known = c.happens(0.6);
            }
            Kind::WanderingRss => self.rss_wander = c.range(0.005, 0.03),
            Kind::Deploys => {
                self.warm_up = c.range(0.05, 0.25);
                self.warm_up_seconds = c.log_range(60.0, 7_200.0);
                let every = c.range(3.0, 30.0) * HOUR;
                self.restart(every, c);
            }
        }
        // A wave rides under some of the others too, and some hosts say what they have in hand.
        if matches!(kind, Kind::Noise | Kind::Outside | Kind::Fragmentation | Kind::Steps) && c.happens(0.2) {
            self.wave = c.range(0.01, 0.03);
        }
        if matches!(kind, Kind::Steady | Kind::Onset | Kind::Noise) && c.happens(0.3) {
            self.work = c.range(0.01, 0.08);
            self.work_known = c.happens(0.7);
        }
        self.allocated_only &= !self.rss_only && !matches!(kind, Kind::Retention | Kind::WanderingRss);
        if c.happens(0.06) {
            let by = c.log_range(1.0, 7_200.0) * if c.happens(0.5) { 1.0 } else { -1.0 };
            self.clock_step_seconds = Some((c.unit() * self.duration_seconds, by));
        }
    }

    fn leak(&mut self, per_second: f64, onset_seconds: f64, class: &'static str) {
        if class != "climbing" {
            self.rss_only = false;
            self.allocated_only = false;
        }
        let room = 1.0 - self.base - 0.1;
        self.duration_seconds =
            self.duration_seconds.max(onset_seconds + 2.2 * DAY).min(onset_seconds + room / per_second);
        self.leak = Some(Dose { per_second, onset_seconds, with_traffic: false, stair_seconds: None, class });
    }

    fn dose(&mut self) -> &mut Dose {
        self.leak.as_mut().expect("this kind leaks")
    }

    fn restart(&mut self, every: f64, c: &mut Chance) {
        self.duration_seconds = self.duration_seconds.max(3.0 * DAY);
        self.start_seconds = c.range(15.0, 120.0);
        let mut at = every * c.range(0.3, 1.0);
        while at < self.duration_seconds {
            self.restarts.push(at);
            at += every * c.range(0.7, 1.3);
        }
    }
}
