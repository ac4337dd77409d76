//! Programs in miniature, looked at every ten seconds as the agent does: objects with a birth and an end, sampled as
//! jemalloc samples, and the heap's exact bytes. What is named is asked at every look.

use super::*;

/// As the agent's: what is younger is no site's.
const AGE_SECONDS: f64 = 10.0;
const LOOK_SECONDS: f64 = 10.0;

/// One call site: how many bytes it allocates in a second, in objects of what size, and how long they live.
struct Maker {
    object_bytes: f64,
    bytes_per_second: Box<dyn Fn(f64) -> f64>,
    /// By when they were born.
    life_seconds: Box<dyn Fn(f64) -> f64>,
    is_random: bool,
    /// Where that is another's.
    site: Option<u32>,
}

fn maker(object_bytes: f64, life_seconds: f64, bytes_per_second: impl Fn(f64) -> f64 + 'static) -> Maker {
    Maker {
        object_bytes,
        bytes_per_second: Box::new(bytes_per_second),
        life_seconds: Box::new(move |_| life_seconds),
        is_random: false,
        site: None,
    }
}

fn living(maker: Maker, life_seconds: impl Fn(f64) -> f64 + 'static) -> Maker {
    Maker { life_seconds: Box::new(life_seconds), ..maker }
}

/// Some megabytes in use that live for a part of a second, and 4 MB that live for five.
fn churn() -> [Maker; 2] {
    [maker(8_192.0, 1.0, |_| 3e6), maker(20_480.0, 5.0, |_| 8e5)]
}

/// Requests with bodies of a hundred kilobytes, as many as come: eighteen megabytes in use, and one or two more or less at each look.
fn requests() -> Maker {
    Maker { is_random: true, ..maker(102_400.0, 2.0, |_| 9e6) }
}

#[derive(Clone, Copy)]
struct Batch {
    site: u32,
    born: f64,
    dies: f64,
    object_bytes: f64,
    bytes: f64,
    sampled: u64,
}

struct Told {
    seconds: f64,
    ranking: Ranking,
}

fn run(seed: u64, makers: &[Maker], seconds: u32) -> Vec<Told> {
    let mut random = Random(seed * 7_919 + 1);
    let mut batches: Vec<Batch> = Vec::new();
    for step in 0..seconds {
        let born = f64::from(step);
        for (place, maker) in (0..).zip(makers) {
            let site = maker.site.unwrap_or(place);
            let mut bytes = (maker.bytes_per_second)(born);
            // Few and large objects come by chance, as requests do, and the heap's exact account shows it.
            if maker.is_random {
                bytes = random.poisson(bytes / maker.object_bytes) as f64 * maker.object_bytes;
            }
            let mut sampler = Site::new(maker.object_bytes);
            sampler.allocate(&mut random, bytes);
            // One as large as many periods is sampled for sure.
            if bytes == maker.object_bytes && sampler.chance() > 0.95 {
                sampler.sampled = 1;
            }
            let dies = born + (maker.life_seconds)(born);
            let (object_bytes, sampled) = (maker.object_bytes, sampler.sampled);
            batches.push(Batch { site, born, dies, object_bytes, bytes, sampled });
        }
    }
    let held = |now: f64, born_until: f64| {
        let mut held: HashMap<u32, Held> = HashMap::new();
        for batch in batches.iter().filter(|batch| batch.born <= born_until && batch.dies > now && batch.sampled > 0) {
            let sampled = Count {
                objects: batch.sampled as f64,
                bytes: batch.sampled as f64 * batch.object_bytes,
                ..Count::default()
            };
            let count = Count::unbiased(sampled, PERIOD_BYTES);
            held.entry(batch.site).or_default().add(count, None, PERIOD_BYTES);
        }
        for batch in batches.iter().filter(|batch| batch.born <= now && batch.sampled > 0) {
            let sampled = Count {
                objects: batch.sampled as f64,
                bytes: batch.sampled as f64 * batch.object_bytes,
                ..Count::default()
            };
            let count = Count::unbiased(sampled, PERIOD_BYTES);
            if let Some(held) = held.get_mut(&batch.site) {
                held.add(Count::default(), Some(count), PERIOD_BYTES);
            }
        }
        held
    };
    let exact = |now: f64| -> f64 {
        let live = batches.iter().filter(|batch| batch.born <= now && batch.dies > now);
        live.map(|batch| batch.bytes).sum()
    };
    let mut series: Vec<Moment> = Vec::new();
    let mut told = Vec::new();
    let mut now = LOOK_SECONDS;
    while now < f64::from(seconds) {
        let all = held(now, now).values().fold(Held::default(), |sum, held| Held {
            bytes: sum.bytes + held.bytes,
            objects: sum.objects + held.objects,
            variance: sum.variance + held.variance,
            ..sum
        });
        let moment = Moment::new(now, Some(exact(now) as u64), held(now, now - AGE_SECONDS));
        series.push(moment.of_survivors(all));
        let looked: Vec<&Moment> = series.iter().collect();
        let mut cohort = |then: &Moment| Some(held(now, then.seconds - AGE_SECONDS));
        told.push(Told { seconds: now, ranking: rank(&looked, Patience::USUAL, &mut cohort) });
        now += LOOK_SECONDS;
    }
    told
}

