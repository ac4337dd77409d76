//! An ordinary service: requests over connections, each with a document of some 2 KB that is read, changed and sent back.
//! 60 KB allocated a request.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::json;

/// Orders in the document of one request.
const ORDERS: u64 = 5;
/// The largest body that is read.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Requests a second over so many connections for so long. Client and server of a connection share a thread and take
/// turns, so that the scheduler has no say.
pub fn requests_per_second(connections: usize, time: Duration) -> f64 {
    let started = Instant::now();
    let served: u64 = thread::scope(|scope| {
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(|| converse(started, time))).collect();
        threads.into_iter().map(|thread| thread.join().ok().and_then(Result::ok).unwrap_or(0)).sum()
    });
    served as f64 / started.elapsed().as_secs_f64()
}

fn converse(started: Instant, time: Duration) -> io::Result<u64> {
    let (listener, mut answered) = (TcpListener::bind("127.0.0.1:0")?, 0);
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let mut server = BufReader::new(listener.accept()?.0);
    client.set_nodelay(true)?;
    server.get_ref().set_nodelay(true)?;
    let document = json::orders(ORDERS);
    let length = document.len();
    let request = format!("POST /orders HTTP/1.1\r\nhost: shop\r\ncontent-length: {length}\r\n\r\n{document}");
    let mut answer = vec![0; 2 * request.len()];
    while started.elapsed() < time {
        client.write_all(request.as_bytes())?;
        let bytes = serve(&mut server)?;
        client.read_exact(answer.get_mut(..bytes).ok_or(io::ErrorKind::InvalidData)?)?;
        answered += 1;
    }
    Ok(answered)
}

/// Reads a request and answers it; the length of the answer.
fn serve(connection: &mut BufReader<TcpStream>) -> io::Result<usize> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        connection.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
            None if line.trim_end().is_empty() => break,
            None => {}
        }
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    let mut body = vec![0; usize::min(length, BODY_BYTES_MAX)];
    connection.read_exact(&mut body)?;
    let answer = json::answer(&String::from_utf8_lossy(&body));
    let length = answer.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
    let answer = head + &answer;
    connection.get_mut().write_all(answer.as_bytes())?;
    Ok(answer.len())
}
