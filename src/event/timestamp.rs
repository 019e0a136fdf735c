//! Time stamps as text. The part through the minute is kept from one to the next: formatting a date costs a hundred
//! times what the rest of a time stamp does.

use chrono::DateTime;

const MICROSECONDS_PER_MINUTE: i64 = 60_000_000;

/// `2022-09-14T09:00:03`.
const SECOND_BYTES: usize = 19;
/// `2022-09-14T09:00:03.599000`.
const WHOLE_BYTES: usize = 26;

/// Writes `2022-09-14T09:00:03.599000`.
#[derive(Debug, Clone, Default)]
pub(super) struct TimestampWriter {
    /// Minutes since 1970.
    minute: Option<i64>,
    /// The last one that was written.
    text: [u8; WHOLE_BYTES],
}

impl TimestampWriter {
    /// Appends date, time and six fraction digits, without a zone.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, microseconds: i64) {
        self.put(microseconds);
        out.extend_from_slice(&self.text);
    }

    /// Appends date and time, and the fraction only where there is one, without a zone.
    pub(super) fn write_short(&mut self, out: &mut Vec<u8>, microseconds: i64) {
        self.put(microseconds);
        let length = if microseconds.rem_euclid(1_000_000) == 0 { SECOND_BYTES } else { WHOLE_BYTES };
        out.extend_from_slice(self.text.get(..length).unwrap_or_default());
    }

    fn put(&mut self, microseconds: i64) {
        let minute = microseconds.div_euclid(MICROSECONDS_PER_MINUTE);
        if self.minute != Some(minute) {
            // Both callers' values lie within the years 0 to 9999, which chrono can show, in so many bytes.
            let moment = DateTime::from_timestamp(minute.saturating_mul(60), 0).unwrap_or_default();
            let shown = moment.format("%Y-%m-%dT%H:%M:").to_string();
            for (place, byte) in self.text.iter_mut().zip(shown.bytes()) {
                *place = byte;
            }
            self.minute = Some(minute);
        }
        let within = microseconds.rem_euclid(MICROSECONDS_PER_MINUTE);
        let [.., a, b, point, c, d, e, f, g, h] = &mut self.text;
        [*a, *b] = digits(within / 1_000_000);
        *point = b'.';
        [*c, *d] = digits(within / 10_000 % 100);
        [*e, *f] = digits(within / 100 % 100);
        [*g, *h] = digits(within % 100);
    }
}

/// A number below 100 with both of its digits.
fn digits(number: i64) -> [u8; 2] {
    let number = u8::try_from(number).unwrap_or_default();
    [b'0'.saturating_add(number / 10), b'0'.saturating_add(number % 10)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Scenario: any moment of the years 0 to 9999, with one writer. Guarantees: the text is chrono's.
        #[test]
        fn as_chrono_writes_them(moments in prop::collection::vec(-62_167_219_200_i64..253_402_300_800, 1..20), micros in 0_i64..1_000_000) {
            let mut writer = TimestampWriter::default();
            for second in moments {
                let mut out = Vec::new();
                writer.write(&mut out, second * 1_000_000 + micros);
                let moment = DateTime::from_timestamp_micros(second * 1_000_000 + micros).unwrap();
                prop_assert_eq!(String::from_utf8(out).unwrap(), moment.format("%Y-%m-%dT%H:%M:%S%.6f").to_string());
            }
        }
    }

    /// Scenario: a moment on a full second, and one that is not. Guarantees: the short form leaves out a fraction of 0
    /// and nothing else.
    #[test]
    fn short_form() {
        for (microseconds, expected) in [
            (1_746_004_060_000_000, "2025-04-30T09:07:40"),
            (1_746_004_060_986_182, "2025-04-30T09:07:40.986182"),
            (1_746_004_060_000_001, "2025-04-30T09:07:40.000001"),
        ] {
            let mut out = Vec::new();
            TimestampWriter::default().write_short(&mut out, microseconds);
            assert_eq!(out, expected.as_bytes());
        }
    }
}
