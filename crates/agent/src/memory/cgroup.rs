//! The memory limit that the process lives under: cgroup v1 or v2, nested, inside a container or not.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// cgroup v1 writes "no limit" as the largest number of whole pages; nothing real comes near this.
const UNLIMITED_BYTES: u64 = 1 << 60;

/// The file of a limit in cgroup v2.
pub(super) const V2_LIMIT: &str = "memory.max";

/// Levels of nested cgroups that are looked at, leaf first. Kubernetes with systemd has about seven.
const DEPTH_MAX: usize = 64;

/// Memory at which the process would be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// In bytes.
    pub bytes: u64,
    /// Who set it.
    pub source: LimitSource,
}

/// Who set a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitSource {
    /// The smallest limit of the process's cgroup and those above it.
    Cgroup,
    /// The configuration.
    Configured,
    /// Nobody: it is the memory of the host.
    Host,
}

impl LimitSource {
    /// As `/memory` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Configured => "configured",
            Self::Host => "host",
        }
    }
}

/// The limit that counts. A cgroup's limit above the host's memory never bites, so the host's does.
pub fn effective(configured: Option<u64>, cgroup: Option<u64>, host_bytes: u64) -> Limit {
    match (configured, cgroup) {
        (Some(bytes), _) => Limit { bytes, source: LimitSource::Configured },
        (None, Some(bytes)) if bytes < host_bytes => Limit { bytes, source: LimitSource::Cgroup },
        _ => Limit { bytes: host_bytes, source: LimitSource::Host },
    }
}

/// The smallest limit of this process's cgroups now, in bytes; `None` where there is none or nothing can be read.
pub(crate) fn read_limit_bytes() -> Option<u64> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    limit_bytes(&cgroups, &mounts, |path| fs::read_to_string(path).ok())
}

/// The smallest limit on the way from the process's memory cgroups up to their mount points, in bytes.
///
/// `cgroups` is the text of /proc/self/cgroup, `mounts` of /proc/self/mountinfo, `read` the text of a file.
pub fn limit_bytes(cgroups: &str, mounts: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    hierarchies(cgroups, mounts)
        .into_iter()
        .flat_map(|hierarchy| {
            let Hierarchy { leaf, top, file } = hierarchy;
            leaf.ancestors()
                .take_while(|directory| directory.starts_with(&top))
                .take(DEPTH_MAX)
                .filter_map(|directory| parse_limit(&read(&directory.join(file))?))
                .collect::<Vec<_>>()
        })
        .min()
}

/// One tree of cgroups that may hold a memory limit.
pub(super) struct Hierarchy {
    pub(super) leaf: PathBuf,
    pub(super) top: PathBuf,
    /// That holds the limit.
    pub(super) file: &'static str,
}

pub(super) fn hierarchies(cgroups: &str, mounts: &str) -> Vec<Hierarchy> {
    let mut found = Vec::new();
    for line in mounts.lines() {
        let Some(mount) = parse_mount(line) else { continue };
        let file = match mount.kind {
            "cgroup2" => V2_LIMIT,
            "cgroup" if mount.options.split(',').any(|option| option == "memory") => "memory.limit_in_bytes",
            _ => continue,
        };
        let Some(path) = cgroup_path(cgroups, mount.kind == "cgroup2") else { continue };
        let top = PathBuf::from(mount.point);
        // In a container the mount shows only the subtree below its root, and the process's path may be told from
        // the host's point of view. A path that leaves the subtree belongs to a namespace: the top is its cgroup.
        let below = Path::new(path).strip_prefix(&mount.root).ok();
        let below = below.filter(|below| below.components().all(|part| matches!(part, Component::Normal(_))));
        let leaf = below.map_or_else(|| top.clone(), |below| top.join(below));
        found.push(Hierarchy { leaf, top, file });
    }
    found
}

struct Mount<'a> {
    root: String,
    point: String,
    kind: &'a str,
    options: &'a str,
}

