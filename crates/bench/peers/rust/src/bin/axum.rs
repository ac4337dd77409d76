//! axum and its multipart extractor, each file streamed to the disk through a 256 KiB `BufWriter`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{DefaultBodyLimit, Multipart, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use clap::Parser;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncWriteExt, BufWriter};

const BUFFER_BYTES: usize = 256 * 1024;

#[derive(Parser)]
struct Options {
    /// Directory that receives the files
    #[arg(long)]
    dir: PathBuf,
    /// SHA-256 of each file
    #[arg(long)]
    hash: bool,
    /// fdatasync each file before the answer
    #[arg(long)]
    sync: bool,
}

struct Shared {
    options: Options,
    next: AtomicU64,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let shared = Arc::new(Shared { options: Options::parse(), next: AtomicU64::new(0) });
    let app = Router::new().route("/upload", post(upload)).layer(DefaultBodyLimit::disable()).with_state(shared);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    axum::serve(listener, app).await
}

async fn upload(State(shared): State<Arc<Shared>>, mut form: Multipart) -> Result<(StatusCode, Json<Value>), StatusCode> {
    let mut files = Vec::new();
    while let Some(mut part) = form.next_field().await.map_err(|_| StatusCode::BAD_REQUEST)? {
        let Some(filename) = part.file_name().map(str::to_owned) else { continue };
        let path = shared.options.dir.join(shared.next.fetch_add(1, Ordering::Relaxed).to_string());
        let file = File::create_new(path).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        let mut writer = BufWriter::with_capacity(BUFFER_BYTES, file);
        let mut sha256 = shared.options.hash.then(Sha256::new);
        let mut bytes = 0;
        while let Some(chunk) = part.chunk().await.map_err(|_| StatusCode::BAD_REQUEST)? {
            bytes += chunk.len();
            if let Some(sha256) = &mut sha256 {
                sha256.update(&chunk);
            }
            writer.write_all(&chunk).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        }
        writer.flush().await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        if shared.options.sync {
            writer.get_ref().sync_data().await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        }
        let sha256 = sha256.map(|hash| hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        files.push(json!({"filename": filename, "bytes": bytes, "sha256": sha256}));
    }
    Ok((StatusCode::CREATED, Json(json!({ "files": files }))))
}
