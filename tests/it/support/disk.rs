//! A disk without power. It takes the effects of a program and knows what of them is on stable storage; of the rest it
//! keeps what a legal disk may have kept, by chance.
//!
//! What is in a file since its last sync: each sector of each write may be there or not, in any combination; its length is
//! any that it had. What happened to the names of a directory since its last sync: the first so many. A file that was
//! synced may lack its name, a name its file's bytes.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use fastrand::Rng;

use super::effects::Effect;

/// In the order of the effects.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    nodes: Vec<Node>,
    /// By the number of the inode, which a later file may have again.
    numbers: HashMap<u64, usize>,
    /// Syncs of which paths do nothing.
    ignores_sync: fn(&str) -> bool,
    /// Where each node was seen last.
    paths: Vec<String>,
}

#[derive(Debug, Clone)]
enum Node {
    File { durable: Vec<u8>, pending: Vec<Change> },
    Directory { durable: BTreeMap<String, usize>, pending: Vec<Naming> },
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Clone)]
enum Naming {
    Put(String, usize),
    Remove(String),
    Rename(String, String),
}

/// The directory itself.
const ROOT: usize = 0;

impl Disk {
    /// What is in a directory now, all of it on stable storage.
    pub(crate) fn of(directory: &Path) -> Self {
        let mut disk =
            Self { nodes: Vec::new(), numbers: HashMap::new(), ignores_sync: |_| false, paths: Vec::new() };
        disk.take(directory, String::new());
        disk
    }

    /// From now on, syncs of these paths do nothing: a program or a disk that is broken.
    pub(crate) fn ignore_syncs(&mut self, ignores_sync: fn(&str) -> bool) {
        self.ignores_sync = ignores_sync;
    }

    fn take(&mut self, path: &Path, name: String) -> usize {
        if path.is_file() {
            return self.add(Node::File { durable: fs::read(path).unwrap(), pending: Vec::new() }, &name);
        }
        let node = self.add(Node::Directory { durable: BTreeMap::new(), pending: Vec::new() }, &name);
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let entry_name = entry.file_name().into_string().unwrap();
            let inside = self.take(&entry.path(), join(&name, &entry_name));
            if let Node::Directory { durable, .. } = &mut self.nodes[node] {
                durable.insert(entry_name, inside);
            }
        }
        node
    }

    fn add(&mut self, node: Node, path: &str) -> usize {
        self.nodes.push(node);
        self.paths.push(path.to_owned());
        self.nodes.len() - 1
    }

    /// The next effect.
    pub(crate) fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Opened { path, file, is_directory, is_truncated } => {
                let found = self.find(path);
                let node = found.unwrap_or_else(|| {
                    assert!(!is_directory, "{path} was never made");
                    let new = self.add(Node::File { durable: Vec::new(), pending: Vec::new() }, path);
                    self.rename_in(path, |name| Naming::Put(name, new));
                    new
                });
                self.numbers.insert(*file, node);
                if *is_truncated && found.is_some() {
                    self.change(*file, Change::Length(0));
                }
            }
            Effect::Written { file, offset, bytes } => {
                let offset = usize::try_from(*offset).unwrap();
                self.change(*file, Change::Write { offset, bytes: bytes.clone() });
            }
            Effect::Truncated { file, length } => {
                self.change(*file, Change::Length(usize::try_from(*length).unwrap()));
            }
            Effect::Synced { file } => {
                let node = self.numbers[file];
                if !(self.ignores_sync)(&self.paths[node]) {
                    self.nodes[node].sync();
                }
            }
            Effect::Renamed { from, to } => {
                let node = self.find(from).unwrap_or_else(|| panic!("{from} was never made"));
                self.paths[node].clone_from(to);
                let (above, old) = split(from);
                assert_eq!(above, split(to).0, "a file stays in its directory");
                self.rename_in(to, |new| Naming::Rename(old.to_owned(), new));
            }
            Effect::Unlinked { path } => self.rename_in(path, Naming::Remove),
            Effect::MadeDirectory { path } => {
                let new = self.add(Node::Directory { durable: BTreeMap::new(), pending: Vec::new() }, path);
                self.rename_in(path, |name| Naming::Put(name, new));
            }
            Effect::Said { .. } => {}
        }
    }

    fn change(&mut self, number: u64, change: Change) {
        match &mut self.nodes[self.numbers[&number]] {
            Node::File { pending, .. } => pending.push(change),
            Node::Directory { .. } => panic!("{change:?} of a directory"),
        }
    }

    fn rename_in(&mut self, path: &str, naming: impl FnOnce(String) -> Naming) {
        let (above, name) = split(path);
        let above = self.find(above).unwrap_or_else(|| panic!("{path} has nothing above it"));
        match &mut self.nodes[above] {
            Node::Directory { pending, .. } => pending.push(naming(name.to_owned())),
            Node::File { .. } => panic!("{path} is below a file"),
        }
    }

    /// As the program sees it.
    fn find(&self, path: &str) -> Option<usize> {
        path.split('/').filter(|name| !name.is_empty()).try_fold(ROOT, |node, name| {
            let Node::Directory { durable, pending } = &self.nodes[node] else { return None };
            names(durable, pending).get(name).copied()
        })
    }

    /// Puts into an empty directory what is there when the power comes back.
    pub(crate) fn cut(&self, luck: &mut Luck, to: &Path) {
        self.put(ROOT, luck, to);
    }

    fn put(&self, node: usize, luck: &mut Luck, to: &Path) {
        match &self.nodes[node] {
            Node::Directory { durable, pending } => {
                if node != ROOT {
                    fs::create_dir(to).unwrap();
                }
                for (name, inside) in names(durable, &pending[..luck.first(pending.len())]) {
                    self.put(inside, luck, &to.join(name));
                }
            }
            Node::File { .. } if to.extension().is_some_and(|ending| ending == "sqlite3-shm") => {
                fs::write(to, luck.shared_memory()).unwrap();
            }
            Node::File { durable, pending } => {
                let mut bytes = durable.clone();
                let n_lengths = luck.first(pending.len());
                for (number, change) in pending.iter().enumerate() {
                    change.apply(&mut bytes, number < n_lengths, luck);
                }
                fs::write(to, bytes).unwrap();
            }
        }
    }
}