/// A line of mountinfo: `36 35 98:0 /root /point rw,noatime optional… - type source options`.
fn parse_mount(line: &str) -> Option<Mount<'_>> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let mut after = after.split(' ');
    Some(Mount {
        root: unescape(before.next()?),
        point: unescape(before.next()?),
        kind: after.next()?,
        options: after.nth(1)?,
    })
}

/// The kernel writes blanks and backslashes of a path in octal.
fn unescape(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// The path in a line `4:memory:/path` (v1) or `0::/path` (v2).
fn cgroup_path(cgroups: &str, v2: bool) -> Option<&str> {
    cgroups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        let path = parts.next()?;
        let wanted =
            if v2 { controllers.is_empty() } else { controllers.split(',').any(|controller| controller == "memory") };
        wanted.then_some(path)
    })
}

fn parse_limit(text: &str) -> Option<u64> {
    // "max", or a number that does not fit, is no limit.
    text.trim().parse().ok().filter(|bytes| *bytes < UNLIMITED_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1_MOUNT: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";

    fn check(cgroups: &str, mounts: &str, files: &[(&str, &str)]) -> Option<u64> {
        limit_bytes(cgroups, mounts, |path| {
            files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn v2_takes_the_smallest_limit_up_the_tree() {
        let cgroups = "0::/system.slice/app.service/worker\n";
        let files = [
            ("/sys/fs/cgroup/system.slice/app.service/worker/memory.max", "max\n"),
            ("/sys/fs/cgroup/system.slice/app.service/memory.max", "536870912\n"),
            ("/sys/fs/cgroup/system.slice/memory.max", "1073741824\n"),
        ];
        assert_eq!(check(cgroups, V2_MOUNT, &files), Some(512 << 20));
        assert_eq!(check(cgroups, V2_MOUNT, &files[..1]), None);
        assert_eq!(check(cgroups, V2_MOUNT, &[]), None);
    }

    #[test]
    fn v2_in_a_container_with_a_namespace() {
        let files = [("/sys/fs/cgroup/memory.max", "268435456\n")];
        assert_eq!(check("0::/\n", V2_MOUNT, &files), Some(256 << 20));
        assert_eq!(check("0::/../../other\n", V2_MOUNT, &files), Some(256 << 20));
    }

    #[test]
    fn v1_huge_is_none_and_a_parent_counts() {
        let cgroups = "5:devices:/\n4:cpu,memory:/docker/abc\n0::/\n";
        let unlimited = ("/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(check(cgroups, V1_MOUNT, &[unlimited]), None);
        let parent = ("/sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "2147483648\n");
        assert_eq!(check(cgroups, V1_MOUNT, &[unlimited, parent]), Some(2 << 30));
    }

    #[test]
    fn v1_in_a_container_sees_its_own_subtree() {
        let mounts = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let files = [("/sys/fs/cgroup/memory/memory.limit_in_bytes", "104857600\n")];
        assert_eq!(check("4:memory:/docker/abc\n", mounts, &files), Some(100 << 20));
    }

    #[test]
    fn both_versions_side_by_side() {
        let mounts = format!("{V1_MOUNT}41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
        let files = [("/sys/fs/cgroup/memory/app/memory.limit_in_bytes", "1048576\n")];
        assert_eq!(check("4:memory:/app\n0::/app\n", &mounts, &files), Some(1 << 20));
    }

    #[test]
    fn text_that_makes_no_sense_is_no_limit() {
        assert_eq!(check("", "", &[]), None);
        assert_eq!(check("nonsense", "a b c - d\n- - -\n", &[]), None);
        assert_eq!(check("0::/a\n", V2_MOUNT, &[("/sys/fs/cgroup/a/memory.max", "lots")]), None);
    }

    #[test]
    fn which_limit_counts() {
        let limit = |configured, cgroup| {
            let limit = effective(configured, cgroup, 100);
            (limit.bytes, limit.source)
        };
        assert_eq!(limit(Some(500), Some(50)), (500, LimitSource::Configured));
        assert_eq!(limit(None, Some(50)), (50, LimitSource::Cgroup));
        assert_eq!(limit(None, Some(500)), (100, LimitSource::Host));
        assert_eq!(limit(None, None), (100, LimitSource::Host));
    }
}
