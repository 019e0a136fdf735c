//! IP addresses as nearly all are written, told by their bytes. Whatever looks different is left to the standard parser.

use wide::u8x16;

const LANES: usize = 16;

/// Length of the address that the text begins with, where a comma ends it. `None` where the standard parser has to
/// decide.
pub(super) fn length(text: &[u8]) -> Option<usize> {
    v4(text.first_chunk()?).or_else(|| v6(text))
}

/// One bit a byte, lowest first, in each.
struct Marks {
    digits: u32,
    dots: u32,
    zeros: u32,
    ones: u32,
    twos: u32,
    fives: u32,
    below_five: u32,
    below_six: u32,
}

impl Marks {
    fn of(text: &[u8; LANES]) -> Self {
        let bytes = u8x16::new(*text);
        // What is below `0` wraps around to more than any digit.
        let values = bytes - u8x16::splat(b'0');
        let is = |value: u8| values.simd_eq(u8x16::splat(value)).to_bitmask();
        let up_to = |value: u8| values.simd_eq(values.min(u8x16::splat(value))).to_bitmask();
        Self {
            digits: up_to(9),
            dots: bytes.simd_eq(u8x16::splat(b'.')).to_bitmask(),
            zeros: is(0),
            ones: is(1),
            twos: is(2),
            fives: is(5),
            below_five: up_to(4),
            below_six: up_to(5),
        }
    }
}

/// All four octets at once: which bytes begin one, which of these have a second and a third digit.
fn v4(text: &[u8; LANES]) -> Option<usize> {
    let marks = Marks::of(text);
    let length = (marks.digits | marks.dots).trailing_ones();
    let within = (1_u32 << (length & 31)) - 1;
    let (digits, dots) = (marks.digits & within, marks.dots & within);
    let starts = dots << 1 | 1;
    let long = starts & digits >> 1;
    let longest = long & digits >> 2;
    let below_256 =
        marks.ones | marks.twos & (marks.below_five >> 1 | marks.fives >> 1 & marks.below_six >> 2);
    let wrong = starts & !digits | longest & digits >> 3 | long & marks.zeros | longest & !below_256;
    let behind_two_dots = without_lowest(without_lowest(dots));
    let has_three_dots = behind_two_dots != 0 && without_lowest(behind_two_dots) == 0;
    let length = usize::try_from(length).unwrap_or(LANES);
    (wrong == 0 && has_three_dots && text.get(length) == Some(&b',')).then_some(length)
}

fn without_lowest(mask: u32) -> u32 {
    mask & mask.wrapping_sub(1)
}

/// Groups of up to four digits between colons: eight of them, or fewer with two colons in one place.
fn v6(text: &[u8]) -> Option<usize> {
    let (mut n_groups, mut n_digits, mut n_gaps, mut n_colons) = (0_u32, 0_u32, 0_u32, 0_u32);
    for (index, byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' => {
                n_groups += u32::from(n_digits == 0);
                n_digits += 1;
                if n_digits > 4 || n_groups > 8 {
                    return None;
                }
            }
            b':' => {
                n_gaps += u32::from(n_digits == 0 && index > 0);
                n_colons += 1;
                // One colon at the beginning is none of a gap.
                if index == 0 && text.get(1) != Some(&b':') || n_gaps > 1 {
                    return None;
                }
                n_digits = 0;
            }
            b',' => {
                let ends_well =
                    n_digits > 0 || index.checked_sub(2).and_then(|at| text.get(at)) == Some(&b':');
                let is_whole = if n_gaps == 0 { n_groups == 8 } else { n_groups < 8 };
                return (n_colons > 0 && ends_well && is_whole).then_some(index);
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// *Scenario*: addresses of either kind, and texts that look like one, with a comma and more behind them.
        /// *Guarantees*: what is taken for an address is one to the standard parser too.
        #[test]
        fn none_but_addresses(
            text in prop_oneof![
                "[0-9]{1,3}(\\.[0-9]{1,4}){2,4}",
                "[0-2]{0,3}(\\.[0-26]{1,3}){3}",
                "[0-9a-fF]{0,4}(:[0-9a-f]{0,5}){1,9}",
                "(:?[0-9a-f]{1,2}:){0,8}:?[0-9a-f]{0,2}",
                "[0-9a-f:.]{0,20}",
                "\\PC{0,8}",
            ]
        ) {
            let found = length(format!("{text},23956,443,6,O,B,NX").as_bytes());
            if found == Some(text.len()) {
                prop_assert!(text.parse::<IpAddr>().is_ok(), "{}", text);
            } else {
                prop_assert_eq!(found.filter(|length| !text.as_bytes().contains(&b',') || *length > text.len()), None);
            }
        }

        /// *Scenario*: any address as the standard library writes it.
        /// *Guarantees*: it is told without the standard parser, unless it has an IPv4 address within.
        #[test]
        fn all_addresses(v4 in any::<[u8; 4]>(), v6 in any::<[u16; 8]>(), zeros in 0_u8..=255) {
            let mut sparse = v6;
            for (index, group) in sparse.iter_mut().enumerate() {
                *group = if zeros >> index & 1 == 0 { *group } else { 0 };
            }
            for address in [IpAddr::from(v4), IpAddr::from(v6), IpAddr::from(sparse)] {
                let text = address.to_string();
                let found = length(format!("{text},23956,443,6,O,B,NX").as_bytes());
                prop_assert!(found == Some(text.len()) || address.is_ipv6() && text.contains('.'), "{}", text);
            }
        }
    }

    /// *Scenario*: each octet that three digits can write, each way to put two colons, and what comes close.
    /// *Guarantees*: as the standard parser has it.
    #[test]
    fn borders() {
        let octets =
            (0..1_000).flat_map(|octet| [format!("1.2.{octet}.4"), format!("{octet}.0.0.{octet:03}")]);
        let groups =
            ["::", "::1", "1::", ":1::", "1:::2", "1::2::3", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", ":"];
        let more = [
            "1:2:3:4:5:6:7::8",
            "1:2:3:4:5:6:7:8:9",
            "1:2:3:4:5:6:7:",
            "1:2:3:4:5:6:7",
            "12345::",
            "::2:3:4:5:6:7:8",
        ];
        for text in octets.chain(groups.into_iter().chain(more).map(str::to_owned)) {
            let found = length(format!("{text},23956,443,6,O,B,NX").as_bytes());
            assert_eq!(found.is_some(), text.parse::<IpAddr>().is_ok(), "{text}");
        }
    }
}
