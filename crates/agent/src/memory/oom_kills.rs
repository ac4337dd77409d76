//! How often the kernel has killed for want of memory: in the process's cgroup, and in those above it.
//!
//! cgroup v2 has the count in `memory.events`, where a cgroup's includes those below it; v1 has it in
//! `memory.oom_control`, of each cgroup alone.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cgroup::{V2_LIMIT, hierarchies};

/// Levels that are remembered, the process's own first.
const LEVELS_MAX: usize = 6;

/// The count of one cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Level {
    /// The file that has the count.
    pub(crate) file: PathBuf,
    /// Of the cgroup's directory: one that was removed and made again is another cgroup.
    pub(crate) inode: u64,
    pub(crate) kills: u64,
}

/// What the counts say of a process that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// The kernel killed in its cgroup since its start.
    Killed,
    /// Its cgroup is gone; the kernel killed somewhere below the nearest one that is left.
    KilledNearby,
    /// It did not.
    NotKilled,
    /// Its cgroup is gone, or none was there.
    Unknown,
}

/// The counts of this process's cgroups now, its own first; empty where there are none.
pub(crate) fn read() -> Vec<Level> {
    let text = |path: &Path| fs::read_to_string(path).ok();
    let (Some(cgroups), Some(mounts)) = (text(Path::new("/proc/self/cgroup")), text(Path::new("/proc/self/mountinfo")))
    else {
        return Vec::new();
    };
    levels(&cgroups, &mounts, &look)
}

/// What has become of counts that were read before.
pub(crate) fn since(then: &[Level]) -> Counted {
    compare(then, &look)
}

/// A file's text and its directory's inode.
fn look(file: &Path) -> Option<(String, u64)> {
    let directory = fs::metadata(file.parent()?).ok()?;
    Some((fs::read_to_string(file).ok()?, directory.ino()))
}

type Look<'a> = &'a dyn Fn(&Path) -> Option<(String, u64)>;

fn levels(cgroups: &str, mounts: &str, look: Look<'_>) -> Vec<Level> {
    for hierarchy in hierarchies(cgroups, mounts) {
        let name = if hierarchy.file == V2_LIMIT { "memory.events" } else { "memory.oom_control" };
        let upwards = hierarchy.leaf.ancestors().take_while(|directory| directory.starts_with(&hierarchy.top));
        let found: Vec<Level> =
            upwards.filter_map(|directory| level(directory.join(name), look)).take(LEVELS_MAX).collect();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

fn level(file: PathBuf, look: Look<'_>) -> Option<Level> {
    let (text, inode) = look(&file)?;
    Some(Level { kills: kills(&text)?, inode, file })
}

fn compare(then: &[Level], look: Look<'_>) -> Counted {
    for (depth, before) in then.iter().enumerate() {
        let Some(now) = level(before.file.clone(), look).filter(|now| now.inode == before.inode) else { continue };
        let includes_those_below = before.file.ends_with("memory.events");
        return match (now.kills > before.kills, depth) {
            (true, 0) => Counted::Killed,
            (true, _) => Counted::KilledNearby,
            (false, 0) => Counted::NotKilled,
            (false, _) if includes_those_below => Counted::NotKilled,
            (false, _) => Counted::Unknown,
        };
    }
    Counted::Unknown
}

/// The number in a line `oom_kill 3`.
fn kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";

    type File<'a> = (&'a str, &'a str, u64);

    fn of<'a>(files: &'a [File<'a>]) -> impl Fn(&Path) -> Option<(String, u64)> + 'a {
        |path| files.iter().find(|file| Path::new(file.0) == path).map(|file| (file.1.to_owned(), file.2))
    }

    #[test]
    fn v2_has_a_count_a_level() {
        let files = [
            ("/sys/fs/cgroup/pods/one/memory.events", "low 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n", 5),
            ("/sys/fs/cgroup/pods/memory.events", "oom 9\noom_kill 4\n", 4),
        ];
        let found = levels("0::/pods/one\n", V2, &of(&files));
        let counts: Vec<_> = found.iter().map(|level| (level.kills, level.inode)).collect();
        assert_eq!(counts, [(1, 5), (4, 4)]);
    }

    #[test]
    fn v1_has_it_beside_the_switch() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        let files = [("/sys/fs/cgroup/memory/docker/abc/memory.oom_control", text, 8)];
        let found = levels("4:memory:/docker/abc\n0::/\n", &format!("{V1}{V2}"), &of(&files));
        assert_eq!(found.iter().map(|level| level.kills).collect::<Vec<_>>(), [3]);
        assert!(levels("0::/\n", "", &of(&files)).is_empty());
    }

    #[test]
    fn what_became_of_the_counts() {
        let level = |file: &str, inode, kills| Level { file: file.into(), inode, kills };
        let v2 = [level("/g/pods/one/memory.events", 5, 1), level("/g/pods/memory.events", 4, 4)];
        for (own, above, expected) in [
            (Some((1, 5)), (4, 4), Counted::NotKilled),
            (Some((2, 5)), (5, 4), Counted::Killed),
            (None, (5, 4), Counted::KilledNearby),
            (None, (4, 4), Counted::NotKilled),
            (Some((0, 6)), (5, 4), Counted::KilledNearby),
            (None, (0, 9), Counted::Unknown),
        ] {
            let look = |path: &Path| {
                let (kills, inode) = if path.starts_with("/g/pods/one") { own? } else { above };
                Some((format!("oom_kill {kills}\n"), inode))
            };
            assert_eq!(compare(&v2, &look), expected, "{own:?} {above:?}");
        }
        let v1 = [level("/g/a/memory.oom_control", 5, 0), level("/g/memory.oom_control", 4, 0)];
        let files = [("/g/memory.oom_control", "oom_kill 0\n", 4)];
        assert_eq!(compare(&v1, &of(&files)), Counted::Unknown, "v1 counts each cgroup alone");
        assert_eq!(compare(&[], &of(&[])), Counted::Unknown);
    }
}
