//! | Path | Methods | |
//! |---|---|---|
//! | `/upload` | POST | a form of files |
//! | `/files/<filename>` | PUT | one file, raw |
//! | `/files/<id>` | GET, HEAD, DELETE | a stored file |
//! | `/livez`, `/readyz` | GET, HEAD | probes; no token |

use std::sync::Arc;

use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use tokio::task::spawn_blocking;

use super::direct::{self, Ticket};
use super::uploads::Plan;
use super::{Refusal, Reply, Service, answer, files, reply, uploads};
use crate::body;
use crate::metrics::{InFlight, Outcome};

impl Service {
    /// Answers one request. Every refusal comes as `application/problem+json`.
    pub async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Reply {
        let path = request.uri().path().to_owned();
        match (path.as_str(), request.method()) {
            ("/livez", &Method::GET | &Method::HEAD) => reply::text(StatusCode::OK, "ok\n"),
            ("/readyz", &Method::GET | &Method::HEAD) => self.readyz().await,
            ("/livez" | "/readyz", _) => self.refuse(request, &Refusal::Method("GET, HEAD")),
            ("/upload", &Method::POST) => self.upload(request, None).await,
            ("/upload", _) => self.guarded(request, Refusal::Method("POST")),
            _ => match path.strip_prefix("/files/").filter(|name| !name.is_empty() && !name.contains('/')) {
                None => self.refuse(request, &Refusal::NoSuchPath),
                Some(name) => match *request.method() {
                    Method::PUT => self.upload(request, Some(name)).await,
                    Method::GET | Method::HEAD | Method::DELETE => self.stored_file(request, name).await,
                    _ => self.guarded(request, Refusal::Method("GET, HEAD, PUT, DELETE")),
                },
            },
        }
    }

    /// A form, or with a name a raw file.
    async fn upload(self: &Arc<Self>, request: Request<Incoming>, name: Option<&str>) -> Reply {
        if let Err(refusal) = self.admit(&request) {
            self.metrics.count(refusal.outcome());
            return self.refuse(request, &refusal);
        }
        // Before the body is polled: it would be sent in vain.
        if self.health.is_outbox_full() {
            self.metrics.count(Refusal::OutboxFull.outcome());
            return self.refuse(request, &Refusal::OutboxFull);
        }
        let Some(memory) = self.ledger.admit(self.limits.memory_wait_max).await else {
            self.metrics.count(Refusal::NoMemory.outcome());
            return self.refuse(request, &Refusal::NoMemory);
        };
        let in_flight = self.metrics.begin();
        let planned = match Plan::new(self, &request, name) {
            Ok(plan) => answer::admit(self, request.headers()).await.map(|admitted| (plan, admitted)),
            Err(refusal) => Err(refusal),
        };
        let (plan, admitted) = match planned {
            Ok(planned) => planned,
            Err(refusal) => {
                self.discard_unpolled(request);
                return failed(in_flight, &refusal);
            }
        };
        let ticket = Ticket { admitted, in_flight, memory };
        let (request, plan, ticket) = direct::offer(request, plan, &self.threshold, ticket).await;
        let Ticket { admitted, in_flight, memory: _memory } = ticket;
        let answer = uploads::receive(self, request, plan, admitted).await;
        match answer {
            Ok(reply) => {
                in_flight.end(Outcome::Stored);
                reply
            }
            Err(refusal) => failed(in_flight, &refusal),
        }
    }

    async fn stored_file(&self, request: Request<Incoming>, name: &str) -> Reply {
        if let Err(refusal) = self.admit(&request) {
            return self.refuse(request, &refusal);
        }
        let answer = match *request.method() {
            Method::DELETE => files::delete(self, name).await,
            _ => files::read(self, name, &request).await,
        };
        match answer {
            Ok(reply) => reply,
            Err(refusal) => self.refuse(request, &refusal),
        }
    }

    /// Token and drain; nothing of the body is polled, so that a client that waits for `100 Continue` gets the
    /// refusal in its place.
    fn admit(&self, request: &Request<Incoming>) -> Result<(), Refusal> {
        if !self.token.admits(request.headers()) {
            return Err(Refusal::Unauthorized);
        }
        if !self.readiness.is_ready() {
            return Err(Refusal::Draining);
        }
        Ok(())
    }

    fn guarded(&self, request: Request<Incoming>, refusal: Refusal) -> Reply {
        let refusal = self.admit(&request).err().unwrap_or(refusal);
        self.refuse(request, &refusal)
    }

    /// Refuses a request whose body was not polled.
    fn refuse(&self, request: Request<Incoming>, refusal: &Refusal) -> Reply {
        let mut reply = refusal.reply();
        if !request.body().is_end_stream() || matches!(refusal, Refusal::Draining) {
            close(&mut reply);
        }
        self.discard_unpolled(request);
        reply
    }

    /// To poll the body would send `100 Continue` to a client that waits for it; such a client has sent nothing.
    pub(super) fn discard_unpolled(&self, request: Request<Incoming>) {
        if !request.headers().contains_key(header::EXPECT) {
            body::discard(request.into_body(), &self.limits);
        }
    }

    async fn readyz(&self) -> Reply {
        let health = self.health.clone();
        if !self.readiness.is_ready() {
            let mut reply = Refusal::Draining.reply();
            close(&mut reply);
            reply
        } else {
            match spawn_blocking(move || health.trouble()).await {
                Ok(None) => reply::text(StatusCode::OK, "ok\n"),
                Ok(Some(trouble)) => Refusal::Unready(trouble).reply(),
                Err(panic) => Refusal::from(panic).reply(),
            }
        }
    }
}

fn failed(in_flight: InFlight, refusal: &Refusal) -> Reply {
    in_flight.end(refusal.outcome());
    let mut reply = refusal.reply();
    // What is left of the body may still be on its way.
    close(&mut reply);
    reply
}

fn close(reply: &mut Reply) {
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}
