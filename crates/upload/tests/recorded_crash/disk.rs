//! A disk as the manual promises it and not better: what was synced stays; of the rest anything may, and may not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rustix::fs::XattrFlags;

use crate::recording::{Step, What};

#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    attributes: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, Default)]
struct File {
    now: Content,
    synced: Content,
}

/// A change of a directory's names that is not synced yet.
#[derive(Clone)]
struct Change {
    step: usize,
    path: String,
    /// `None`: the name goes.
    file: Option<usize>,
    /// For the name that a rename leaves: the name that it gives, which is there before the other goes.
    behind: Option<String>,
}

#[derive(Default)]
pub(crate) struct Disk {
    files: Vec<File>,
    directories: BTreeSet<String>,
    now: BTreeMap<String, usize>,
    synced: BTreeMap<String, usize>,
    changes: Vec<Change>,
    steps: usize,
}

/// What of the unsynced is there when the power comes back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keep {
    /// All: the process was killed, and the machine was not.
    Everything,
    /// Nothing.
    Synced,
    /// Every name, and no data.
    Names,
    /// Some names of each directory, the first ones; each file as it was, as it is, or torn.
    Random(u64),
}

impl Disk {
    /// `false` where nothing changed.
    pub(crate) fn apply(&mut self, step: &Step) -> bool {
        self.steps = step.begun;
        match &step.what {
            // Made at the start, and synced before anything is accepted.
            What::MakeDirectory(path) => return self.directories.insert(path.clone()),
            What::Create { path, truncate } => match self.now.get(path) {
                Some(&file) if *truncate => self.files[file].now.bytes.clear(),
                Some(_) => return false,
                None => {
                    self.files.push(File::default());
                    self.name(path, Some(self.files.len() - 1), None);
                }
            },
            What::Write { path, at, bytes } => {
                let Some(content) = self.content(path) else { return false };
                let at = at.unwrap_or(content.len());
                let end = at + bytes.len();
                content.resize(content.len().max(end), 0);
                content[at..end].copy_from_slice(bytes);
            }
            What::SetLength { path, bytes } => match self.content(path) {
                Some(content) => content.resize(*bytes, 0),
                None => return false,
            },
            What::SetAttribute { path, name, value } => match self.now.get(path) {
                Some(&file) => drop(self.files[file].now.attributes.insert(name.clone(), value.clone())),
                None => return false,
            },
            What::Sync { path, attributes } => return self.sync(path, *attributes),
            What::Rename { from, to } => {
                let Some(&file) = self.now.get(from) else { return false };
                self.name(to, Some(file), None);
                self.name(from, None, Some(to.clone()));
            }
            What::Remove(path) => self.name(path, None, None),
            What::Answer(_) => return false,
        }
        true
    }

    fn content(&mut self, path: &str) -> Option<&mut Vec<u8>> {
        Some(&mut self.files[*self.now.get(path)?].now.bytes)
    }

    fn name(&mut self, path: &str, file: Option<usize>, behind: Option<String>) {
        let path = path.to_owned();
        match file {
            Some(file) => drop(self.now.insert(path.clone(), file)),
            None => drop(self.now.remove(&path)),
        }
        self.changes.push(Change { step: self.steps, path, file, behind });
    }

    fn sync(&mut self, path: &str, attributes: bool) -> bool {
        if let Some(&file) = self.now.get(path) {
            let file = &mut self.files[file];
            file.synced.bytes.clone_from(&file.now.bytes);
            if attributes {
                file.synced.attributes.clone_from(&file.now.attributes);
            }
            return true;
        }
        // Of a directory, what was done before the sync was begun.
        let begun = self.steps;
        let (synced, rest) =
            self.changes.drain(..).partition(|change| directory(&change.path) == path && change.step < begun);
        self.changes = rest;
        settle(&mut self.synced, &synced);
        !synced.is_empty()
    }

    /// Makes the state in a directory.
    pub(crate) fn write(&self, dir: &Path, keep: Keep) {
        let mut dice = Dice(if let Keep::Random(seed) = keep { seed } else { 0 });
        let mut names = self.synced.clone();
        match keep {
            Keep::Everything | Keep::Names => names.clone_from(&self.now),
            Keep::Synced => {}
            Keep::Random(_) => {
                let kept: Vec<Change> = ["", "files", "spool", "outbox"]
                    .into_iter()
                    .flat_map(|of| {
                        let changes: Vec<_> =
                            self.changes.iter().filter(|change| directory(&change.path) == of).cloned().collect();
                        let first = dice.below(changes.len() + 1);
                        changes.into_iter().take(first)
                    })
                    .collect();
                // A name does not go before the other one that the same rename gives has come.
                let come: BTreeSet<&str> =
                    kept.iter().filter(|change| change.file.is_some()).map(|change| &*change.path).collect();
                let is_possible = |change: &Change| {
                    change.behind.as_deref().is_none_or(|to| come.contains(to) || self.synced.contains_key(to))
                };
                // Where one change of a directory has not come, no later one of it has.
                let mut ended: BTreeSet<&str> = BTreeSet::new();
                let mut possible = Vec::new();
                for change in &kept {
                    if ended.contains(directory(&change.path)) || !is_possible(change) {
                        ended.insert(directory(&change.path));
                    } else {
                        possible.push(change.clone());
                    }
                }
                settle(&mut names, &possible);
            }
        }
        for directory in &self.directories {
            std::fs::create_dir_all(dir.join(directory)).unwrap();
        }
        let mut made: BTreeMap<usize, std::path::PathBuf> = BTreeMap::new();
        for (name, &file) in &names {
            let path = dir.join(name);
            if let Some(other) = made.get(&file) {
                std::fs::hard_link(other, &path).unwrap();
                continue;
            }
            let content = self.files[file].after(keep, &mut dice);
            std::fs::write(&path, &content.bytes).unwrap();
            for (name, value) in &content.attributes {
                rustix::fs::setxattr(&path, name.as_str(), value, XattrFlags::empty()).unwrap();
            }
            made.insert(file, path);
        }
    }
}

impl File {
    fn after(&self, keep: Keep, dice: &mut Dice) -> Content {
        let torn = |dice: &mut Dice| {
            let mut content = self.now.clone();
            let from = self.synced.bytes.len().min(content.bytes.len());
            let whole = from + dice.below(content.bytes.len() - from + 1);
            // Its length may have come without its bytes.
            if dice.below(2) == 0 {
                content.bytes.truncate(whole)
            } else {
                content.bytes[whole..].fill(0)
            }
            content
        };
        match keep {
            Keep::Everything => self.now.clone(),
            Keep::Synced | Keep::Names => self.synced.clone(),
            Keep::Random(_) if self.now.bytes == self.synced.bytes => self.synced.clone(),
            Keep::Random(_) => match dice.below(3) {
                0 => self.synced.clone(),
                1 => self.now.clone(),
                _ => torn(dice),
            },
        }
    }
}

fn settle(names: &mut BTreeMap<String, usize>, changes: &[Change]) {
    for change in changes {
        match change.file {
            Some(file) => drop(names.insert(change.path.clone(), file)),
            None => drop(names.remove(&change.path)),
        }
    }
}

fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// The same numbers each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        (self.0 >> 33) as usize % sides
    }
}