fn with_churn(makers: Vec<Maker>) -> Vec<Maker> {
    makers.into_iter().chain(churn()).collect()
}

const FOR_EVER: f64 = 1e9;
const SEEDS: u64 = 40;

/// In how many runs the site 0 was first whenever something was told, from `by_seconds` on at the latest, and with a
/// growth and rate within 25% at each of these.
fn right(makers: impl Fn() -> Vec<Maker>, by_seconds: f64, bytes_per_second: f64) -> (u64, u64, u64) {
    let (mut first, mut growth, mut steady) = (0, 0, 0);
    for seed in 1..=SEEDS {
        let told = run(seed, &with_churn(makers()), 260);
        let named: Vec<&Told> = told.iter().filter(|told| told.ranking.state == State::Ok).collect();
        let is_first = named.first().is_some_and(|told| told.seconds <= by_seconds);
        first += u64::from(is_first && named.iter().all(|told| told.ranking.culprits[0].site == 0));
        let near = |value: f64, truth: f64| (value / truth - 1.0).abs() <= 0.25;
        let is_near = |told: &&Told| {
            let culprit = told.ranking.culprits[0];
            near(culprit.bytes, bytes_per_second * told.ranking.window_seconds)
                && near(culprit.bytes_per_second, bytes_per_second)
        };
        growth += u64::from(named.first().is_some_and(is_near) && named.last().is_some_and(is_near));
        let since = told.iter().position(|told| told.ranking.state == State::Ok).unwrap_or(told.len());
        steady += u64::from(told[since..].iter().all(|told| told.ranking.state == State::Ok));
    }
    (first, growth, steady)
}

#[test]
fn leaks_are_first_within_a_quarter_and_stay_named() {
    for object_bytes in [16.0, 1_024.0, 131_072.0] {
        let (first, growth, steady) = right(|| vec![maker(object_bytes, FOR_EVER, |_| 2e5)], 160.0, 2e5);
        assert!(
            first >= SEEDS - 1 && growth >= SEEDS - 2 && steady >= SEEDS - 3,
            "{object_bytes}: {first} {growth} {steady}"
        );
    }
}

/// Whoever asks once, at any time, is told.
#[test]
fn leaks_beside_requests_stay_named() {
    let (mut asked, mut told_nothing, mut wrong) = (0, 0, 0);
    for seed in 1..=10 * SEEDS {
        let makers = with_churn(vec![maker(1_024.0, FOR_EVER, |_| 2e5), requests()]);
        for told in run(seed, &makers, 300).iter().filter(|told| told.seconds >= 160.0) {
            asked += 1;
            told_nothing += u64::from(told.ranking.culprits.is_empty());
            wrong += u64::from(told.ranking.culprits.first().is_some_and(|culprit| culprit.site != 0));
        }
    }
    assert!(wrong == 0 && told_nothing * 60 <= asked, "{told_nothing} and {wrong} of {asked}");
}

