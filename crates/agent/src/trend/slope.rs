//! A robust slope with an interval that means what it says.
//!
//! The slope is Theil and Sen's: the median of the slopes between all pairs of points, unmoved by up to 29% of
//! outliers. Its standard error is that of a least squares line through the same points, from the points' distances
//! to the line (after Sen, 1968, the median is 95% as efficient where the noise is normal), and widened for
//! autocorrelation: neighbouring floors tell the same story twice, so the points count as fewer (effective sample size
//! of a first-order autoregression, its correlation corrected for the bias of short detrended series as by Kendall,
//! 1954). The interval is Student's at the remaining degrees of freedom.

/// Pairs grow with the square: at most 10,440 slopes, well below a millisecond.
pub const POINTS_MAX: usize = 145;

/// The autocorrelation is not believed to be above this; beyond, a line tells little anyway.
const CORRELATION_MAX: f64 = 0.95;

/// Efficiency of Theil and Sen's slope against least squares under normal noise.
const EFFICIENCY: f64 = 0.95;

/// Keeps the variance finite where correlation leaves hardly a point.
const FREEDOM_MIN: f64 = 0.5;

/// A line through points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The slope.
    pub bytes_per_second: f64,
    /// Lower bound of its 95% interval.
    pub low: f64,
    /// Upper bound of its 95% interval.
    pub high: f64,
    /// Time from the first to the last point.
    pub span_seconds: f64,
    /// Standard deviation of the points around the line.
    pub residual_bytes: f64,
    /// The least of the rises over the window's quarters, as a share of an even one: 1 for a straight line, 0 or less
    /// where a part of the window does not rise.
    pub evenness: f64,
    /// The rise from the third to the fourth quarter as a share of that from the first to the second: below 1 where
    /// a growth slackens, as of a cache that fills.
    pub persistence: f64,
}

impl Estimate {
    /// The same slope where it is uncertain by `margin` for another reason, too.
    pub fn widened(self, margin: f64) -> Self {
        let [below, above] =
            [self.bytes_per_second - self.low, self.high - self.bytes_per_second].map(|half| half.hypot(margin));
        Self { low: self.bytes_per_second - below, high: self.bytes_per_second + above, ..self }
    }
}

/// Fits a line to points of seconds and bytes, in order of time. `None` for fewer than four points or no time between
/// them. Only the newest [`POINTS_MAX`] count.
pub fn estimate(points: &[(f64, f64)]) -> Option<Estimate> {
    let points = &points[points.len().saturating_sub(POINTS_MAX)..];
    let count = points.len();
    if count < 4 {
        return None;
    }
    let span_seconds = points[count - 1].0 - points[0].0;
    if span_seconds.is_nan() || span_seconds <= 0.0 {
        return None;
    }
    let slope = theil_sen(points);
    let mut residuals: Vec<f64> = points.iter().map(|(seconds, bytes)| bytes - slope * seconds).collect();
    let centre = residuals.iter().sum::<f64>() / count as f64;
    residuals.iter_mut().for_each(|residual| *residual -= centre);

    let sum_of_squares: f64 = residuals.iter().map(|residual| residual * residual).sum();
    let effective = effective_count(&residuals, sum_of_squares);
    let freedom = (effective - 2.0).max(1.0);
    // The line takes two points' worth of noise away, and there are only the effective ones to take from.
    let variance = sum_of_squares / count as f64 * effective / (effective - 2.0).max(FREEDOM_MIN);
    let mean_seconds = points.iter().map(|point| point.0).sum::<f64>() / count as f64;
    let spread: f64 = points.iter().map(|point| (point.0 - mean_seconds).powi(2)).sum();
    let standard_error = (variance / spread * (count as f64 / effective) / EFFICIENCY).sqrt();
    let margin = student_t_975(freedom) * standard_error;

    let (evenness, persistence) = shape(points, slope * span_seconds);
    Some(Estimate {
        bytes_per_second: slope,
        low: slope - margin,
        high: slope + margin,
        span_seconds,
        residual_bytes: (sum_of_squares / (count as f64 - 2.0)).sqrt(),
        evenness,
        persistence,
    })
}

