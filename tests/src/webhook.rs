//! A receiver of Alertmanager's webhook.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::port;

/// The most deliveries that are kept; later ones are answered and forgotten.
const MAX_DELIVERIES: usize = 1000;
/// The largest body that is read.
const MAX_BODY_BYTES: u64 = 4 << 20;
/// How long a sender may take for its request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One alert, as it was delivered.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub at: Instant,
    /// The alert as Alertmanager sends it: `status`, `labels`, `annotations`, …
    pub alert: Value,
    /// The message that it came in.
    pub message: Arc<Value>,
}

impl Delivery {
    pub fn label(&self, name: &str) -> &str {
        self.alert["labels"][name].as_str().unwrap_or_default()
    }

    pub fn is_firing(&self) -> bool {
        self.alert["status"] == "firing"
    }
}

/// A listening receiver; dropping it closes it.
#[derive(Debug)]
pub struct Webhook {
    address: SocketAddr,
    deliveries: Arc<Mutex<Vec<Delivery>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Webhook {
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(port::any())?;
        let address = listener.local_addr()?;
        let (deliveries, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let thread = thread::Builder::new().name("webhook".to_owned()).spawn({
            let (deliveries, stop) = (Arc::clone(&deliveries), Arc::clone(&stop));
            move || serve(&listener, &deliveries, &stop)
        })?;
        Ok(Self { address, deliveries, stop, thread: Some(thread) })
    }

    pub fn url(&self) -> String {
        format!("http://{}/alerts", self.address)
    }

    /// Every alert delivered so far, the oldest first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread out of accept.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, deliveries: &Mutex<Vec<Delivery>>, stop: &AtomicBool) {
    for stream in listener.incoming() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        match stream.and_then(receive) {
            Ok(body) => keep(&body, deliveries),
            Err(error) => eprintln!("webhook: {error}"),
        }
    }
}

fn receive(mut stream: TcpStream) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
        }
    }
    let mut body = Vec::new();
    reader.take(length.min(MAX_BODY_BYTES)).read_to_end(&mut body)?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    Ok(body)
}

fn keep(body: &[u8], deliveries: &Mutex<Vec<Delivery>>) {
    let at = Instant::now();
    // Lenient: newer Alertmanagers send more keys.
    let message: Value = serde_json::from_slice(body).unwrap_or_default();
    let alerts = message["alerts"].as_array().cloned().unwrap_or_default();
    let mut deliveries = deliveries.lock().unwrap_or_else(PoisonError::into_inner);
    let room = MAX_DELIVERIES.saturating_sub(deliveries.len());
    let message = Arc::new(message);
    let delivered = alerts.into_iter().take(room).map(|alert| Delivery { at, alert, message: Arc::clone(&message) });
    deliveries.extend(delivered);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{deadline, http};

    #[test]
    fn alerts_are_kept_in_the_order_of_arrival() {
        let webhook = Webhook::start().expect("a port");
        let body = br#"{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"A"}},
                       {"status":"resolved","labels":{"alertname":"B"}}]}"#;
        let answer = http::request(webhook.address, "POST", "/alerts", &[], body).expect("answered");
        assert_eq!(answer.status, 200);
        let kept = deadline::eventually("two alerts", Duration::from_secs(5), || {
            Some(webhook.deliveries()).filter(|deliveries| deliveries.len() == 2)
        });
        assert_eq!((kept[0].label("alertname"), kept[0].is_firing()), ("A", true));
        assert_eq!((kept[1].label("alertname"), kept[1].is_firing()), ("B", false));
    }
}
