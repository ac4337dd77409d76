//! `/doctor` in each of the agent's modes, each in a process of its own.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use heapline::{Agent, Config};
use serde_json::Value;

#[path = "live/agent.rs"]
mod agent;
#[path = "live/child.rs"]
mod child;
#[path = "profile/pprof.rs"]
mod pprof;

use agent::{get, profile, start};
use child::alone;

heapline::use_jemalloc!();

fn doctor(agent: &Agent) -> Value {
    let (status, body) = get(agent.admin_addr(), "/doctor?format=json");
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).expect("JSON")
}

fn page(agent: &Agent) -> String {
    String::from_utf8(get(agent.admin_addr(), "/doctor?format=html").1).expect("text")
}

fn problems(diagnosis: &Value) -> Vec<&str> {
    diagnosis["problems"].as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

fn config(pprof: bool, state_dir: Option<&Path>) -> Config {
    let admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    Config { admin, pprof: Some(pprof), state_dir: state_dir.map(Path::to_owned), ..Config::default() }
}

#[test]
fn all_is_well() {
    alone("all_is_well", |state| {
        let agent = start(state);
        let diagnosis = doctor(&agent);
        assert_eq!(problems(&diagnosis), Vec::<&str>::new(), "{diagnosis:#}");
        let sampling = &diagnosis["sampling"];
        assert_eq!((&sampling["source"], &sampling["source_reason"]), (&"live_table".into(), &Value::Null));
        let path = sampling["table"]["path"].as_str().expect("a file");
        assert!(Path::new(path).starts_with(state) && sampling["table"]["memory_only"].is_null());
        for field in ["stacks", "frames", "samples"] {
            let (used, room) = (&sampling["table"][field][0], &sampling["table"][field][1]);
            assert!(used.as_u64().expect("a number") <= room.as_u64().expect("a number"), "{field}");
        }
        let coverage = &diagnosis["coverage"];
        let count = |field: &str| coverage[field].as_u64().expect("a number");
        assert!(count("addresses") >= count("with_function") && count("with_function") >= count("with_line"));
        assert!(count("with_line") > 0, "{coverage}");
        assert!(page(&agent).contains("nothing is wrong"));
    });
}

#[test]
fn switched_off_there_are_no_profiles_and_nothing_is_wrong() {
    alone("switched_off_there_are_no_profiles_and_nothing_is_wrong", |state| {
        let agent = Agent::start(config(false, Some(state))).expect("the agent starts");
        let diagnosis = doctor(&agent);
        assert_eq!(problems(&diagnosis), Vec::<&str>::new(), "{diagnosis:#}");
        let sampling = &diagnosis["sampling"];
        assert_eq!((&sampling["wanted"], &sampling["active"]), (&false.into(), &false.into()));
        assert!(sampling["source"].is_null() && sampling["table"].is_null(), "{sampling}");
        assert!(diagnosis["self_test"].is_null() && diagnosis["coverage"].is_null());
        assert!(page(&agent).contains("switched off (PPROF)"));
        let (status, words) = get(agent.admin_addr(), "/debug/pprof/heap");
        assert_eq!((status, words.as_slice()), (404, b"heap profiles are off (PPROF)\n".as_slice()));
    });
}

/// Somebody else's hook, as another profiler in the process would have it.
extern "C" fn somebody_elses(_: *const std::ffi::c_void, _: usize) {}

#[test]
fn where_the_hooks_are_taken_profiles_come_from_dumps() {
    alone("where_the_hooks_are_taken_profiles_come_from_dumps", |state| {
        type Hook = extern "C" fn(*const std::ffi::c_void, usize);
        let name = b"experimental.hooks.prof_sample_free\0";
        // SAFETY: a function of the signature in jemalloc's prof_hook.h, which lives as long as the program.
        unsafe { tikv_jemalloc_ctl::raw::write::<Option<Hook>>(name, Some(somebody_elses)) }.expect("writes");
        let agent = start(state);
        let diagnosis = doctor(&agent);
        let sampling = &diagnosis["sampling"];
        assert_eq!(sampling["source"], "dumps");
        let reason = sampling["source_reason"].as_str().expect("a reason");
        assert!(reason.contains("somebody else"), "{reason}");
        assert!(problems(&diagnosis)[0].contains("no live table"), "{diagnosis:#}");
        assert_eq!((&diagnosis["self_test"]["seen"], &diagnosis["self_test"]["named"]), (&true.into(), &true.into()));
        assert!(agent.live_table_path().is_none());
        // Sixteen times the sampling interval: it is seen.
        let kept = std::hint::black_box(vec![1_u8; 8 << 20]);
        let heap = profile(&agent, "/debug/pprof/heap");
        drop(kept);
        assert_eq!(heap.sample_types, ["inuse_objects/count", "inuse_space/bytes"], "no zeros in place of allocations");
        assert!(heap.samples.iter().any(|sample| !heap.functions(sample).is_empty()), "with names");
        for view in ["at=peak", "min_age=1m", "process=previous"] {
            assert_eq!(get(agent.admin_addr(), &format!("/debug/pprof/heap?{view}")).0, 404, "{view}");
        }
        let (_, metrics) = get(agent.admin_addr(), "/metrics");
        let metrics = String::from_utf8(metrics).expect("text");
        assert!(metrics.contains("heap_profile_source{source=\"dumps\"} 1"), "{metrics}");
    });
}

#[test]
fn without_a_directory_to_write_the_table_is_in_memory_and_that_is_said() {
    alone("without_a_directory_to_write_the_table_is_in_memory_and_that_is_said", |state| {
        let file = state.join("a-file");
        std::fs::write(&file, b"").expect("writes");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o400)).expect("sets");
        let agent = Agent::start(config(true, Some(&file.join("state")))).expect("the agent starts");
        let diagnosis = doctor(&agent);
        let table = &diagnosis["sampling"]["table"];
        assert!(table["path"].is_null() && table["memory_only"].as_str().is_some_and(|why| why.contains("a-file")));
        assert!(problems(&diagnosis)[0].contains("in memory only"), "{diagnosis:#}");
        assert_eq!(diagnosis["self_test"]["named"], true);
        assert!(page(&agent).contains("memory only"));
        assert_eq!(profile(&agent, "/debug/pprof/allocs").sample_types.len(), 4);
        assert_eq!(get(agent.admin_addr(), "/debug/pprof/heap?process=previous").0, 404);
    });
}

