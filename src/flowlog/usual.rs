//! Records as Azure writes nearly all of them, read without a general parser: texts without escapes, nothing twice, and
//! what lies within the flows in its usual order. Whatever looks different is left to the general parser, which
//! decides about right and wrong; so nothing here has to be explained to anybody.

use serde::de::IgnoredAny;

use super::{
    elements::Elements,
    head::is_white_space,
    piece::PlainList,
    record::{GroupHead, Text, TupleGroup},
    wide_scan::unescaped_length,
};

/// Reads on in a text. Every `None` says that the text is not as usual.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Of the text, in order; not all of them.
    plain_lists: &'a [PlainList],
}

impl<'a> Reader<'a> {
    pub(super) fn of(text: &'a str, plain_lists: &'a [PlainList]) -> Self {
        Self { text, at: 0, plain_lists }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// The next byte that is no white space.
    fn next(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            self.at += 1;
            if !is_white_space(byte) {
                return Some(byte);
            }
        }
    }

    /// This byte comes next.
    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    /// A text without escapes, behind its opening quote.
    fn text_to_end(&mut self) -> Option<&'a str> {
        let begin = self.at;
        let rest = self.rest();
        let length = unescaped_length(rest);
        if rest.get(length) != Some(&b'"') {
            return None;
        }
        self.at = begin + length + 1;
        self.text.get(begin..begin + length)
    }

    /// A text without escapes.
    pub(super) fn text(&mut self) -> Option<Text<'a>> {
        self.expect(b'"')?;
        self.text_to_end().map(Text::borrowed)
    }

    /// Passes over any value.
    pub(super) fn skip(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(())
    }

    /// A number of one digit other than 0.
    pub(super) fn digit(&mut self) -> Option<&'a str> {
        self.next().filter(|byte| matches!(byte, b'1'..=b'9'))?;
        let is_longer =
            self.rest().first().is_some_and(|byte| byte.is_ascii_alphanumeric() || b".+-".contains(byte));
        (!is_longer).then(|| self.text.get(self.at - 1..self.at))?
    }

    /// The members of an object; `member` reads the value of each.
    pub(super) fn object(&mut self, mut member: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        loop {
            self.expect(b'"')?;
            let name = self.text_to_end()?;
            self.expect(b':')?;
            member(self, name)?;
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// A list that is not empty; `element` reads each element.
    fn list(&mut self, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(b'[')?;
        loop {
            element(self)?;
            match self.next()? {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    /// An object of just this member.
    fn only_member(&mut self, wanted: &str, mut value: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        self.member(wanted)?;
        value(self)?;
        self.expect(b'}')
    }

    /// The name of a member, through its colon.
    fn member(&mut self, wanted: &str) -> Option<()> {
        self.expect(b'"')?;
        if self.text_to_end()? != wanted {
            return None;
        }
        self.expect(b':')
    }

    /// `{"flows":[{"aclID":"...","flowGroups":[{"rule":"...","flowTuples":[...]}]}]}`
    pub(super) fn flow_records(&mut self, groups: &mut Vec<TupleGroup<'a>>) -> Option<()> {
        self.only_member("flows", |reader| {
            reader.list(|reader| {
                reader.expect(b'{')?;
                reader.member("aclID")?;
                let acl_id = reader.text()?;
                reader.expect(b',')?;
                reader.member("flowGroups")?;
                reader.list(|reader| {
                    reader.expect(b'{')?;
                    reader.member("rule")?;
                    let rule = reader.text()?;
                    reader.expect(b',')?;
                    reader.member("flowTuples")?;
                    let tuples = reader.tuples()?;
                    let head = GroupHead { acl_id: acl_id.clone(), rule, mac: Text::default() };
                    groups.push(TupleGroup { head, tuples });
                    reader.expect(b'}')
                })?;
                reader.expect(b'}')
            })
        })
    }

    fn tuples(&mut self) -> Option<Elements<'a>> {
        if let Some(elements) = self.plain_list() {
            return Some(elements);
        }
        let rest = self.text.get(self.at..)?;
        let begin = self.at + (rest.len() - rest.trim_ascii_start().len()) + 1;
        let mut n_texts = 0;
        self.list(|reader| {
            reader.expect(b'"')?;
            n_texts += 1;
            reader.text_to_end().map(drop)
        })?;
        Some(Elements::texts(self.text.get(begin..)?, self.at - 1 - begin, n_texts))
    }

    /// A list that is known to be plain.
    fn plain_list(&mut self) -> Option<Elements<'a>> {
        let [b'[', ..] = self.rest() else { return None };
        let begin = self.at + 1;
        let index = self.plain_lists.binary_search_by_key(&begin, |list| list.begin).ok()?;
        let PlainList { end, n_texts, .. } = self.plain_lists.get(index)?;
        self.at = end + 1;
        Some(Elements::texts(self.text.get(begin..)?, end - begin, *n_texts))
    }

    /// Nothing but white space comes.
    pub(super) fn end(&mut self) -> Option<()> {
        self.next().is_none().then_some(())
    }
}