/// As counters by label: the table that their entries are in doubles four times, and holds up to half of the bytes.
#[test]
fn a_map_whose_table_doubles_stays_named() {
    const ENTRY_BYTES: f64 = 33.0;
    const ENTRIES_PER_SECOND: f64 = 850.0;
    let (mut asked, mut told_nothing) = (0, 0);
    for seed in 1..=SEEDS {
        let tables = (0..6).map(|doublings| {
            let entries = 57_344.0 * f64::powi(2.0, doublings);
            let table_bytes = entries / 0.875 * ENTRY_BYTES;
            let born = if doublings == 0 { 0.0 } else { (entries / 2.0 / ENTRIES_PER_SECOND).floor() };
            let life_seconds = (entries / ENTRIES_PER_SECOND).floor() - born;
            let table = maker(table_bytes, life_seconds, move |now| if now == born { table_bytes } else { 0.0 });
            Maker { site: Some(0), ..table }
        });
        let labels = maker(96.0, FOR_EVER, |_| 1.6e5);
        let makers: Vec<Maker> = [labels].into_iter().chain(tables).chain([requests()]).collect();
        for told in run(seed, &with_churn(makers), 300).iter().filter(|told| told.seconds >= 160.0) {
            asked += 1;
            told_nothing += u64::from(told.ranking.culprits.first().is_none_or(|culprit| culprit.site != 0));
        }
    }
    assert!(told_nothing * 25 <= asked, "{told_nothing} of {asked}");
}

#[test]
fn a_leak_that_starts_later_has_its_own_beginning() {
    for onset in [60.0, 120.0] {
        let leak = move || vec![maker(1_024.0, FOR_EVER, move |now| if now < onset { 0.0 } else { 2e5 })];
        let (first, growth, steady) = right(leak, onset + 130.0, 2e5);
        assert!(first >= SEEDS - 1 && growth >= SEEDS - 5 && steady >= SEEDS - 4, "{onset}: {first} {growth} {steady}");
    }
}

#[test]
fn a_warm_up_beside_a_leak_is_left_behind() {
    let both = || {
        let warm = maker(8_192.0, FOR_EVER, |now| if now < 40.0 { 1e6 } else { 0.0 });
        vec![maker(1_024.0, FOR_EVER, |_| 2e5), warm]
    };
    let (first, growth, _) = right(both, 170.0, 2e5);
    assert!(first >= SEEDS - 2 && growth >= SEEDS - 6, "{first} {growth}");
}

#[test]
fn a_site_that_warms_up_and_then_leaks_is_told_by_its_leak() {
    let leak = || vec![maker(1_024.0, FOR_EVER, |now| if now < 30.0 { 2e6 } else { 2e5 })];
    let (first, growth, _) = right(leak, 190.0, 2e5);
    assert!(first >= SEEDS - 2 && growth >= SEEDS - 8, "{first} {growth}");
}

#[test]
fn a_leak_under_a_wave_of_work_is_told() {
    let wave = |now: f64| 12e6 * (1.0 - (now / 16.0).cos());
    let (first, growth, _) = right(|| vec![maker(1_024.0, FOR_EVER, |_| 2e5), maker(16_384.0, 1.0, wave)], 180.0, 2e5);
    assert!(first >= SEEDS - 2 && growth >= SEEDS - 8, "{first} {growth}");
}

#[test]
fn a_leak_in_batches_is_told_by_the_fourth() {
    let batches = |now: f64| if now % 50.0 == 0.0 { 1e7 } else { 0.0 };
    let leak = || vec![maker(10_240.0, FOR_EVER, batches)];
    for seed in 1..=SEEDS {
        let told = run(seed, &with_churn(leak()), 260);
        let named: Vec<&Told> = told.iter().filter(|told| told.ranking.state == State::Ok).collect();
        let since = named.first().map(|told| told.seconds);
        assert!(since.is_some_and(|since| (150.0..=220.0).contains(&since)), "{seed}: {since:?}");
        assert!(named.iter().all(|told| told.ranking.culprits[0].site == 0), "{seed}");
    }
}

