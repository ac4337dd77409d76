//! Builds the small program and the small library of the test of symbols.

use std::path::{Path, PathBuf};
use std::process::Command;

use heapline_tests::part::{self, Missing};

/// A name in every object with libFuzzer's counters.
const COUNTERS: &[u8] = b"__sanitizer_cov";

/// What they are built with.
pub(crate) struct Toolbox {
    rustc: PathBuf,
    /// The agent, as cargo left it, and what it depends on.
    agent: PathBuf,
    dependencies: PathBuf,
}

impl Toolbox {
    pub(crate) fn find() -> Result<Toolbox, Missing> {
        let rustc = part::program("rustc")?;
        part::program("objcopy")?;
        part::program("ld.bfd")?;
        let missing = |why: &str| Missing { part: "libheapline.rlib".to_owned(), why: why.to_owned() };
        // A test runs in target/release/deps.
        let own = std::env::current_exe().map_err(|error| missing(&error.to_string()))?;
        let dependencies = own.parent().ok_or_else(|| missing("no directory"))?.to_owned();
        // The one that this test was built with is the newest.
        let entries = std::fs::read_dir(&dependencies).map_err(|error| missing(&error.to_string()))?;
        let is_agent = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("libheapline-") && name.ends_with(".rlib")
        };
        // fuzz/run leaves one with counters, which links into its own programs only.
        let is_instrumented = |path: &PathBuf| {
            let bytes = std::fs::read(path).unwrap_or_default();
            bytes.windows(COUNTERS.len()).any(|window| window == COUNTERS)
        };
        let agents = entries.flatten().map(|entry| entry.path()).filter(is_agent);
        let agents = agents.filter(|path| !is_instrumented(path));
        let modified = |path: &PathBuf| path.metadata().and_then(|data| data.modified()).ok();
        let agent =
            agents.max_by_key(modified).ok_or_else(|| missing("not built: cargo build --release --workspace"))?;
        Ok(Toolbox { rustc, agent, dependencies })
    }

    /// Options are what `-C` takes.
    pub(crate) fn program(&self, to: &Path, options: &[&str]) {
        let mut command = self.command("host.rs", to, options);
        command.arg("--extern").arg(format!("heapline={}", self.agent.display()));
        finish(command.arg("-L").arg(format!("dependency={}", self.dependencies.display())));
    }

    pub(crate) fn library(&self, to: &Path, options: &[&str]) {
        finish(self.command("plugin.rs", to, options).args(["--crate-type", "cdylib"]));
    }

    fn command(&self, source: &str, to: &Path, options: &[&str]) -> Command {
        std::fs::create_dir_all(to.parent().expect("a parent")).expect("makes");
        let source = part::repository().join("tests/e2e/symbols").join(source);
        let mut command = Command::new(&self.rustc);
        command.args(["--edition", "2024", "-C", "opt-level=3"]).arg(source).arg("-o").arg(to);
        command.args(options.iter().flat_map(|option| ["-C", option]));
        command
    }
}

pub(crate) fn objcopy(options: &[&str], from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().expect("a parent")).expect("makes");
    finish(Command::new("objcopy").args(options).arg(from).arg(to));
}

fn finish(command: &mut Command) {
    let output = command.output().expect("starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
