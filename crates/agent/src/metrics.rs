//! The agent's metrics, computed at the scrape from the same state that `/memory` tells.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Encoder, Gauge, GaugeVec, Opts, Registry, TextEncoder};

use crate::jemalloc::{prof, settings, unwind};
use crate::livetable::{self, Source};
use crate::memory::HeapBytes;
use crate::state::{Report, State};
use crate::verdict::Verdict;

/// The content type of [`encode`]'s text.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Registers everything the agent measures, and the process.
pub(crate) fn register(registry: &Registry, state: Arc<State>, version: &str) -> Result<(), prometheus::Error> {
    registry.register(Box::new(AgentCollector::new(state, version)?))?;
    registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
}

/// The registry as text. A family that cannot be encoded is left out and does not spoil the others.
pub(crate) fn encode(registry: &Registry) -> Vec<u8> {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    for family in registry.gather() {
        let whole = text.len();
        if let Err(error) = encoder.encode(std::slice::from_ref(&family), &mut text) {
            text.truncate(whole);
            tracing::warn!(metric = family.name(), %error, "a metric could not be encoded");
        }
    }
    text
}

/// A metric family: its name, its help text, and its label if it has one.
struct Family(&'static str, &'static str, Option<&'static str>);

const ALLOCATED: Family =
    Family("jemalloc_allocated_bytes", "Bytes allocated by the program and not freed (stats.allocated).", None);
const ACTIVE: Family = Family("jemalloc_active_bytes", "Bytes in pages that hold allocations (stats.active).", None);
const METADATA: Family =
    Family("jemalloc_metadata_bytes", "Bytes of the allocator's own bookkeeping (stats.metadata).", None);
const RESIDENT: Family = Family(
    "jemalloc_resident_bytes",
    "Bytes in pages that the allocator holds resident: active, metadata and unused dirty pages (stats.resident).",
    None,
);
const MAPPED: Family =
    Family("jemalloc_mapped_bytes", "Bytes in extents that the allocator has mapped (stats.mapped).", None);
const RETAINED: Family = Family(
    "jemalloc_retained_bytes",
    "Bytes of address space kept for later without memory behind it (stats.retained).",
    None,
);
const LIMIT: Family = Family(
    "memory_limit_bytes",
    "Memory at which the process would be killed: configured, else of its cgroups, else of the host.",
    None,
);
const FLOOR: Family = Family(
    "memory_floor_bytes",
    "The least live bytes in the last complete ten seconds (RSS where jemalloc is not the allocator).",
    None,
);
const SLOPE: Family = Family(
    "memory_slope_bytes_per_second",
    "Slope of the floor over the window; absent until the window has enough data.",
    Some("window"),
);
const SLOPE_LOW: Family = Family(
    "memory_slope_low_bytes_per_second",
    "Lower bound of the 95% interval of the slope of the floor over the window.",
    Some("window"),
);
const TIME_TO_LIMIT: Family = Family(
    "memory_time_to_limit_seconds",
    "Time until the limit is reached at the present slope; +Inf while memory does not climb.",
    None,
);
const VERDICT: Family =
    Family("memory_verdict", "What memory is doing: 1 for the verdict that holds, 0 for the others.", Some("verdict"));
const TRAJECTORY: Family = Family(
    "memory_trajectory_degrees",
    "Angle of the slope where one limit a day is 45 degrees: 0 is level as far as its interval tells, negative falls.",
    None,
);
const BUILD: Family =
    Family("heapline_build_info", "Version of the service; the agent's where it says none.", Some("version"));
const PROFILE_ACTIVE: Family = Family("heap_profile_active", "Whether allocations are being sampled.", None);
const SAMPLE_INTERVAL: Family = Family(
    "heap_profile_sample_interval_bytes",
    "Bytes allocated between two samples of the heap profiler now, on average.",
    None,
);
const LOST_SAMPLES: Family = Family(
    "heap_profile_lost_samples_total",
    "Samples that no profile shows for want of room; none are lost while profiles are made from jemalloc's dumps.",
    None,
);
const SOURCE: Family = Family(
    "heap_profile_source",
    "Where profiles come from: 1 for the source in use, 0 for the other.",
    Some("source"),
);

const UNWINDER: Family = Family(
    "heap_profile_unwinder",
    "What finds the stacks of samples: 1 for the unwinder in use; what heapline's leaves out, jemalloc's own does.",
    Some("unwinder"),
);

const FAMILIES: [&Family; 19] = [
    &ALLOCATED,
    &ACTIVE,
    &METADATA,
    &RESIDENT,
    &MAPPED,
    &RETAINED,
    &LIMIT,
    &FLOOR,
    &SLOPE,
    &SLOPE_LOW,
    &TIME_TO_LIMIT,
    &VERDICT,
    &TRAJECTORY,
    &BUILD,
    &PROFILE_ACTIVE,
    &SAMPLE_INTERVAL,
    &LOST_SAMPLES,
    &SOURCE,
    &UNWINDER,
];

struct AgentCollector {
    state: Arc<State>,
    version: String,
    descriptions: Vec<Desc>,
}

impl AgentCollector {
    fn new(state: Arc<State>, version: &str) -> Result<Self, prometheus::Error> {
        let descriptions = FAMILIES.iter().map(|family| family.describe()).collect::<Result<_, _>>()?;
        Ok(Self { state, version: version.to_owned(), descriptions })
    }
}

impl Collector for AgentCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Families(Vec::with_capacity(FAMILIES.len()));
        if let Some(heap) = self.state.reader.heap() {
            families.heap(&heap);
        }
        families.report(&self.state.report());
        families.profiler();
        families.labelled(&BUILD, [(self.version.as_str(), 1.0)]);
        families.0
    }
}