impl Node {
    fn sync(&mut self) {
        let mut kind = Luck::all();
        match self {
            Self::File { durable, pending } => {
                pending.drain(..).for_each(|change| change.apply(durable, true, &mut kind));
            }
            Self::Directory { durable, pending } => {
                *durable = names(durable, pending);
                pending.clear();
            }
        }
    }
}

impl Change {
    /// Does to the bytes what luck leaves of it.
    fn apply(&self, file: &mut Vec<u8>, sets_length: bool, luck: &mut Luck) {
        match self {
            Self::Length(length) if sets_length => file.resize(*length, 0),
            Self::Length(_) => {}
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if sets_length && file.len() < end {
                    file.resize(end, 0);
                }
                let mut from = *offset;
                while from < end {
                    let to = end.min((from / luck.sector + 1) * luck.sector);
                    let to_there = to.min(file.len());
                    if luck.keeps() && from < to_there {
                        file[from..to_there].copy_from_slice(&bytes[from - offset..to_there - offset]);
                    }
                    from = to;
                }
            }
        }
    }
}

/// What becomes of that which is not on stable storage.
#[derive(Debug)]
pub(crate) struct Luck {
    random: Rng,
    /// The part of the sectors that are kept.
    kept: f64,
    sector: usize,
}

impl Luck {
    /// Another one for each seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let kept = [0.0, 0.05, 0.5, 0.95, 1.0][random.usize(0..5)];
        let sector = if random.bool() { 512 } else { 4_096 };
        Self { random, kept, sector }
    }

    /// Everything is kept.
    pub(crate) fn all() -> Self {
        Self { random: Rng::with_seed(0), kept: 1.0, sector: usize::MAX / 2 }
    }

    fn keeps(&mut self) -> bool {
        self.kept >= 1.0 || self.random.f64() < self.kept
    }

    /// How many of so many are kept, where one is not without those before it.
    fn first(&mut self, length: usize) -> usize {
        if self.kept >= 1.0 {
            length
        } else if self.kept <= 0.0 {
            0
        } else {
            self.random.usize(0..=length)
        }
    }

    /// Memory that programs share through a file: anything.
    fn shared_memory(&mut self) -> Vec<u8> {
        let length = self.random.choice([0, 3, 4_096, 32_768]).unwrap();
        (0..length).map(|_| self.random.u8(..)).collect()
    }
}

fn names(durable: &BTreeMap<String, usize>, pending: &[Naming]) -> BTreeMap<String, usize> {
    let mut names = durable.clone();
    for naming in pending {
        match naming {
            Naming::Put(name, node) => drop(names.insert(name.clone(), *node)),
            Naming::Remove(name) => drop(names.remove(name)),
            Naming::Rename(from, to) => {
                let node = names.remove(from).unwrap();
                names.insert(to.clone(), node);
            }
        }
    }
    names
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn join(above: &str, name: &str) -> String {
    if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") }
}
