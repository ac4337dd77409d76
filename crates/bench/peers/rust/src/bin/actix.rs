//! actix-web and actix-multipart's typed form with temporary files, each persisted under its final name.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_multipart::form::tempfile::{TempFile, TempFileConfig};
use actix_multipart::form::{MultipartForm, MultipartFormConfig};
use actix_web::{App, HttpResponse, HttpServer, error, web};
use clap::Parser;
use serde_json::json;
use sha2::{Digest, Sha256};

const FORM_BYTES_MAX: usize = 5 << 30;

#[derive(Parser, Clone)]
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

#[derive(MultipartForm)]
struct Form {
    #[multipart(limit = "5 GiB")]
    file: Vec<TempFile>,
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let options = Options::parse();
    let shared = web::Data::new(Shared { options: options.clone(), next: AtomicU64::new(0) });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .app_data(TempFileConfig::default().directory(&options.dir))
            .app_data(MultipartFormConfig::default().total_limit(FORM_BYTES_MAX))
            .route("/upload", web::post().to(upload))
    })
    .bind("127.0.0.1:0")?;
    println!("{}", server.addrs()[0]);
    server.run().await
}

async fn upload(shared: web::Data<Shared>, MultipartForm(form): MultipartForm<Form>) -> actix_web::Result<HttpResponse> {
    let mut files = Vec::new();
    for part in form.file {
        let path = shared.options.dir.join(shared.next.fetch_add(1, Ordering::Relaxed).to_string());
        let (hash, sync, bytes, filename) = (shared.options.hash, shared.options.sync, part.size, part.file_name.clone());
        let stored = move || {
            let sha256 = if hash {
                let mut sha256 = Sha256::new();
                std::io::copy(&mut part.file.reopen()?, &mut HashWriter(&mut sha256))?;
                Some(sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
            } else {
                None
            };
            let file = part.file.persist(path)?;
            if sync {
                file.sync_data()?;
            }
            Ok::<_, std::io::Error>(sha256)
        };
        let sha256 = web::block(stored).await?.map_err(error::ErrorInternalServerError)?;
        files.push(json!({"filename": filename, "bytes": bytes, "sha256": sha256}));
    }
    Ok(HttpResponse::Created().json(json!({ "files": files })))
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
