//! Inputs that are nearly right: a corpus, changed at random places from a seed.

use fastrand::Rng;

/// What parsers stumble over.
const WORDS: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    "\\u",
    "\\ud800",
    ":",
    ",",
    "\n",
    "\u{feff}",
    "null",
    "-",
    "1e309",
    "99999999999999999999",
    "{\"records\":[",
    "{\"time\":",
    "<Blob>",
    "</Name>",
    "&amp;",
    "&#x0;",
    "]]>",
    "%00",
];

/// Changes inputs; the same seed gives the same ones.
#[derive(Debug)]
pub(crate) struct Mutator<'a> {
    corpus: &'a [Vec<u8>],
    random: Rng,
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(corpus: &'a [Vec<u8>], seed: u64) -> Self {
        assert!(!corpus.is_empty(), "there is something to change");
        Self { corpus, random: Rng::with_seed(seed) }
    }

    /// An input of the corpus with one to eight changes.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut input = self.random.choice(self.corpus).unwrap().clone();
        for _change in 0..self.random.usize(1..=8) {
            self.change(&mut input);
        }
        input
    }

    /// A number for the test's own choices.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.random.usize(0..end.max(1))
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let end = (at + self.random.usize(1..=32)).min(input.len());
        match self.random.u8(0..8) {
            0 if at < end => input[at] ^= 1 << self.random.u8(0..8),
            1 if at < end => input[at] = self.random.u8(..),
            2 => drop(input.drain(at..end)),
            3 => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            4 => {
                let other = self.random.choice(self.corpus).unwrap();
                let from = self.random.usize(0..=other.len());
                let to = (from + self.random.usize(0..=256)).min(other.len());
                input.splice(at..end, other[from..to].iter().copied());
            }
            5 => input.truncate(at),
            _ => {
                let word = self.random.choice(WORDS).unwrap();
                input.splice(at..at, word.bytes());
            }
        }
    }
}