unsafe extern "C" {
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn _exit(status: i32) -> !;
}

/// A server that forks and starts an agent in the child, too.
#[test]
fn a_child_has_a_table_of_its_own_if_it_starts_an_agent() {
    alone("a_child_has_a_table_of_its_own_if_it_starts_an_agent", |state| {
        let parents = start(state);
        let path = parents.live_table_path().expect("a file").to_owned();
        // SAFETY: jemalloc is usable after fork, and the child ends without unwinding.
        let pid = unsafe { fork() };
        if pid == 0 {
            let agent = start(state);
            let own = agent.live_table_path().is_some_and(|own| own != path && path.exists());
            let is_well = own && problems(&doctor(&agent)).is_empty() && agent.predecessors().is_empty();
            // SAFETY: ends the process.
            unsafe { _exit(i32::from(!is_well)) };
        }
        let mut status = -1;
        // SAFETY: `status` is written to.
        assert_eq!(unsafe { waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0, "the child has a table and leaves its parent's alone");
        assert_eq!(problems(&doctor(&parents)), Vec::<&str>::new());
        assert!(path.exists());
    });
}

/// jemalloc's settings are decided before `main`: this process is another.
#[test]
fn the_variable_that_switched_sampling_off_is_named() {
    const TEST: &str = "the_variable_that_switched_sampling_off_is_named";
    if child::role().is_none() {
        let state = tempfile::tempdir().expect("a directory");
        let mut again = Command::new(std::env::current_exe().expect("a program"));
        again.args(["--exact", TEST]).env(child::CHILD, "alone").env("MALLOC_CONF", "prof:false");
        assert!(again.env("HEAPLINE_STATE", state.path()).status().expect("runs").success());
        return;
    }
    let state = tempfile::tempdir().expect("a directory");
    let agent = start(state.path());
    let diagnosis = doctor(&agent);
    assert!(problems(&diagnosis)[0].contains("MALLOC_CONF says prof:false"), "{diagnosis:#}");
    let prof = &diagnosis["settings"][0];
    assert_eq!((&prof["decided_by"], &prof["effective"]), (&"variable".into(), &"false".into()));
    assert!(diagnosis["sampling"]["source"].is_null() && diagnosis["coverage"].is_null());
}
