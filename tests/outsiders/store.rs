//! Data that is stored and never removed.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, OnceLock, RwLock};

use crate::ground::Ground;

#[derive(Default)]
struct SessionStore {
    sessions: HashMap<String, Session>,
    hits: u64,
}

struct Session {
    state: Vec<u8>,
    seen: u32,
}

impl Session {
    fn new(user: u64) -> Self {
        let mut state = vec![0; 2_048];
        state[0] = user as u8;
        Self { state, seen: 0 }
    }
}

impl SessionStore {
    fn touch(&mut self, user: u64) {
        let session = self.sessions.entry(format!("user-{user}")).or_insert_with(|| Session::new(user));
        session.seen += 1;
        self.hits += u64::from(session.state[0] & 1);
    }
}

pub(crate) fn sessions(ground: &'static Ground) {
    let mut store = SessionStore::default();
    // 2,048 of state, 16 of the name, and its place in a table that doubles.
    ground.every(2_048 + 16 + 56, |number| store.touch(number));
}

static JOURNAL: Mutex<String> = Mutex::new(String::new());

fn log_line(number: u64) {
    use std::fmt::Write;
    let mut journal = JOURNAL.lock().expect("not poisoned");
    let _ = writeln!(journal, "{number:08} something happened that nobody will ever read again, and so on and on");
}

pub(crate) fn journal(ground: &'static Ground) {
    ground.every(84, log_line);
}

struct Event {
    #[expect(dead_code, reason = "what is kept")]
    payload: [u8; 504],
    number: u64,
}

struct Timeline {
    events: VecDeque<Event>,
}

impl Timeline {
    fn append(&mut self, number: u64) {
        self.events.push_back(Event { payload: [7; 504], number });
        // Somebody forgot that numbers do not wrap.
        while self.events.front().is_some_and(|event| event.number > number) {
            self.events.pop_front();
        }
    }
}

pub(crate) fn events(ground: &'static Ground) {
    let mut timeline = Timeline { events: VecDeque::new() };
    ground.every(512, |number| timeline.append(number));
}

type Shard = RwLock<HashMap<u64, Box<[u8]>>>;

static SHARDS: OnceLock<Vec<Shard>> = OnceLock::new();

fn shards_of() -> &'static [Shard] {
    SHARDS.get_or_init(|| (0..16).map(|_| Shard::default()).collect())
}

fn put_block(key: u64, block: &[u8]) {
    let shard = &shards_of()[key as usize % 16];
    shard.write().expect("not poisoned").insert(key, Box::from(block));
}

pub(crate) fn shards(ground: &'static Ground) {
    ground.every(896, |number| put_block(number, &[3; 896]));
}

struct Store<T> {
    rows: Vec<Vec<T>>,
}

impl<T: Clone + Default> Store<T> {
    fn insert_row(&mut self, columns: usize) -> &mut [T] {
        let row = vec![T::default(); columns];
        self.rows.push(row);
        self.rows.last_mut().map(Vec::as_mut_slice).unwrap_or_default()
    }
}

pub(crate) fn typed(ground: &'static Ground) {
    let mut prices: Store<f64> = Store { rows: Vec::new() };
    let mut scratch: Store<u32> = Store { rows: Vec::new() };
    ground.every(1_280, |number| {
        prices.insert_row(160)[0] = number as f64;
        scratch.insert_row(200)[0] = number as u32;
        if scratch.rows.len() > 500 {
            scratch.rows.clear();
        }
    });
}

fn intern(name: &str) -> &'static str {
    Box::leak(name.to_owned().into_boxed_str())
}

pub(crate) fn interned(ground: &'static Ground) {
    let mut names = Vec::with_capacity(1 << 20);
    ground.every(320, |number| {
        let name = format!("{number:0320}");
        names.push(intern(&name));
    });
}

struct Item {
    #[expect(dead_code, reason = "what is kept")]
    body: [u64; 30],
    next: Option<Box<Item>>,
}

fn push_front(head: Option<Box<Item>>, number: u64) -> Option<Box<Item>> {
    Some(Box::new(Item { body: [number; 30], next: head }))
}

pub(crate) fn list(ground: &'static Ground) {
    let mut head = None;
    ground.every(256, |number| head = push_front(head.take(), number));
    // A list's own drop would recurse for ever.
    std::mem::forget(head.and_then(|item: Box<Item>| item.next));
}

const CHUNK_BYTES: usize = 1 << 20;

#[derive(Default)]
struct Arena {
    chunks: Vec<Vec<u8>>,
}

impl Arena {
    fn alloc(&mut self, bytes: &[u8]) {
        let is_full = self.chunks.last().is_none_or(|chunk| chunk.len() + bytes.len() > CHUNK_BYTES);
        if is_full {
            self.add_chunk();
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.extend_from_slice(bytes);
        }
    }

    fn add_chunk(&mut self) {
        self.chunks.push(Vec::with_capacity(CHUNK_BYTES));
    }
}

pub(crate) fn arena(ground: &'static Ground) {
    let mut arena = Arena::default();
    ground.every(100, |_| arena.alloc(&[1; 100]));
}

fn normalize(text: &str) -> String {
    let mut result = String::new();
    for letter in text.chars().filter(|letter| !letter.is_whitespace()) {
        result.push(letter.to_ascii_lowercase());
    }
    result
}

pub(crate) fn strings_by_char(ground: &'static Ground) {
    let (mut kept, text) = (Vec::new(), "Lorem Ipsum Dolor Sit Amet ".repeat(11));
    // 242 letters in 256 bytes.
    ground.every(256, |_| kept.push(normalize(&text)));
}

fn build_report(number: u64) -> Vec<String> {
    (0..20).map(|line| format!("{number:030}: line {line:020} of the report")).filter(|line| line.len() > 10).collect()
}

pub(crate) fn reports(ground: &'static Ground) {
    let mut reports = Vec::new();
    // Twenty strings of 71 characters, and a vector with room for 32.
    ground.every(20 * 80 + 32 * 24, |number| reports.push(build_report(number)));
}
