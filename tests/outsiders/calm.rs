//! Programs that do not leak.

use std::collections::{HashMap, VecDeque};

use tokio::sync::broadcast;

use crate::ground::{Ground, Pace, Random, rest, runtime};

struct Lru {
    entries: HashMap<u64, Vec<u8>>,
    order: VecDeque<u64>,
    cap: usize,
}

impl Lru {
    fn put(&mut self, key: u64, value: Vec<u8>) {
        if self.entries.insert(key, value).is_none() {
            self.order.push_back(key);
        }
        while self.entries.len() > self.cap {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
    }
}

/// 32 MB after twenty seconds; then each entry takes another's place.
pub(crate) fn lru(_: &'static Ground) {
    let mut lru = Lru { entries: HashMap::new(), order: VecDeque::new(), cap: 8_000 };
    let (pace, mut random) = (Pace::new(1_600_000), Random(5));
    loop {
        while pace.is_due(4_096) {
            let key = random.below(1 << 40);
            lru.put(key, vec![1; 4_096]);
        }
        rest();
    }
}

fn load_user(users: &mut Vec<String>) {
    users.push("u".repeat(1_000));
}

/// 60 MB in the first two minutes, evenly.
pub(crate) fn plateau(ground: &'static Ground) {
    let (pace, mut users) = (Pace::new(500_000), Vec::new());
    while ground.seconds() < 120.0 {
        while pace.is_due(1_024) {
            load_user(&mut users);
        }
        rest();
    }
    crate::ground::idle();
}

fn buffer_metric(buffer: &mut Vec<String>, number: u64) {
    buffer.push(format!("{number:0512}"));
}

/// As much as a leak, for a minute each time.
pub(crate) fn flushed(ground: &'static Ground) {
    let (pace, mut buffer, mut flushed) = (Pace::new(200_000), Vec::new(), 0.0);
    for number in 0.. {
        while pace.is_due(512) {
            buffer_metric(&mut buffer, number);
        }
        if ground.seconds() > flushed + 60.0 {
            flushed = ground.seconds();
            buffer.clear();
        }
        rest();
    }
}

fn enqueue(queue: &mut VecDeque<Vec<u8>>) {
    queue.push_back(vec![3; 3_072]);
}

/// Producers and consumers take turns at being faster.
pub(crate) fn swinging_queue(_: &'static Ground) {
    let (pace, mut random, mut queue) = (Pace::new(10_000_000), Random(77), VecDeque::new());
    let mut bias = 0_i64;
    loop {
        while pace.is_due(3_072) {
            if random.below(3_000) == 0 {
                bias = random.below(21) as i64 - 10;
            }
            if random.below(100) as i64 + bias >= 50 && queue.len() < 8_000 {
                enqueue(&mut queue);
            } else {
                queue.pop_front();
            }
        }
        rest();
    }
}

fn write_log(ring: &mut VecDeque<String>, number: u64) {
    if ring.len() == 30_000 {
        ring.pop_front();
    }
    ring.push_back(format!("{number:0600}"));
}

/// Full after 95 seconds.
pub(crate) fn log_ring(_: &'static Ground) {
    let (pace, mut ring) = (Pace::new(202_000), VecDeque::with_capacity(30_000));
    for number in 0.. {
        while !pace.is_due(640) {
            rest();
        }
        write_log(&mut ring, number);
    }
}

struct Pool {
    idle: Vec<Vec<u8>>,
    made: usize,
}

impl Pool {
    fn take(&mut self) -> Option<Vec<u8>> {
        if self.idle.is_empty() && self.made < 200 {
            self.made += 1;
            return Some(vec![0; 65_536]);
        }
        self.idle.pop()
    }
}

/// More and more are needed at a time, up to the pool's end.
pub(crate) fn pool(ground: &'static Ground) {
    let (mut pool, mut random, mut taken) = (Pool { idle: Vec::new(), made: 0 }, Random(8), Vec::new());
    loop {
        let wanted = (ground.seconds() * 2.0) as u64 + 1;
        let wanted = random.below(wanted.min(250));
        while (taken.len() as u64) < wanted
            && let Some(buffer) = pool.take()
        {
            taken.push(buffer);
        }
        pool.idle.append(&mut taken);
        rest();
    }
}

fn load_configuration(generation: u64) -> HashMap<u64, Vec<u8>> {
    (0..12_000).map(|key| (key, vec![generation as u8; 4_000])).collect()
}

/// 50 MB each 45 seconds, the former freed when the next is there.
pub(crate) fn reloads(ground: &'static Ground) {
    let mut configuration = load_configuration(0);
    let (mut next, mut generation) = (45.0, 0);
    loop {
        if ground.seconds() > next && !configuration.is_empty() {
            generation += 1;
            next += 45.0;
            configuration = load_configuration(generation);
        }
        rest();
    }
}

fn begin_upload() -> Vec<u8> {
    vec![1; 600_000]
}

/// Thirty at a time on the average, each for ten to forty seconds.
pub(crate) fn uploads(ground: &'static Ground) {
    let (pace, mut random) = (Pace::new(720_000), Random(21));
    let mut uploads: Vec<(f64, Vec<u8>)> = Vec::new();
    loop {
        let now = ground.seconds();
        while pace.is_due(600_000) {
            uploads.push((now + 10.0 + random.below(30_000) as f64 / 1e3, begin_upload()));
        }
        uploads.retain(|(until, body)| *until > now && !body.is_empty());
        rest();
    }
}

/// A reader that is always behind holds what the channel holds, and no more.
pub(crate) fn broadcast(_: &'static Ground) {
    runtime().block_on(async {
        let (sender, mut reader) = broadcast::channel(4_096);
        let pace = Pace::new(300_000);
        loop {
            while pace.is_due(2_048) {
                let _ = sender.send(vec![1_u8; 2_048]);
            }
            let _ = reader.try_recv();
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    });
}
