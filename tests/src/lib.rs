//! What the end-to-end tests and the drill are made of: launchers of real parts, each with a condition that says
//! "ready", a deadline, and an end in `Drop`; clients; and one list of what was skipped.

pub mod alertmanager;
pub mod binary;
pub mod browser;
pub mod cgroup;
pub mod deadline;
pub mod digest;
pub mod exposition;
pub mod form;
pub mod form_page;
pub mod gopprof;
pub mod growthbook;
pub mod hosts;
pub mod http;
pub mod kafka;
pub mod load;
pub mod part;
pub mod port;
pub mod process;
pub mod prometheus;
pub mod promises;
pub mod s3;
pub mod service;
pub mod small_disk;
pub mod soak;
pub mod watch;
pub mod webhook;
