//! Blobs that were gone before they were read to their end: what lay behind the bytes read is lost, and that is said and
//! counted.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

use tracing::warn;

use super::{
    Lane, Pass, PassError,
    discover::{Counts, Memory},
};
use crate::{
    checkpoint::{Frontier, Position, TailState},
    model::{BlobName, Hour},
};

/// What is lost of a blob that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loss {
    /// Bytes that were read.
    pub(super) read_bytes: u64,
    /// Bytes that were not, where that is known.
    pub(super) unread_bytes: Option<u64>,
}

/// What is lost of a blob with this position; `listed_length` is its length where it was listed after that. `None` where
/// nothing is lost.
pub(super) fn loss(position: &Position, listed_length: Option<u64>) -> Option<Loss> {
    let read_bytes = position.bytes().unwrap_or_default();
    let behind = |length: u64| length.saturating_sub(read_bytes);
    let unread_bytes = match (&position.seen, listed_length) {
        (None, length) => length.map(behind),
        (Some(seen), Some(length)) if length > seen.length => Some(behind(length)),
        (Some(seen), _) if seen.tail == TailState::Incomplete => Some(behind(seen.length)),
        (Some(_), _) => return None,
    };
    Some(Loss { read_bytes, unread_bytes })
}

/// Says and counts it once.
pub(super) fn say_gone(
    lane: &Lane,
    memory: &mut Memory,
    counts: &mut Counts,
    name: &BlobName,
    Loss { read_bytes, unread_bytes }: Loss,
) {
    if memory.gone.insert(name, ()) {
        warn!(
            blob = %name, read_bytes, unread_bytes,
            "a blob was gone before it was read to its end; what lay behind the bytes read is lost",
        );
        counts.gone = counts.gone.saturating_add(1);
        lane.metrics.reading.blobs_gone.inc();
        lane.metrics.reading.bytes_lost_unread.inc_by(unread_bytes.unwrap_or_default());
    }
}

/// The unsealed hours of a root, of `hours`, for which there are positions: the blobs of such an hour existed, even
/// where a walk does not find it any more.
pub(super) async fn hours_with_positions(
    lane: &Lane,
    (root, frontier): (&str, &Frontier),
    hours: Range<Hour>,
) -> Result<BTreeSet<Hour>, PassError> {
    let mut found = BTreeSet::new();
    let mut after = Some(hours.start.day().previous());
    while let Some(day) = lane.state.stored_day(lane.scope.clone(), root.to_owned(), after).await? {
        if day >= hours.end {
            break;
        }
        let of_day = (day.number()..day.number().saturating_add(24)).map(Hour::from_number);
        for hour in of_day.filter(|hour| hours.contains(hour) && !frontier.is_sealed(*hour)) {
            if !lane.state.positions(lane.scope.clone(), root.to_owned(), hour).await?.is_empty() {
                found.insert(hour);
            }
        }
        after = Some(day);
    }
    Ok(found)
}

/// Says of each root that is not there any more what is lost of it.
pub(super) async fn say_gone_roots(
    lane: &Lane,
    memory: &mut Memory,
    counts: &mut Counts,
    pass: &Pass,
    frontiers: &HashMap<String, Frontier>,
    before: Hour,
) -> Result<(), PassError> {
    let Memory { roots, gone_roots, .. } = memory;
    gone_roots.retain(|root| !roots.contains_key(root));
    for (root, frontier) in frontiers {
        if memory.roots.contains_key(root) || !memory.gone_roots.insert(root.clone()) {
            continue;
        }
        let unsealed = frontier.first_unsealed()..before;
        // Before the positions are asked for: what a reader has is its to tell.
        let under_way = pass.outstanding.under_way(root);
        for hour in hours_with_positions(lane, (root, frontier), unsealed).await? {
            let mut lengths = memory.lengths.take(root, hour);
            for (blob, position) in lane.state.positions(lane.scope.clone(), root.clone(), hour).await? {
                if under_way.contains(&blob) {
                    continue;
                }
                if let Some(loss) = loss(&position, lengths.remove(blob.name())) {
                    say_gone(lane, memory, counts, blob.name(), loss);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkpoint::{ContextHash, SeenThrough},
        model::ETag,
    };

    /// Scenario: positions in every state, with and without a later listing that showed the blob. Guarantees: what was
    /// read to its end is no loss; all else says what is known of the rest.
    #[test]
    fn losses() {
        let position = |seen: Option<(u64, TailState)>| Position {
            offset: Some((100, ContextHash::of(b""))),
            seen: seen.map(|(length, tail)| SeenThrough { etag: ETag::new("e"), length, tail }),
        };
        for (seen, listed_length, expected) in [
            (None, None, Some(None)),
            (None, Some(150), Some(Some(50))),
            (Some((102, TailState::Clean)), None, None),
            (Some((102, TailState::Clean)), Some(102), None),
            (Some((102, TailState::Clean)), Some(150), Some(Some(50))),
            (Some((130, TailState::Incomplete)), None, Some(Some(30))),
            (Some((130, TailState::Quarantined)), None, None),
        ] {
            let expected = expected.map(|unread_bytes| Loss { read_bytes: 100, unread_bytes });
            assert_eq!(loss(&position(seen), listed_length), expected, "{seen:?}, {listed_length:?}");
        }
    }
}