/// Families being collected. A part that fails is absent; the others stand.
struct Families(Vec<MetricFamily>);

impl Families {
    fn heap(&mut self, heap: &HeapBytes) {
        self.gauge(&ALLOCATED, heap.allocated as f64);
        self.gauge(&ACTIVE, heap.active as f64);
        self.gauge(&METADATA, heap.metadata as f64);
        self.gauge(&RESIDENT, heap.resident as f64);
        self.gauge(&MAPPED, heap.mapped as f64);
        self.gauge(&RETAINED, heap.retained as f64);
    }

    fn report(&mut self, report: &Report) {
        let judgement = &report.outlook.judgement;
        let slopes = &report.outlook.trend.slopes;
        self.gauge(&LIMIT, report.limit.bytes as f64);
        self.gauge(&FLOOR, report.floor_bytes as f64);
        self.labelled(&SLOPE, slopes.iter().map(|slope| (slope.window.label, slope.estimate.bytes_per_second)));
        self.labelled(&SLOPE_LOW, slopes.iter().map(|slope| (slope.window.label, slope.estimate.low)));
        self.gauge(&TIME_TO_LIMIT, judgement.time_to_limit.map_or(f64::INFINITY, |time| time.seconds));
        self.gauge(&TRAJECTORY, judgement.trajectory_degrees);
        let holds = |verdict: Verdict| if verdict == judgement.verdict { 1.0 } else { 0.0 };
        self.labelled(&VERDICT, Verdict::ALL.map(|verdict| (verdict.name(), holds(verdict))));
    }

    fn profiler(&mut self) {
        self.gauge(&PROFILE_ACTIVE, if prof::active() { 1.0 } else { 0.0 });
        if let Some(bytes) = prof::sample_interval_bytes() {
            self.gauge(&SAMPLE_INTERVAL, bytes as f64);
            if let Ok(lost) = Counter::with_opts(LOST_SAMPLES.options()) {
                lost.inc_by(livetable::current().map_or(0, |live| live.table().tally().lost()) as f64);
                self.0.extend(lost.collect());
            }
        }
        if let Some(current) = Source::current() {
            let holds = |source: Source| if source == current { 1.0 } else { 0.0 };
            self.labelled(&SOURCE, Source::ALL.map(|source| (source.name(), holds(source))));
            let (here, built_in) = if unwind::is_in_use() { (1.0, 0.0) } else { (0.0, 1.0) };
            self.labelled(&UNWINDER, [(unwind::NAME, here), (settings::unwinder().0, built_in)]);
        }
    }

    fn gauge(&mut self, family: &Family, value: f64) {
        if let Ok(gauge) = Gauge::with_opts(family.options()) {
            gauge.set(value);
            self.0.extend(gauge.collect());
        }
    }

    fn labelled<'a>(&mut self, family: &Family, values: impl IntoIterator<Item = (&'a str, f64)>) {
        if let Ok(gauges) = GaugeVec::new(family.options(), &family.labels()) {
            for (label, value) in values {
                gauges.with_label_values(&[label]).set(value);
            }
            self.0.extend(gauges.collect());
        }
    }
}

impl Family {
    fn options(&self) -> Opts {
        Opts::new(self.0, self.1)
    }

    fn labels(&self) -> Vec<&'static str> {
        self.2.into_iter().collect()
    }

    fn describe(&self) -> Result<Desc, prometheus::Error> {
        let labels = self.2.map(str::to_owned).into_iter().collect();
        Desc::new(self.0.to_owned(), self.1.to_owned(), labels, HashMap::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(Desc);

    impl Collector for Broken {
        fn desc(&self) -> Vec<&Desc> {
            vec![&self.0]
        }

        fn collect(&self) -> Vec<MetricFamily> {
            let nameless = Gauge::new("soon_nameless", "Help.").expect("valid").collect();
            nameless
                .into_iter()
                .map(|mut family| {
                    family.set_name(String::new());
                    family
                })
                .collect()
        }
    }

    #[test]
    fn a_failing_part_does_not_spoil_the_scrape() {
        let registry = Registry::new();
        let description = Desc::new("broken".to_owned(), "Help.".to_owned(), Vec::new(), HashMap::new());
        registry.register(Box::new(Broken(description.expect("valid")))).expect("registers");
        registry.register(Box::new(Gauge::new("whole", "Help.").expect("valid"))).expect("registers");
        let text = String::from_utf8(encode(&registry)).expect("UTF-8");
        assert_eq!(text, "# HELP whole Help.\n# TYPE whole gauge\nwhole 0\n");
    }
}
