//! An axum service, watched by the agent: its own metrics and its work in flight are known to the agent.

use std::error::Error;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use heapline::prometheus::IntCounter;
use tokio::net::TcpListener;

heapline::use_jemalloc!();

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let agent = heapline::Agent::start(heapline::Config::default())?;
    let received = IntCounter::new("received_bytes_total", "Bytes received.")?;
    agent.registry().register(Box::new(received.clone()))?;
    let work = agent.work_in_flight();

    let app = Router::new().route(
        "/",
        post(async move |body: Bytes| {
            let _guard = work.begin();
            received.inc_by(body.len() as u64);
            format!("{} bytes\n", body.len())
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}/, memory on http://{}/", listener.local_addr()?, agent.admin_addr());
    axum::serve(listener, app).await?;
    Ok(())
}
