//! The elements of a `flowTuples` list.

use std::borrow::Cow;

use memchr::memchr;
use serde_json::value::RawValue;

use super::{tuple::FlowTuple, usual_address::KnownAddresses, usual_tuple};

/// The elements as they stand: texts with a flow tuple, if all is well.
#[derive(Debug, Clone)]
pub struct Elements<'a>(List<'a>);

#[derive(Debug, Clone)]
enum List<'a> {
    /// Any JSON.
    Any(std::vec::IntoIter<&'a RawValue>),
    /// Texts without escapes, and nothing else.
    Texts(Texts<'a>),
}

#[derive(Debug, Clone)]
struct Texts<'a> {
    /// The record from the list's first text on.
    record: &'a str,
    /// Where in it the list ends: at its closing bracket.
    end: usize,
    /// Where in it the next text begins or, for all that is known, white space before it.
    at: usize,
    n_left: usize,
}

/// One element.
#[derive(Debug, Clone, Copy)]
pub struct Element<'a> {
    json: &'a str,
    /// A text without escapes.
    is_plain: bool,
}

impl<'a> Elements<'a> {
    /// Any list.
    pub(super) fn any(list: Vec<&'a RawValue>) -> Self {
        Self(List::Any(list.into_iter()))
    }

    /// How many are left.
    #[must_use]
    pub fn n_left(&self) -> usize {
        match &self.0 {
            List::Any(list) => list.len(),
            List::Texts(texts) => texts.n_left,
        }
    }

    /// Of a list that was checked to have nothing in it but `n_texts` texts without escapes. `record` is the record from
    /// behind the list's opening bracket on, `end` where in it the closing one stands.
    pub(super) fn texts(record: &'a str, end: usize, n_texts: usize) -> Self {
        Self(List::Texts(Texts { record, end, at: 0, n_left: n_texts }))
    }

    /// The next element, where it is a tuple as nearly all are; else it is still to be taken.
    #[inline]
    pub fn next_usual_tuple(&mut self, known: &mut KnownAddresses) -> Option<FlowTuple<'a>> {
        let List::Texts(Texts { record, at, n_left, .. }) = &mut self.0 else { return None };
        let begin = match record.as_bytes().get(*at..)? {
            [b'"', ..] => *at + 1,
            [b',', b'"', ..] => *at + 2,
            _ => return None,
        };
        let tuple = usual_tuple::read(record.get(begin..)?, known)?;
        *at = begin + tuple.text.len() + 1;
        *n_left = n_left.saturating_sub(1);
        Some(tuple)
    }
}

impl<'a> Texts<'a> {
    fn next(&mut self) -> Option<Element<'a>> {
        let list = self.record.get(self.at..self.end)?;
        let begin = memchr(b'"', list.as_bytes())?;
        let behind = list.get(begin..)?;
        let end = memchr(b'"', behind.as_bytes().get(1..)?)? + 2;
        self.at += begin + end;
        self.n_left = self.n_left.saturating_sub(1);
        Some(Element { json: behind.get(..end)?, is_plain: true })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        match &mut self.0 {
            List::Any(list) => list.next().map(|value| Element { json: value.get(), is_plain: false }),
            List::Texts(texts) => texts.next(),
        }
    }
}

impl<'a> Element<'a> {
    /// As it stands in the record.
    #[must_use]
    pub fn json(self) -> &'a str {
        self.json
    }

    /// Its text; `None` where it is not a text.
    #[must_use]
    pub fn text(self) -> Option<Cow<'a, str>> {
        let inner = self.json.strip_prefix('"')?.strip_suffix('"')?;
        if self.is_plain || memchr(b'\\', inner.as_bytes()).is_none() {
            return Some(Cow::Borrowed(inner));
        }
        serde_json::from_str(self.json).ok().map(Cow::Owned)
    }
}
