//! The elements of a `flowTuples` list.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter};
use serde_json::value::RawValue;

/// The elements as they stand: texts with a flow tuple, if all is well.
#[derive(Debug, Clone)]
pub struct Elements<'a>(List<'a>);

#[derive(Debug, Clone)]
enum List<'a> {
    /// Any JSON.
    Any(std::vec::IntoIter<&'a RawValue>),
    /// What stands between the brackets: texts without escapes, and nothing else.
    Texts(&'a str),
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
            List::Texts(rest) => memchr_iter(b'"', rest.as_bytes()).count() / 2,
        }
    }

    /// What stands between the brackets of a list, which was checked to have nothing in it but texts without escapes.
    pub(super) fn texts(list: &'a str) -> Self {
        Self(List::Texts(list))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        match &mut self.0 {
            List::Any(list) => list.next().map(|value| Element { json: value.get(), is_plain: false }),
            List::Texts(rest) => {
                let begin = match rest.as_bytes() {
                    [b'"', ..] => 0,
                    [b',', b'"', ..] => 1,
                    list => memchr(b'"', list)?,
                };
                let behind = rest.get(begin..)?;
                let end = memchr(b'"', behind.as_bytes().get(1..)?)?.checked_add(2)?;
                let (json, list) = behind.split_at_checked(end)?;
                *rest = list;
                Some(Element { json, is_plain: true })
            }
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
