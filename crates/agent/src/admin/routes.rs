//! The routes of the admin port:
//!
//! ```text
//! /                     a page for people: verdict, memory, call sites that grow, links
//! /metrics              Prometheus, text format 0.0.4
//! /memory               the memory equation, slopes and verdict as JSON
//! /culprits             the call sites that grow; parameters since, min_age, base, process, format
//! /profiles             the flight recorder: what was recorded, by this process and earlier ones; POST records one
//! /profiles/<id>        one of them, as pprof
//! /doctor               whether the agent sees what it should, as a page or JSON; parameters format, self_test
//! /debug/pprof/         what there is to profile
//! /debug/pprof/heap     pprof profile of live memory; parameters seconds, base, debug, gc, min_age, at=peak, process
//! /debug/pprof/allocs   the same, seen by allocations
//! /debug/pprof/flamegraph  a page, a picture or text; parameters type, seconds, base, format
//! /debug/pprof/cmdline  the program's arguments
//! /debug/pprof/symbol   names of addresses, GET or POST
//! /livez                200 while the agent runs
//! /readyz               200 while the host is ready, else 503
//! ```
//!
//! Everything answers GET and HEAD, `/profiles` and `symbol` POST as well; errors are text/plain.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue, LOCATION};
use hyper::{Method, Request, StatusCode};
use prometheus::Registry;

use super::answer::{Answer, error, text, typed};
use super::{culprits, doctor, flamegraph, page, pprof, profiles, report, status};
use crate::metrics;
use crate::profile::profiler::{Kind, Profiler};
use crate::recorder::Recorder;
use crate::state::State;

/// What the routes answer from.
pub(crate) struct Routes {
    pub(crate) state: Arc<State>,
    pub(crate) registry: Registry,
    pub(crate) profiler: Arc<Profiler>,
    pub(crate) recorder: Arc<Recorder>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Page,
    Metrics,
    Memory,
    Culprits,
    Profiles,
    Profile,
    Doctor,
    PprofSlash,
    PprofIndex,
    PprofHeap,
    PprofAllocs,
    PprofFlamegraph,
    PprofCmdline,
    PprofSymbol,
    Live,
    Ready,
}

impl Route {
    fn of(path: &str, pprof: bool) -> Option<Self> {
        Some(match path {
            "/" => Self::Page,
            "/metrics" => Self::Metrics,
            "/memory" => Self::Memory,
            "/culprits" => Self::Culprits,
            "/profiles" => Self::Profiles,
            _ if path.starts_with(profiles::PREFIX) => Self::Profile,
            "/doctor" => Self::Doctor,
            "/debug/pprof" if pprof => Self::PprofSlash,
            "/debug/pprof/" if pprof => Self::PprofIndex,
            "/debug/pprof/heap" if pprof => Self::PprofHeap,
            "/debug/pprof/allocs" if pprof => Self::PprofAllocs,
            "/debug/pprof/flamegraph" if pprof => Self::PprofFlamegraph,
            "/debug/pprof/cmdline" if pprof => Self::PprofCmdline,
            "/debug/pprof/symbol" if pprof => Self::PprofSymbol,
            "/livez" => Self::Live,
            "/readyz" => Self::Ready,
            _ => return None,
        })
    }

    fn allowed(self) -> &'static str {
        if self.takes_posts() { "GET, HEAD, POST" } else { "GET, HEAD" }
    }

    fn allows(self, method: &Method) -> bool {
        matches!(*method, Method::GET | Method::HEAD) || (self.takes_posts() && *method == Method::POST)
    }

    fn takes_posts(self) -> bool {
        matches!(self, Self::PprofSymbol | Self::Profiles)
    }
}

impl Routes {
    pub(super) async fn respond(&self, request: Request<Incoming>) -> Answer {
        let Some(route) = Route::of(request.uri().path(), self.state.pprof) else {
            return nothing_there(request.uri().path(), self.state.pprof);
        };
        if !route.allows(request.method()) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(route.allowed()));
            return answer;
        }
        let query = request.uri().query().unwrap_or_default();
        match route {
            Route::Page => status::status(self).await,
            Route::Metrics => typed(metrics::CONTENT_TYPE, metrics::encode(&self.registry)),
            Route::Memory => memory(&self.state, &self.recorder),
            Route::Culprits => culprits::culprits(&self.profiler, &self.recorder, query).await,
            Route::Profiles if *request.method() == Method::POST => profiles::record(self).await,
            Route::Profiles => profiles::list(&self.recorder).await,
            Route::Profile => profiles::profile(&self.profiler, &self.recorder, request.uri().path()).await,
            Route::Doctor => doctor::doctor(&self.state, &self.profiler, request.headers(), query).await,
            Route::PprofFlamegraph => flamegraph::flamegraph(&self.profiler, &self.recorder, query).await,
            Route::PprofSlash => moved("pprof/"),
            Route::PprofIndex => typed("text/html; charset=utf-8", page::PPROF_INDEX),
            Route::PprofHeap => pprof::profile(&self.profiler, &self.recorder, Kind::Heap, query).await,
            Route::PprofAllocs => pprof::profile(&self.profiler, &self.recorder, Kind::Allocs, query).await,
            Route::PprofCmdline => pprof::cmdline(),
            Route::PprofSymbol => pprof::symbol(&self.profiler, request).await,
            Route::Live => text(StatusCode::OK, "ok\n"),
            Route::Ready if self.state.readiness.is_ready() => text(StatusCode::OK, "ok\n"),
            Route::Ready => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        }
    }
}

/// To a relative address, so that it is right behind a prefix, too.
fn moved(location: &'static str) -> Answer {
    let mut answer = text(StatusCode::MOVED_PERMANENTLY, format!("see {location}\n"));
    answer.headers_mut().insert(LOCATION, HeaderValue::from_static(location));
    answer
}

/// `go tool pprof` shows the text of a refusal under its own paths.
fn nothing_there(path: &str, pprof: bool) -> Answer {
    match path.strip_prefix("/debug/pprof/") {
        Some(_) if pprof => {
            error(StatusCode::NOT_FOUND, "there is no such profile: heap and allocs are, see /debug/pprof/")
        }
        Some(_) => error(StatusCode::NOT_FOUND, "heap profiles are off (PPROF)"),
        None => text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

fn memory(state: &State, recorder: &Recorder) -> Answer {
    let json = report::memory(state, recorder).and_then(|report| Ok(serde_json::to_vec_pretty(&report)?));
    match json {
        Ok(json) => typed("application/json", json),
        Err(error) => {
            tracing::warn!(%error, "memory could not be read");
            text(StatusCode::INTERNAL_SERVER_ERROR, "memory could not be read\n")
        }
    }
}
