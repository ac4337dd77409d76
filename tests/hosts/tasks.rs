//! Async code.

use std::future::pending;
use std::hint::black_box;
use std::pin::Pin;

use crate::ground::{Ground, LEAK_BYTES_PER_SECOND, Pace, runtime};

/// What a task of `serve` takes: its future of 4,096 bytes and the runtime's head, in a class of 5,120.
const TASK_BYTES: usize = 5_120;

#[inline(never)]
fn serve(number: u64) {
    tokio::spawn(async move {
        let state = black_box([number; 512]);
        pending::<()>().await;
        black_box(state);
    });
}

pub(crate) fn without_end(ground: &'static Ground) {
    let pace = Pace::new(LEAK_BYTES_PER_SECOND);
    runtime().block_on(async {
        for number in 0.. {
            ground.due(&pace, TASK_BYTES).await;
            serve(number);
        }
    });
}

/// The only code of the program's own is a function and the closure of a task.
pub(crate) fn closure_of_main(ground: &'static Ground) {
    let runtime = runtime();
    let task = runtime.spawn(async move {
        let (pace, mut kept) = (Pace::new(LEAK_BYTES_PER_SECOND), Vec::new());
        loop {
            ground.due(&pace, 3_072).await;
            kept.push(vec![8_u8; 3_072]);
            black_box(&kept);
        }
    });
    let _ = runtime.block_on(task);
}

async fn first(ground: &Ground, pace: &Pace, kept: &mut Vec<String>) {
    tokio::task::yield_now().await;
    second(ground, pace, kept).await;
}

async fn second(ground: &Ground, pace: &Pace, kept: &mut Vec<String>) {
    ground.due(pace, 1_024).await;
    Box::pin(third(kept)).await;
}

async fn third(kept: &mut Vec<String>) {
    tokio::task::yield_now().await;
    fourth(kept).await;
}

async fn fourth(kept: &mut Vec<String>) {
    tokio::task::yield_now().await;
    kept.push("x".repeat(1_024));
}

pub(crate) fn deep(ground: &'static Ground) {
    runtime().block_on(async {
        let (pace, mut kept) = (Pace::new(LEAK_BYTES_PER_SECOND), Vec::new());
        loop {
            first(ground, &pace, &mut kept).await;
        }
    });
}

type Work = Pin<Box<dyn Future<Output = [u8; 2_048]> + Send>>;

#[inline(never)]
fn queue_work(queue: &mut Vec<Work>, fill: u8) {
    let body = [fill; 2_048];
    queue.push(Box::pin(async move {
        pending::<()>().await;
        black_box(body)
    }));
}

pub(crate) fn boxed_futures(ground: &'static Ground) {
    let mut queue = Vec::with_capacity(1 << 20);
    // The future holds the body and what it returns it by.
    ground.every(2_560, |number| queue_work(&mut queue, number as u8));
}