fn theil_sen(points: &[(f64, f64)]) -> f64 {
    let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
    for (place, later) in points.iter().enumerate() {
        for earlier in &points[..place] {
            let seconds = later.0 - earlier.0;
            if seconds > 0.0 {
                slopes.push((later.1 - earlier.1) / seconds);
            }
        }
    }
    median(&mut slopes)
}

/// The median, 0 of nothing. Reorders.
fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    let odd = values.len() % 2 == 1;
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    if odd {
        return *upper;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    f64::midpoint(lower, *upper)
}

/// As how many independent points these count.
fn effective_count(residuals: &[f64], sum_of_squares: f64) -> f64 {
    let count = residuals.len() as f64;
    if sum_of_squares <= 0.0 {
        return count;
    }
    let lagged: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
    // Residuals of a fitted line look less correlated than the noise is: by (2 + 4ρ) / n.
    let correlation = (lagged / sum_of_squares * count + 2.0) / (count - 4.0).max(1.0);
    // It is known to 1/√n only, and too low a guess makes the interval lie: half of that on the safe side.
    let correlation = (correlation + 0.5 / count.sqrt()).clamp(0.0, CORRELATION_MAX);
    count * (1.0 - correlation) / (1.0 + correlation)
}

/// The 97.5% quantile of Student's distribution, within 1%: the expansion of Cornish and Fisher (Abramowitz and
/// Stegun, 26.7.5), and below three degrees of freedom a curve through the values at 1, 2 and 3.
fn student_t_975(freedom: f64) -> f64 {
    const NORMAL: f64 = 1.959_964;
    if freedom < 3.0 {
        let inverse = 1.0 / freedom;
        return 3.463_1 + inverse * (inverse * 15.127_8 - 5.884_7);
    }
    let n = NORMAL;
    let (n3, n5, n7) = (n.powi(3), n.powi(5), n.powi(7));
    n + (n3 + n) / (4.0 * freedom)
        + (5.0 * n5 + 16.0 * n3 + 3.0 * n) / (96.0 * freedom.powi(2))
        + (3.0 * n7 + 19.0 * n5 + 17.0 * n3 - 15.0 * n) / (384.0 * freedom.powi(3))
}

