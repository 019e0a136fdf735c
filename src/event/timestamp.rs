//! Time stamps as text. The part through the minute is kept from one to the next: formatting a date costs a hundred
//! times what the rest of a time stamp does.

use chrono::DateTime;

const MICROSECONDS_PER_MINUTE: i64 = 60_000_000;

/// Writes `2022-09-14T09:00:03.599000`.
#[derive(Debug, Clone, Default)]
pub(super) struct TimestampWriter {
    /// Minutes since 1970, and `2022-09-14T09:00:`.
    minute: Option<(i64, String)>,
}

impl TimestampWriter {
    /// Appends date, time and six fraction digits, without a zone.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, microseconds: i64) {
        self.write_second(out, microseconds);
        out.push(b'.');
        write_digits::<6>(out, microseconds.rem_euclid(1_000_000));
    }

    /// Appends date and time, and the fraction only where there is one, without a zone.
    pub(super) fn write_short(&mut self, out: &mut Vec<u8>, microseconds: i64) {
        if microseconds.rem_euclid(1_000_000) == 0 {
            self.write_second(out, microseconds);
        } else {
            self.write(out, microseconds);
        }
    }

    fn write_second(&mut self, out: &mut Vec<u8>, microseconds: i64) {
        let minute = microseconds.div_euclid(MICROSECONDS_PER_MINUTE);
        if self.minute.as_ref().is_none_or(|(kept, _)| *kept != minute) {
            // Both callers' values lie within the years 0 to 9999, which chrono can show.
            let moment = DateTime::from_timestamp(minute.saturating_mul(60), 0).unwrap_or_default();
            self.minute = Some((minute, moment.format("%Y-%m-%dT%H:%M:").to_string()));
        }
        if let Some((_, text)) = &self.minute {
            out.extend_from_slice(text.as_bytes());
        }
        write_digits::<2>(out, microseconds.rem_euclid(MICROSECONDS_PER_MINUTE) / 1_000_000);
    }
}

/// Appends a number with all of its `N` digits.
fn write_digits<const N: usize>(out: &mut Vec<u8>, number: i64) {
    let mut digits = [b'0'; N];
    let mut rest = u32::try_from(number).unwrap_or_default();
    for place in digits.iter_mut().rev() {
        *place = b'0'.saturating_add(u8::try_from(rest % 10).unwrap_or_default());
        rest /= 10;
    }
    out.extend_from_slice(&digits);
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
