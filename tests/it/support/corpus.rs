//! Inputs to begin with: typical, sparse and hostile ones, and whatever was read wrongly once, in `tests/data/corpus`; all
//! of them made for this project. A new file there is an input of every test that reads its kind.

use std::{fs, path::Path};

/// Files that are read again and again, at every place of them, are small.
const SMALL_BYTES: usize = 4 * 1024;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder with their paths, in the order of these.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// The contents of one kind: `blobs`, `records`, `listings`, `settings` or `answers`.
pub(crate) fn of(kind: &str) -> Vec<Vec<u8>> {
    let found = files(&root().join("tests/data/corpus").join(kind));
    assert!(!found.is_empty(), "{kind} is a kind of inputs");
    found.into_iter().map(|(_, bytes)| bytes).collect()
}

/// Every blob that there is: those of the corpus, the golden samples and the sample container.
pub(crate) fn blobs() -> Vec<(String, Vec<u8>)> {
    let folders =
        ["tests/data/corpus/blobs", "examples/sample-container"].map(|folder| files(&root().join(folder)));
    let golden = ["seed/PT1H.json", "odd.json", "nsg/PT1H.json", "nsg/odd.json"].map(|name| {
        let path = root().join("tests/data").join(name);
        (name.to_owned(), fs::read(path).unwrap())
    });
    folders.concat().into_iter().chain(golden).collect()
}

/// The small ones among them.
pub(crate) fn small_blobs() -> Vec<Vec<u8>> {
    blobs().into_iter().map(|(_, bytes)| bytes).filter(|bytes| bytes.len() <= SMALL_BYTES).collect()
}
