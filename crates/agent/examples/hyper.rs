//! A hyper service, watched by the agent.

use std::convert::Infallible;
use std::error::Error;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

heapline::use_jemalloc!();

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let agent = heapline::Agent::start(heapline::Config::default())?;
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}/, memory on http://{}/", listener.local_addr()?, agent.admin_addr());
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(hello)).await;
            if let Err(error) = served {
                eprintln!("connection: {error}");
            }
        });
    }
}

async fn hello(_: Request<impl hyper::body::Body>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"hello\n"))))
}
