//! What is shared, and so never goes.

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use bytes::{Bytes, BytesMut};

use crate::ground::{Ground, Pace, runtime};

struct Node {
    body: [u8; 960],
    other: Mutex<Option<Arc<Node>>>,
}

/// Two that hold one another.
#[inline(never)]
fn marry() {
    let one = Arc::new(Node { body: [1; 960], other: Mutex::new(None) });
    let other = Arc::new(Node { body: one.body, other: Mutex::new(Some(Arc::clone(&one))) });
    *one.other.lock().unwrap_or_else(PoisonError::into_inner) = Some(other);
}

pub(crate) fn arc_cycles(ground: &'static Ground) {
    ground.every(2 * 1_024, |_| marry());
}

#[inline(never)]
fn publish(queue: &mpsc::Sender<[u64; 32]>, number: u64) {
    // The receiver lives and never looks.
    let _ = queue.send([number; 32]);
}

pub(crate) fn channel(ground: &'static Ground) {
    let (queue, _receiver) = mpsc::channel();
    // Blocks of 31 messages of 256 bytes and their state: 8,192 with what they are rounded to.
    ground.every(264, |number| publish(&queue, number));
}

#[inline(never)]
fn announce(queue: &tokio::sync::mpsc::UnboundedSender<Vec<u8>>) {
    let _ = queue.send(vec![5; 4_096]);
}

pub(crate) fn async_channel(ground: &'static Ground) {
    let (queue, _receiver) = tokio::sync::mpsc::unbounded_channel();
    ground.every(4_096, |_| announce(&queue));
}

#[inline(never)]
fn read_frame() -> Bytes {
    let mut frame = BytesMut::with_capacity(8_192);
    frame.resize(8_192, 4);
    frame.freeze()
}

/// Sixteen bytes of each frame are kept, and with them all of it.
pub(crate) fn slices_of_buffers(ground: &'static Ground) {
    let (runtime, pace, mut ids) = (runtime(), Pace::new(crate::ground::LEAK_BYTES_PER_SECOND), Vec::new());
    runtime.block_on(async {
        loop {
            ground.due(&pace, 8_192).await;
            ids.push(read_frame().slice(16..32));
        }
    });
}

type Callback = Box<dyn Fn(u64) -> u64 + Send>;

#[inline(never)]
fn subscribe(subscribers: &mut Vec<Callback>, state: [u64; 64]) {
    subscribers.push(Box::new(move |number| state[number as usize % 64]));
}

pub(crate) fn callbacks(ground: &'static Ground) {
    let mut subscribers = Vec::with_capacity(1 << 20);
    ground.every(512, |number| subscribe(&mut subscribers, [number; 64]));
}