/// Two thirds of what comes are taken out again, in the order in which they came.
#[test]
fn a_queue_whose_reader_falls_behind_is_told() {
    let queue = || vec![living(maker(1_024.0, 0.0, |_| 6e5), |born| born / 2.0)];
    let (first, _, _) = right(queue, 240.0, 2e5);
    assert!(first >= SEEDS - 6, "{first}");
}

#[test]
fn what_does_not_leak_is_never_named() {
    type Named = (&'static str, fn() -> Vec<Maker>);
    let programs: [Named; 17] = [
        ("churn", Vec::new),
        ("a cache that fills", || vec![maker(4_096.0, FOR_EVER, |now| if now < 75.0 { 5.4e5 } else { 0.0 })]),
        ("one that fills slowly", || vec![maker(4_096.0, FOR_EVER, |now| if now < 110.0 { 2e5 } else { 0.0 })]),
        ("one that fills later", || {
            vec![maker(4_096.0, FOR_EVER, |now| if (50.0..120.0).contains(&now) { 4e5 } else { 0.0 })]
        }),
        ("one that is replaced from then on", || vec![maker(4_096.0, 75.0, |_| 5.4e5)]),
        ("one of random keys", || vec![maker(4_096.0, FOR_EVER, |now| 1.5e6 * (-now / 27.0).exp())]),
        ("a warm-up", || vec![maker(4_096.0, FOR_EVER, |now| if now < 45.0 { 2e6 } else { 0.0 })]),
        ("a step", || vec![maker(4_096.0, FOR_EVER, |now| if now == 60.0 { 4e7 } else { 0.0 })]),
        ("a quick wave", || vec![maker(16_384.0, 1.0, |now| 12e6 * (1.0 - (now / 14.0).cos()))]),
        ("a slow wave", || vec![maker(16_384.0, 5.0, |now| 2e6 * (1.0 - (now / 95.0).cos()))]),
        ("two steps", || vec![maker(4_096.0, FOR_EVER, |now| if now == 60.0 || now == 110.0 { 2e7 } else { 0.0 })]),
        ("batches that are flushed", || {
            vec![living(maker(4_096.0, 0.0, |now| if now % 20.0 == 0.0 { 4e6 } else { 0.0 }), |now| 60.0 - now % 60.0)]
        }),
        ("what is flushed each minute", || vec![living(maker(512.0, 0.0, |_| 2e5), |now| 60.0 - now % 60.0)]),
        ("what expires", || vec![maker(1_024.0, 100.0, |_| 3e5)]),
        ("a load that becomes twice as much", || vec![maker(8_192.0, 40.0, |now| 3e5 * (1.0 + now / 300.0))]),
        ("answers that take as long as they like", || {
            vec![living(maker(65_536.0, 0.0, |_| 6e5), |now| 10.0 + 30.0 * (now * 0.7).sin().abs())]
        }),
        ("sessions that end", || vec![maker(8_192.0, 20.0, |now| 8_192.0 * now / 3.0)]),
    ];
    let mut wrong = Vec::new();
    for (name, program) in programs {
        for seed in 1..=SEEDS {
            for told in run(seed, &with_churn(program()), 300) {
                if !told.ranking.culprits.is_empty() {
                    wrong.push((name, seed, told.seconds, told.ranking.culprits[0].site));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} times: {wrong:?}", wrong.len());
}

/// As a set is moved from one structure to another, page by page.
#[test]
fn bytes_that_move_are_never_named() {
    for seed in 1..=SEEDS {
        // What goes from the site 0 comes to the site 1: lives that end one after the other.
        let mut makers: Vec<Maker> = Vec::new();
        makers.push(maker(4_096.0, FOR_EVER, |now| if now >= 20.0 { 3e5 } else { 0.0 }));
        for part in 0..28_u32 {
            let life = 20.0 + f64::from(part) * 10.0;
            makers.push(maker(4_096.0, life, |now| if now == 0.0 { 3e6 } else { 0.0 }));
        }
        for told in run(seed, &with_churn(makers), 280) {
            assert!(told.ranking.culprits.is_empty(), "{seed} {}: {:?}", told.seconds, told.ranking);
        }
    }
}
