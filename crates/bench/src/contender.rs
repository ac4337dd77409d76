//! Who is measured, and how each is started at its documented best, with the same promise as the others.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::load::{ACCESS_KEY, Form, REGION};
use crate::server::{Listening, Server, TOKEN, beside};

/// What a server promises with its 201, the same on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    pub sync: bool,
    pub digest: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Null,
    Floor,
    FloorAgain,
    UploadPut,
    UploadMultipart,
    UploadOut,
    Nginx,
    S3,
    Tusd,
    Axum,
    Actix,
    Gin,
    GinZero,
}

impl Contender {
    /// Those of the tables of peers.
    pub(crate) const ALL: [Self; 12] = [
        Self::Floor,
        Self::FloorAgain,
        Self::UploadPut,
        Self::UploadMultipart,
        Self::Nginx,
        Self::S3,
        Self::Tusd,
        Self::Axum,
        Self::Actix,
        Self::Gin,
        Self::GinZero,
        Self::Null,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Null => "null server (the load generator's own limit)",
            Self::Floor => "floor, PUT",
            Self::FloorAgain => "floor again (A/A)",
            Self::UploadPut => "**heapline-upload, PUT**",
            Self::UploadMultipart => "**heapline-upload, multipart**",
            Self::UploadOut => "heapline-upload without the agent, multipart",
            Self::Nginx => "nginx, PUT",
            Self::S3 => "versitygw (S3), PUT",
            Self::Tusd => "tusd, POST with the bytes",
            Self::Axum => "axum, multipart",
            Self::Actix => "actix-multipart, temporary file",
            Self::Gin => "gin, ParseMultipartForm(32 MB)",
            Self::GinZero => "gin, ParseMultipartForm(0)",
        }
    }

    pub(crate) fn form(self) -> Form {
        match self {
            Self::Null | Self::Floor | Self::FloorAgain | Self::UploadPut | Self::Nginx => Form::Put,
            Self::Tusd => Form::Tus,
            Self::S3 => Form::S3,
            Self::UploadOut | Self::UploadMultipart | Self::Axum | Self::Actix | Self::Gin | Self::GinZero => {
                Form::Multipart
            }
        }
    }

    /// Whether it can do what the others are asked to. The floor and the null server never hash: they are limits.
    pub(crate) fn can(self, promise: Promise) -> bool {
        match self {
            Self::Nginx | Self::S3 | Self::Tusd => !promise.sync && !promise.digest,
            Self::Null => !promise.sync,
            _ => true,
        }
    }

    /// Starts it with a directory of its own to fill; an error says what is missing.
    pub(crate) fn start(self, dir: &Path, promise: Promise) -> io::Result<Server> {
        match self {
            Self::Null | Self::Floor | Self::FloorAgain => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg(if self == Self::Null { "null" } else { "floor" });
                if self != Self::Null {
                    command.arg("--dir").arg(dir).args(promise.sync.then_some("--sync"));
                }
                Server::spawn(command, Listening::Line(|line| line.parse().ok()))
            }
            Self::UploadPut | Self::UploadMultipart => upload("heapline-upload", dir, promise),
            Self::UploadOut => upload("upload-out", dir, promise),
            Self::Nginx => nginx(dir),
            Self::S3 => versitygw(dir),
            Self::Tusd => tusd(dir),
            Self::Axum | Self::Actix => {
                let name = if self == Self::Axum { "axum" } else { "actix" };
                let mut command = Command::new(peer(&format!("rust/release/{name}"))?);
                command.arg("--dir").arg(dir);
                command.args(promise.sync.then_some("--sync")).args(promise.digest.then_some("--hash"));
                Server::spawn(command, Listening::Line(|line| line.parse().ok()))
            }
            Self::Gin | Self::GinZero => {
                let mut command = Command::new(peer("bin/gin")?);
                let threshold = if self == Self::Gin { 32 << 20 } else { 0 };
                command.arg("-dir").arg(dir).arg("-threshold").arg(threshold.to_string());
                command.args(promise.sync.then_some("-sync")).args(promise.digest.then_some("-hash"));
                Server::spawn(command, Listening::Line(|line| line.parse().ok()))
            }
        }
    }
}

/// What the agent gives the allocator, but for the profiler: for the server that is built without the agent.
pub(crate) const MALLOC_CONF_OUT: &str = "prof:false,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";

/// The upload server beside this program, or the one without the agent, on free ports.
fn upload(program: &str, dir: &Path, promise: Promise) -> io::Result<Server> {
    let durability = if promise.sync { "fsync" } else { "none" };
    let digest = if promise.digest { "sha256" } else { "none" };
    let mut command = Command::new(beside(program)?);
    command
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--durability", durability, "--digest", digest])
        .arg("--store")
        .arg(dir)
        .env("HEAPLINE_TOKEN", TOKEN)
        .env_remove("MALLOC_CONF");
    if program == "upload-out" {
        command.env("MALLOC_CONF", MALLOC_CONF_OUT);
        return Server::spawn(command, Listening::Line(|line| line.parse().ok()));
    }
    Server::spawn(
        command,
        Listening::Line(|line| {
            let (_, rest) = line.split_once(" on http://")?;
            rest.split(',').next()?.parse().ok()
        }),
    )
}

fn nginx(dir: &Path) -> io::Result<Server> {
    let address = Server::free_address()?;
    let path = dir.display();
    let configuration = format!(
        "daemon off; worker_processes auto; pid {path}/nginx.pid; error_log {path}/error.log;\n\
         user root; events {{ worker_connections 4096; }}\n\
         http {{ access_log off; client_max_body_size 0; client_body_temp_path {path}/temporary;\n\
         keepalive_requests 1000000000; sendfile on; tcp_nodelay on; client_body_buffer_size 256k;\n\
         server {{ listen {address} backlog=4096; location / {{ root {path}; dav_methods PUT;\n\
         create_full_put_path on; dav_access user:rw; }} }} }}\n"
    );
    std::fs::write(dir.join("nginx.conf"), configuration)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf"));
    Server::spawn(command, Listening::At(address))
}

/// An S3 server over a directory, where a bucket is a directory. It keeps an MD5 of each object, as S3 does.
fn versitygw(dir: &Path) -> io::Result<Server> {
    let address = Server::free_address()?;
    std::fs::create_dir(dir.join("files"))?;
    let mut command = Command::new("versitygw");
    command.args(["--port", &address.to_string(), "--access", ACCESS_KEY, "--secret", TOKEN, "--region", REGION]);
    command.args(["--keep-alive", "--quiet", "posix"]).arg(dir);
    let installed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::other("not installed: tests/parts/install s3"),
        _ => error,
    };
    Server::spawn(command, Listening::At(address)).map_err(installed)
}

fn tusd(dir: &Path) -> io::Result<Server> {
    let address = Server::free_address()?;
    let mut command = Command::new(peer("bin/tusd")?);
    command.args(["-host", "127.0.0.1", "-port", &address.port().to_string(), "-base-path", "/files/"]);
    command.args(["-show-greeting=false", "-verbose=false"]).arg("-upload-dir").arg(dir);
    Server::spawn(command, Listening::At(address))
}

/// A peer's program, where `crates/bench/peers/build` puts it.
fn peer(path: &str) -> io::Result<PathBuf> {
    let target = std::env::current_exe()?.ancestors().nth(2).map(|target| target.join("peers").join(path));
    match target {
        Some(path) if path.exists() => Ok(path),
        _ => Err(io::Error::other("not built: crates/bench/peers/build")),
    }
}
