//! Chance from a seed, and noise of several colours.

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0x9E37_79B9_7F4A_7C15)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In (0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    pub(crate) fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Even in the logarithm.
    pub(crate) fn log_range(&mut self, low: f64, high: f64) -> f64 {
        self.range(low.ln(), high.ln()).exp()
    }

    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[((self.unit() * choices.len() as f64) as usize).min(choices.len() - 1)]
    }

    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    White,
    /// A sum of random walks with time constants from half a minute to four hours.
    Pink,
    /// A random walk that is pulled back within hours.
    Brown,
    /// Mostly small, sometimes large, never negative.
    HeavyTailed,
    /// White, but only whole multiples of two standard deviations are seen: large extents come and go.
    Quantised,
}

pub(crate) const COLOURS: [Colour; 5] =
    [Colour::White, Colour::Pink, Colour::Brown, Colour::HeavyTailed, Colour::Quantised];

const PINK_SECONDS: [f64; 5] = [30.0, 120.0, 600.0, 3_000.0, 14_400.0];
const BROWN_SECONDS: f64 = 7_200.0;

/// Noise of unit standard deviation, about.
#[derive(Debug, Clone)]
pub(crate) struct Noise {
    colour: Colour,
    chance: Chance,
    walks: [f64; 5],
}

impl Noise {
    pub(crate) fn new(colour: Colour, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let walks = [0.0; 5].map(|_: f64| chance.normal());
        Self { colour, chance, walks }
    }

    /// The value `step_seconds` after the last one.
    pub(crate) fn after(&mut self, step_seconds: f64) -> f64 {
        let chance = &mut self.chance;
        let mut walk = |value: &mut f64, constant: f64| {
            let keep = (-step_seconds / constant).exp();
            *value = keep * *value + (1.0 - keep * keep).sqrt() * chance.normal();
            *value
        };
        match self.colour {
            Colour::White => self.chance.normal(),
            Colour::Pink => {
                self.walks.iter_mut().zip(PINK_SECONDS).map(|(value, seconds)| walk(value, seconds)).sum::<f64>()
                    / 5_f64.sqrt()
            }
            Colour::Quantised => 2.0 * (0.5 * self.chance.normal()).round(),
            Colour::Brown => walk(&mut self.walks[0], BROWN_SECONDS),
            Colour::HeavyTailed => (self.chance.unit().powf(-1.0 / 2.2) - 1.0).min(20.0),
        }
    }
}
