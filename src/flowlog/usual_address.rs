//! IP addresses as nearly all are written, told by their bytes. Whatever looks different is left to the standard parser.

use wide::u8x16;

const LANES: usize = 16;

/// Addresses that were told lately: an interface has its own one in each of its tuples, and talks to the same ones for a
/// while.
#[derive(Debug, Clone)]
pub struct KnownAddresses {
    /// Each with its comma and zeros behind it, the first byte lowest, at the place that its text has.
    places: Box<[u128; PLACES]>,
}

const PLACES: usize = 256;

impl Default for KnownAddresses {
    fn default() -> Self {
        Self { places: Box::new([0; PLACES]) }
    }
}

impl KnownAddresses {
    /// Length of the address that the text begins with, where a comma ends it. `None` where the standard parser has to
    /// decide.
    #[inline]
    pub(super) fn length(&mut self, text: &[u8]) -> Option<usize> {
        let block = text.first_chunk()?;
        let Some(length) = before_comma(block) else { return v6(text) };
        let with_comma = u128::from_le_bytes(*block) & THROUGH.get(length)?;
        let place = self.places.get_mut(place(with_comma))?;
        if *place == with_comma {
            return Some(length);
        }
        if v4(block) != Some(length) {
            return v6(text);
        }
        *place = with_comma;
        Some(length)
    }
}

/// By the index of a byte: all bits through that byte, the first byte lowest.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which checks each index")]
const THROUGH: [u128; LANES] = {
    let mut masks = [u128::MAX; LANES];
    let mut index = 0;
    while index + 1 < LANES {
        masks[index] = (1 << (8 * (index + 1))) - 1;
        index += 1;
    }
    masks
};

/// Where a text is kept.
#[inline]
fn place(text: u128) -> usize {
    // Any odd number whose bits look random does.
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    let half = |text: u128| u64::try_from(text & u128::from(u64::MAX)).unwrap_or(0);
    let spread = (half(text) ^ half(text >> u64::BITS).rotate_left(31)).wrapping_mul(SPREAD);
    usize::try_from(spread >> (u64::BITS - PLACES.trailing_zeros())).unwrap_or(0)
}

/// How many bytes stand before a comma, which is among the first sixteen.
#[inline]
pub(super) fn before_comma(text: &[u8]) -> Option<usize> {
    let bytes = u8x16::new(*text.first_chunk()?);
    let commas = bytes.simd_eq(u8x16::splat(b',')).to_bitmask();
    (commas != 0).then(|| usize::try_from(commas.trailing_zeros()).unwrap_or(LANES))
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

/// Most bytes of an address of this kind, its end, and what fills the last block.
const LONGEST_V6: usize = 3 * LANES;

/// Groups of up to four digits between colons: eight of them, or fewer with two colons in one place.
fn v6(text: &[u8]) -> Option<usize> {
    let (blocks, _) = text.first_chunk::<LONGEST_V6>()?.as_chunks::<LANES>();
    let (mut digits, mut colons) = (0_u64, 0_u64);
    for block in blocks.iter().rev() {
        let bytes = u8x16::new(*block);
        let decimal = bytes - u8x16::splat(b'0');
        // In lower case: a small letter differs from a large one in one bit.
        let letter = (bytes | u8x16::splat(0x20)) - u8x16::splat(b'a');
        let is_digit =
            decimal.simd_eq(decimal.min(u8x16::splat(9))) | letter.simd_eq(letter.min(u8x16::splat(5)));
        digits = digits << LANES | u64::from(is_digit.to_bitmask());
        colons = colons << LANES | u64::from(bytes.simd_eq(u8x16::splat(b':')).to_bitmask());
    }
    let length = (digits | colons).trailing_ones();
    let within = (1_u64 << (length & 63)) - 1;
    let (digits, colons) = (digits & within, colons & within);
    let begins = digits & !(digits << 1);
    let gaps = colons & colons >> 1;
    let five_in_a_row = digits & digits >> 1 & digits >> 2 & digits >> 3 & digits >> 4;
    let last = 1_u64.checked_shl(length.checked_sub(1)?)?;
    let (begins_well, ends_well) = (begins & 1 | gaps & 1, digits & last | gaps & last >> 1);
    let n_groups = begins.count_ones();
    let is_whole = match gaps.count_ones() {
        0 => n_groups == 8 && colons.count_ones() == 7,
        1 => n_groups < 8,
        _ => false,
    };
    let is_usual = five_in_a_row == 0 && begins_well != 0 && ends_well != 0 && is_whole;
    let length = usize::try_from(length).ok()?;
    (is_usual && text.get(length) == Some(&b',')).then_some(length)
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
            let found = KnownAddresses::default().length(format!("{text},23956,443,6,O,B,NX,1234,1234,1234,1234,1234,1234,1234").as_bytes());
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
                let found = KnownAddresses::default().length(format!("{text},23956,443,6,O,B,NX,1234,1234,1234,1234,1234,1234,1234").as_bytes());
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
            let found = KnownAddresses::default()
                .length(format!("{text},23956,443,6,O,B,NX,1234,1234,1234,1234,1234,1234,1234").as_bytes());
            assert_eq!(found.is_some(), text.parse::<IpAddr>().is_ok(), "{text}");
        }
    }
}