/// Evenness and persistence of a rise: see [`Estimate`].
fn shape(points: &[(f64, f64)], rise: f64) -> (f64, f64) {
    let quarter = points.len() / 4;
    let level = |place: usize| {
        let end = if place == 3 { points.len() } else { (place + 1) * quarter };
        let mut values: Vec<f64> = points[place * quarter..end].iter().map(|point| point.1).collect();
        median(&mut values)
    };
    let levels = [level(0), level(1), level(2), level(3)];
    let rises = [levels[1] - levels[0], levels[2] - levels[1], levels[3] - levels[2]];
    let even = rise / 4.0;
    if even == 0.0 {
        return (0.0, 0.0);
    }
    let least = rises.iter().map(|rise| rise / even).fold(f64::INFINITY, f64::min);
    let persistence = if rises[0] * even > 0.0 { rises[2] / rises[0] } else { f64::INFINITY };
    (least, persistence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Normal noise from a fixed seed (a linear congruential generator and Box and Muller).
    struct Noise(u64);

    impl Noise {
        fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
        }

        fn normal(&mut self) -> f64 {
            (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
        }
    }

    fn noisy(noise: &mut Noise, count: u32, slope: f64, deviation: f64, correlation: f64) -> Vec<(f64, f64)> {
        let mut error = noise.normal();
        let fresh = (1.0 - correlation * correlation).sqrt();
        (0..count)
            .map(|step| {
                error = correlation * error + fresh * noise.normal();
                (f64::from(step) * 10.0, 1e8 + slope * f64::from(step) * 10.0 + deviation * error)
            })
            .collect()
    }

    #[test]
    fn intervals_cover_the_truth_about_as_often_as_they_say() {
        for correlation in [0.0, 0.3, 0.6, 0.8] {
            for count in [10, 30, 90] {
                let mut noise = Noise(7);
                let covered = (0..500)
                    .filter(|_| {
                        let points = noisy(&mut noise, count, 1_000.0, 200_000.0, correlation);
                        let estimate = estimate(&points).expect("enough points");
                        estimate.low <= 1_000.0 && 1_000.0 <= estimate.high
                    })
                    .count();
                assert!(covered >= 450, "{covered} of 500 at correlation {correlation}, {count} points");
            }
        }
    }

    #[test]
    fn intervals_narrow_with_data() {
        let mut noise = Noise(3);
        let width = |points: &[(f64, f64)]| estimate(points).map(|e| e.high - e.low).expect("enough points");
        let points = noisy(&mut noise, 90, 1_000.0, 200_000.0, 0.3);
        assert!(width(&points) < width(&points[..30]) / 3.0);
        // 450 is what a least squares line with its correlation known would have.
        assert!(width(&points) < 600.0, "{}", width(&points));
    }

    #[test]
    fn outliers_do_not_move_it() {
        let mut points: Vec<_> = (0..30).map(|step| (f64::from(step) * 10.0, f64::from(step) * 1e4)).collect();
        points[11].1 += 1e9;
        points[25].1 += 3e9;
        let estimate = estimate(&points).expect("enough points");
        assert!((estimate.bytes_per_second - 1_000.0).abs() < 1e-6);
    }

    #[test]
    fn shapes_are_told_apart() {
        let shape_of = |level: fn(f64) -> f64| {
            let points: Vec<_> = (0..30).map(|step| (f64::from(step), level(f64::from(step)))).collect();
            estimate(&points).map(|e| (e.evenness, e.persistence)).expect("enough points")
        };
        let (evenness, persistence) = shape_of(|t| 5.0 * t);
        assert!(evenness > 0.9 && (0.9..1.2).contains(&persistence), "{evenness} {persistence}");
        let (evenness, _) = shape_of(|t| if t < 14.0 { 0.0 } else { 100.0 });
        assert!(evenness <= 0.1, "a step: {evenness}");
        let (_, persistence) = shape_of(|t| 1.0 - (-t / 10.0).exp());
        assert!(persistence < 0.4, "a cache that fills: {persistence}");
    }

    #[test]
    fn nothing_is_told_of_too_little() {
        assert_eq!(estimate(&[]), None);
        assert_eq!(estimate(&[(1.0, 1.0); 3]), None);
        assert_eq!(estimate(&[(1.0, 1.0); 9]), None);
    }

    #[test]
    fn quantiles_of_student() {
        for (freedom, quantile) in [(1.0, 12.706), (2.0, 4.303), (3.0, 3.182), (5.0, 2.571), (28.0, 2.048)] {
            let got = student_t_975(freedom);
            assert!((got / quantile - 1.0_f64).abs() < 0.01, "{freedom}: {got}");
        }
    }

    proptest! {
        #[test]
        fn shifts_change_nothing_and_scales_scale(
            values in prop::collection::vec(0.0..1e6_f64, 8..60), shift in -1e6..1e6_f64, scale in 0.1..10.0_f64,
        ) {
            let plain: Vec<_> = values.iter().enumerate().map(|(step, value)| (step as f64 * 10.0, *value)).collect();
            let moved: Vec<_> = plain.iter().map(|(t, value)| (t + 500.0, scale * value + shift)).collect();
            let (plain, moved) = (estimate(&plain).expect("points"), estimate(&moved).expect("points"));
            for (expected, got) in [
                (plain.bytes_per_second, moved.bytes_per_second), (plain.low, moved.low), (plain.high, moved.high),
            ] {
                prop_assert!((expected * scale - got).abs() <= 1e-4 * (1.0 + got.abs()), "{expected} {got}");
            }
        }
    }
}
