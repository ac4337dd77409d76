//! A request of a service: a JSON document is read, changed and written. 20 KB of text, some thousand allocations.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Orders in the document of one request.
const ORDERS: u64 = 50;

/// A document of some 20 KB.
pub fn document() -> String {
    orders(ORDERS)
}

/// A document of so many orders, some 400 bytes each.
pub fn orders(count: u64) -> String {
    let order = |number: u64| {
        json!({
            "id": format!("order-{number:08}"),
            "customer": { "name": format!("Customer {number}"), "address": ["Main Street 1", "12345", "Springfield"] },
            "items": (0..6).map(|item| json!({ "sku": format!("sku-{item}"), "count": item, "price": 9.99 })).collect::<Vec<_>>(),
            "note": "leave it at the door",
        })
    };
    Value::Array((0..count).map(order).collect()).to_string()
}

/// Serves one request; the length of the answer.
pub fn serve(document: &str) -> usize {
    black_box(answer(document)).len()
}

/// The answer to one request; empty where that is no array.
pub fn answer(document: &str) -> String {
    let Ok(Value::Array(mut orders)) = serde_json::from_str(document) else { return String::new() };
    for order in &mut orders {
        order["seen"] = Value::Bool(true);
    }
    Value::Array(orders).to_string()
}

/// Requests a second, from so many threads for so long.
pub fn requests_per_second(threads: usize, time: Duration) -> f64 {
    let started = Instant::now();
    let served: u64 = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let document = document();
                    let mut served = 0;
                    while started.elapsed() < time {
                        black_box(serve(black_box(&document)));
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(0)).sum()
    });
    served as f64 / started.elapsed().as_secs_f64()
}

/// The times of requests, one after the other, for so long.
pub fn request_times(time: Duration) -> Vec<Duration> {
    let document = document();
    let (started, mut times) = (Instant::now(), Vec::with_capacity(1 << 16));
    while started.elapsed() < time {
        let began = Instant::now();
        black_box(serve(black_box(&document)));
        times.push(began.elapsed());
    }
    times
}
