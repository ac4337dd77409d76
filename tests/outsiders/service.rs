//! A service in tokio.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::ground::{Ground, LEAK_BYTES_PER_SECOND, Pace, runtime};

async fn heartbeat(mut state: [u8; 3_000]) {
    loop {
        tokio::time::sleep(Duration::from_secs(30)).await;
        state[0] = state[0].wrapping_add(1);
    }
}

fn watch_client(tasks: &mut Vec<JoinHandle<()>>, number: u64) {
    tasks.push(tokio::spawn(heartbeat([number as u8; 3_000])));
}

pub(crate) fn join_handles(ground: &'static Ground) {
    runtime().block_on(async {
        let (pace, mut tasks) = (Pace::new(LEAK_BYTES_PER_SECOND), Vec::new());
        for number in 0.. {
            // The future with its state and the argument.
            ground.due(&pace, 7_168).await;
            watch_client(&mut tasks, number);
        }
    });
}

struct Message {
    body: Vec<u8>,
}

fn ingest(queue: &mpsc::UnboundedSender<Message>) {
    let _ = queue.send(Message { body: vec![1; 1_024] });
}

async fn consume(mut queue: mpsc::UnboundedReceiver<Message>) {
    let pace = Pace::new(400_000);
    while let Some(message) = queue.recv().await {
        while !pace.is_due(message.body.len()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// 600 KB/s come, 400 KB/s are read.
pub(crate) fn slow_reader(ground: &'static Ground) {
    runtime().block_on(async {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(consume(receiver));
        let (all, leaks) = (Pace::new(600_000), Pace::new(LEAK_BYTES_PER_SECOND));
        loop {
            while all.is_due(1_024) {
                ingest(&sender);
            }
            ground.due(&leaks, 2_048).await;
        }
    });
}

struct Connection {
    buffer: BytesMut,
}

impl Connection {
    fn read_frame(&mut self) -> Bytes {
        self.buffer.reserve(16_384);
        self.buffer.extend_from_slice(&[9; 16_384]);
        self.buffer.split().freeze()
    }
}

#[derive(Default)]
struct Index {
    keys: HashMap<u64, Bytes>,
}

pub(crate) fn frame_slices(ground: &'static Ground) {
    runtime().block_on(async {
        let (pace, mut index) = (Pace::new(LEAK_BYTES_PER_SECOND), Index::default());
        let mut connection = Connection { buffer: BytesMut::new() };
        for number in 0.. {
            ground.due(&pace, 16_384).await;
            let frame = connection.read_frame();
            index.keys.insert(number, frame.slice(..8));
        }
    });
}

#[derive(Default)]
struct Audit {
    entries: Mutex<Vec<String>>,
}

async fn handle(ground: &Ground, pace: &Pace, audit: &Audit, number: u64) {
    authenticate(ground, pace, audit, number).await;
}

async fn authenticate(ground: &Ground, pace: &Pace, audit: &Audit, number: u64) {
    tokio::task::yield_now().await;
    authorize(ground, pace, audit, number).await;
}

async fn authorize(ground: &Ground, pace: &Pace, audit: &Audit, number: u64) {
    ground.due(pace, 1_024).await;
    load_account(audit, number).await;
}

async fn load_account(audit: &Audit, number: u64) {
    query(audit, number).await;
}

async fn query(audit: &Audit, number: u64) {
    tokio::task::yield_now().await;
    record_query(audit, number).await;
}

async fn record_query(audit: &Audit, number: u64) {
    tokio::task::yield_now().await;
    let entry = format!("{number:01024}");
    audit.entries.lock().expect("not poisoned").push(entry);
}

pub(crate) fn six_deep(ground: &'static Ground) {
    runtime().block_on(async {
        let (pace, audit) = (Pace::new(LEAK_BYTES_PER_SECOND), Audit::default());
        for number in 0.. {
            handle(ground, &pace, &audit, number).await;
        }
    });
}

trait Handler: Send + Sync {
    fn call<'a>(&'a self, number: u64) -> Pin<Box<dyn Future<Output = usize> + Send + 'a>>;
}

struct Recent {
    requests: Mutex<Vec<Vec<u8>>>,
}

impl Handler for Recent {
    fn call<'a>(&'a self, number: u64) -> Pin<Box<dyn Future<Output = usize> + Send + 'a>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let copy = vec![number as u8; 5_000];
            let mut requests = self.requests.lock().expect("not poisoned");
            requests.push(copy);
            requests.len()
        })
    }
}

pub(crate) fn boxed_handlers(ground: &'static Ground) {
    runtime().block_on(async {
        let pace = Pace::new(LEAK_BYTES_PER_SECOND);
        let handlers: Vec<Arc<dyn Handler>> = vec![Arc::new(Recent { requests: Mutex::default() })];
        for number in 0.. {
            // In a class of 5,120.
            ground.due(&pace, 5_120).await;
            for handler in &handlers {
                handler.call(number).await;
            }
        }
    });
}

fn expire_later(body: Vec<u8>) {
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(24 * 3_600)).await;
        drop(body);
    });
}

fn receive_body() -> Vec<u8> {
    vec![2; 4_096]
}

pub(crate) fn timers(ground: &'static Ground) {
    runtime().block_on(async {
        let pace = Pace::new(LEAK_BYTES_PER_SECOND);
        loop {
            // The body; the task besides is 256 bytes and its place in the wheel.
            ground.due(&pace, 4_096 + 256).await;
            expire_later(receive_body());
        }
    });
}
