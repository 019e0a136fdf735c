//! Rows in and out: every row carries a CRC-32 over its logical content, names included, in one canonical encoding.

use crate::{
    checkpoint::{ContextHash, Position, SeenThrough, TailState},
    model::ETag,
};

/// Hashes a row's content. Each value enters with its kind and length, so that no two contents look alike.
#[derive(Debug, Default)]
pub(super) struct RowHash(crc32fast::Hasher);

impl RowHash {
    /// For the rows of one table.
    pub(super) fn of(table: &str) -> Self {
        Self::default().text(table)
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update(&[1]);
        self.0.update(&bytes.len().to_le_bytes());
        self.0.update(bytes);
        self
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    pub(super) fn number(mut self, number: i64) -> Self {
        self.0.update(&[2]);
        self.0.update(&number.to_le_bytes());
        self
    }

    pub(super) fn optional_number(mut self, number: Option<i64>) -> Self {
        match number {
            Some(number) => self.number(number),
            None => {
                self.0.update(&[0]);
                self
            }
        }
    }

    pub(super) fn optional_text(mut self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(text),
            None => {
                self.0.update(&[0]);
                self
            }
        }
    }

    pub(super) fn finish(self) -> i64 {
        i64::from(self.0.finalize())
    }
}

/// A position's columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PositionRow {
    pub(super) offset: Option<i64>,
    pub(super) context: Option<i64>,
    pub(super) etag: Option<String>,
    pub(super) length: Option<i64>,
    pub(super) tail: Option<i64>,
}

impl PositionRow {
    /// `None` where a number is larger than any blob.
    pub(super) fn from_position(position: &Position) -> Option<Self> {
        let mut row = Self::default();
        if let Some((bytes, context)) = position.offset {
            row.offset = Some(i64::try_from(bytes).ok()?);
            row.context = Some(context.number().cast_signed());
        }
        if let Some(seen) = &position.seen {
            row.etag = Some(seen.etag.as_str().to_owned());
            row.length = Some(i64::try_from(seen.length).ok()?);
            row.tail = Some(match seen.tail {
                TailState::Clean => 0,
                TailState::Incomplete => 1,
                TailState::Quarantined => 2,
            });
        }
        Some(row)
    }

    /// `None` where the columns do not fit together.
    pub(super) fn to_position(&self) -> Option<Position> {
        let offset = match (self.offset, self.context) {
            (None, None) => None,
            (Some(offset), Some(context)) => {
                Some((u64::try_from(offset).ok()?, ContextHash::from_number(context.cast_unsigned())))
            }
            _ => return None,
        };
        let seen = match (&self.etag, self.length, self.tail) {
            (None, None, None) => None,
            (Some(etag), Some(length), Some(tail)) => Some(SeenThrough {
                etag: ETag::new(etag),
                length: u64::try_from(length).ok()?,
                tail: match tail {
                    0 => TailState::Clean,
                    1 => TailState::Incomplete,
                    2 => TailState::Quarantined,
                    _ => return None,
                },
            }),
            _ => return None,
        };
        Some(Position { offset, seen })
    }

    /// The CRC of this row at its place.
    pub(super) fn crc(&self, place: RowHash) -> i64 {
        place
            .optional_number(self.offset)
            .optional_number(self.context)
            .optional_text(self.etag.as_deref())
            .optional_number(self.length)
            .optional_number(self.tail)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Scenario*: positions of every form.
    /// *Guarantees*: what is stored comes back equal; columns that do not fit together do not.
    #[test]
    fn positions_survive() {
        let offset = Some((u64::try_from(i64::MAX).unwrap(), ContextHash::from_number(u64::MAX)));
        for offset in [None, offset] {
            for tail in
                [None, Some(TailState::Clean), Some(TailState::Incomplete), Some(TailState::Quarantined)]
            {
                let seen = tail.map(|tail| SeenThrough { etag: ETag::new("0x1"), length: 7, tail });
                let position = Position { offset, seen };
                let row = PositionRow::from_position(&position).unwrap();
                assert_eq!(row.to_position(), Some(position));
            }
        }
        let torn = PositionRow { offset: Some(1), ..PositionRow::default() };
        assert_eq!(torn.to_position(), None);
        let too_large = Position { offset: Some((u64::MAX, ContextHash::from_number(0))), seen: None };
        assert_eq!(PositionRow::from_position(&too_large), None);
    }
}
