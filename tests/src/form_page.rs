//! A page with a form, for a browser to send: what it sends is handed on unchanged, with the token that a form cannot
//! carry.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::{http, port};

/// The largest request that the page takes.
const REQUEST_BYTES_MAX: u64 = 16 << 20;

/// The form fills and sends itself: one named file with a quotation mark, one of 300,000 bytes, one input left empty.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>form</title>
<form method="post" action="/upload" enctype="multipart/form-data">
<input name="comment" value="a field"><input type="file" name="one"><input type="file" name="two"><input type="file" name="none">
</form><script>
function put(name, parts, filename) {
  const transfer = new DataTransfer();
  transfer.items.add(new File(parts, filename));
  document.querySelector(`input[name=${name}]`).files = transfer.files;
}
put("one", ["Grüße aus dem Formular\n"], 'Grüße "1".txt');
put("two", [new Uint8Array(300000).map((_, n) => n * 7)], "bytes.bin");
document.querySelector("form").submit();
</script>"#;

/// A page that is served until the process ends.
#[derive(Debug)]
pub struct FormPage {
    address: SocketAddr,
    answer: Arc<Mutex<Option<http::Response>>>,
}

impl FormPage {
    /// Serves the page; the form goes on to `target`.
    pub fn start(target: SocketAddr, token: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(port::any())?;
        let address = listener.local_addr()?;
        let answer = Arc::new(Mutex::new(None));
        let (token, shared) = (token.to_owned(), Arc::clone(&answer));
        thread::Builder::new().name("form-page".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                // A connection that fails is the browser's to repeat.
                if let Ok(Some(forwarded)) = serve(stream, target, &token) {
                    *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(forwarded);
                }
            }
        })?;
        Ok(Self { address, answer })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the target answered to the form, once.
    pub fn answer(&self) -> Option<http::Response> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn serve(mut stream: TcpStream, target: SocketAddr, token: &str) -> io::Result<Option<http::Response>> {
    let mut request = Vec::new();
    let mut chunk = [0; 64 * 1024];
    let (head, length) = loop {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Ok(None);
        }
        request.extend_from_slice(&chunk[..read]);
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&request[..end]).into_owned();
            let length = field(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            break (head, (end as u64 + 4, length));
        }
    };
    let rest = (length.0 + length.1).saturating_sub(request.len() as u64).min(REQUEST_BYTES_MAX);
    Read::by_ref(&mut stream).take(rest).read_to_end(&mut request)?;
    if !head.starts_with("POST ") {
        let (status, body) = if head.starts_with("GET / ") { ("200 OK", PAGE) } else { ("404 Not Found", "") };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )?;
        return Ok(None);
    }
    let kind = field(&head, "content-type").unwrap_or_default();
    let headers = [("Content-Type", kind), ("Authorization", &format!("Bearer {token}"))];
    let forwarded = http::request(target, "POST", "/upload", &headers, &request[length.0 as usize..])?;
    write!(stream, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")?;
    Ok(Some(forwarded))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}
