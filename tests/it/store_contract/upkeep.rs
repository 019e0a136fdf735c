//! The part of the suite about what is counted, pruned and listed.

use flowlogd::{
    checkpoint::{Frontier, TailState},
    model::{Hour, Scope},
    store::{Commit, FirstHour, PositionChange, Pruned, QuarantineUsage, StateStore},
};

use super::{Ledgers, ROOT, at, blob, hour, moved, nothing, rejected, scope, seen, tally};

/// What a position passes is added to what it passed before, and replaces it where the blob was rewritten; a commit that
/// changes nothing counts nothing.
pub(super) fn ledgers_add_up<S: StateStore>(open: &impl Fn() -> S, ledgers: Ledgers<S>) {
    let of = scope("ledgers");
    let (one, two) = (blob(ROOT, hour(5), "A"), blob(ROOT, hour(5), "B"));
    let now = || ledgers(&open(), &of, ROOT, hour(5));
    let counting = |number, change| PositionChange { tally: tally(number), ..change };
    let change = |positions| Commit { positions, ..nothing(&of) };
    assert_eq!(now(), []);
    let first = vec![counting(2, moved(&one, None, at(10))), moved(&two, None, at(20))];
    open().commit(&change(first)).unwrap();
    assert_eq!(now(), [Some(tally(2)), Some(tally(0))]);
    open().commit(&change(vec![counting(6, moved(&one, Some(at(10)), at(30)))])).unwrap();
    assert_eq!(now(), [Some(tally(8)), Some(tally(0))]);
    let gap = vec![counting(1, moved(&two, Some(at(20)), at(21))), counting(1, moved(&one, None, at(31)))];
    assert!(open().commit(&change(gap)).is_err());
    assert_eq!(now(), [Some(tally(8)), Some(tally(0))]);
    let rewritten = PositionChange { started_over: true, ..counting(4, moved(&one, Some(at(30)), at(12))) };
    open().commit(&change(vec![rewritten])).unwrap();
    assert_eq!(now(), [Some(tally(4)), Some(tally(0))]);
}

/// Rows are counted once, whether the count was asked for before, between or after the commits.
pub(super) fn the_quarantine_is_counted<S: StateStore>(open: &impl Fn() -> S) {
    let of = scope("counted");
    let place = blob(ROOT, hour(1), "A");
    let before = open().quarantine_usage().unwrap();
    let mut kept = open();
    let grown = |usage: QuarantineUsage| (usage.rows - before.rows, usage.bytes - before.bytes);
    let mut steps = Vec::new();
    for (ordinal, text) in [(None, "first"), (Some(0), "second, which is longer"), (None, "first, replaced")]
    {
        let row = (place.clone(), rejected(0, ordinal, text.as_bytes()));
        kept.commit(&Commit { rejected: vec![row], ..nothing(&of) }).unwrap();
        steps.push(grown(kept.quarantine_usage().unwrap()));
    }
    assert_eq!(steps.iter().map(|(rows, _)| *rows).collect::<Vec<_>>(), [1, 2, 2]);
    let bytes: Vec<u64> = steps.iter().map(|(_, bytes)| *bytes).collect();
    assert!(bytes[0] >= 5 && bytes[1] >= bytes[0] + 23, "{bytes:?}");
    assert_eq!(bytes[2] - bytes[1], 10);
    let usage = kept.quarantine_usage().unwrap();
    drop(kept);
    assert_eq!(open().quarantine_usage().unwrap(), usage);
}

/// Of a day, positions of sealed hours go where the listing lacks their blob; nothing else does.
pub(super) fn sealed_hours_are_pruned<S: StateStore>(open: &impl Fn() -> S) {
    let of = scope("pruned");
    let day = hour(0);
    let positions = [
        (blob(ROOT, day.previous(), "A"), at(1)),
        (blob(ROOT, hour(1), "A"), seen(Some(5), 7, TailState::Clean)),
        (blob(ROOT, hour(1), "B"), seen(Some(5), 7, TailState::Quarantined)),
        (blob(ROOT, hour(2), "A"), seen(Some(5), 9, TailState::Incomplete)),
        (blob(ROOT, hour(3), "A"), at(1)),
        (blob(ROOT, hour(23), "A"), at(1)),
        (blob(ROOT, hour(23).next(), "A"), at(1)),
        (blob("another", hour(1), "A"), at(1)),
    ];
    let frontiers = vec![
        (ROOT.to_owned(), Frontier::from_parts(hour(3), [hour(23), hour(23).next()])),
        (String::from("another"), Frontier::new(hour(3))),
    ];
    let changes = positions.iter().map(|(place, to)| moved(place, None, to.clone())).collect();
    let commit = Commit { positions: changes, frontiers, ..nothing(&of) };
    open().commit(&commit).unwrap();
    let stored = |at: usize| {
        let place = &positions[at].0;
        open().positions(&of, place.root(), place.hour()).unwrap().iter().any(|(found, _)| found == place)
    };
    let left = || (0..positions.len()).filter(|index| stored(*index)).collect::<Vec<_>>();

    let of_day: Vec<_> = positions.iter().map(|(place, _)| place.clone()).collect();
    let nothing_lacks = open().prune(&of, ROOT, hour(7), &of_day).unwrap();
    assert_eq!((nothing_lacks, left().len()), (Pruned::default(), positions.len()));
    let pruned = open().prune(&of, ROOT, hour(7), &[positions[1].0.clone()]).unwrap();
    assert_eq!(pruned, Pruned { blobs: 3, unfinished: 2 });
    assert_eq!(left(), [0, 1, 4, 6, 7]);
    for (whose, root) in [(&scope("nobody"), ROOT), (&of, "unknown"), (&of, ROOT)] {
        let again = open().prune(whose, root, day, &[positions[1].0.clone()]).unwrap();
        assert_eq!(again, Pruned::default());
    }
    assert_eq!(left(), [0, 1, 4, 6, 7]);
}

/// A scope counts from its first row of any kind; names alone do not make one.
pub(super) fn scopes_are_listed<S: StateStore>(open: &impl Fn() -> S) {
    let mut of_other = scope("scopes");
    of_other.origin.container = String::from("another");
    let before = open().scopes().unwrap();
    let place = blob(ROOT, hour(1), "A");
    type Store<S> = fn(&mut S, &Scope);
    let kinds: [(Scope, Store<S>); 5] = [
        (scope("scopes-first-hour"), |store, of| {
            store.first_hour(of, FirstHour::Beginning).unwrap();
        }),
        (scope("scopes-frontier"), |store, of| {
            let frontiers = vec![(ROOT.to_owned(), Frontier::new(hour(1)))];
            store.commit(&Commit { frontiers, ..nothing(of) }).unwrap();
        }),
        (scope("scopes-position"), |store, of| {
            let positions = vec![moved(&blob(ROOT, hour(1), "A"), None, at(1))];
            store.commit(&Commit { positions, ..nothing(of) }).unwrap();
        }),
        (scope("scopes-quarantine"), |store, of| {
            let rejected = vec![(blob(ROOT, hour(1), "A"), rejected(0, None, b"x"))];
            store.commit(&Commit { rejected, ..nothing(of) }).unwrap();
        }),
        (of_other, |store, of| {
            let frontiers = vec![(ROOT.to_owned(), Frontier::new(hour(1)))];
            store.commit(&Commit { frontiers, ..nothing(of) }).unwrap();
        }),
    ];
    let mut expected = before;
    for (of, store) in kinds {
        open().commit(&nothing(&of)).unwrap();
        assert_eq!(open().scopes().unwrap(), expected);
        store(&mut open(), &of);
        expected.push(of);
        expected.sort();
        assert_eq!(open().scopes().unwrap(), expected);
    }
    assert!(open().positions(&scope("scopes-frontier"), place.root(), hour(1)).unwrap().is_empty());
}

/// A sealed hour that is opened again is owed again, the hours around it stay sealed, and it can be sealed anew.
pub(super) fn frontiers_are_reopened<S: StateStore>(open: &impl Fn() -> S) {
    let of = scope("reopened");
    let mut frontier = Frontier::from_parts(hour(8), [hour(10)]);
    let store = |frontier: &Frontier| {
        let frontiers = vec![(ROOT.to_owned(), frontier.clone())];
        open().commit(&Commit { frontiers, ..nothing(&of) }).unwrap();
        open().frontiers(&of).unwrap().remove(0).1
    };
    for (reopened, owed) in
        [(hour(10), [8, 9, 10].as_slice()), (hour(5), &[5, 8, 9, 10]), (hour(3), &[3, 5, 8, 9, 10])]
    {
        assert!(frontier.reopen(reopened));
        frontier = store(&frontier);
        let expected: Vec<_> = owed.iter().copied().map(hour).collect();
        assert_eq!(frontier.unsealed_through(hour(10)).collect::<Vec<_>>(), expected);
    }
    for sealed in [3, 5, 8, 9, 10].map(hour) {
        assert!(frontier.seal(sealed));
        frontier = store(&frontier);
    }
    assert_eq!(frontier, Frontier::new(hour(11)));
}

/// Days of a root come in order, each once, whatever hours they have; those of another root or scope do not.
pub(super) fn days_are_found_in_order<S: StateStore>(open: &impl Fn() -> S) {
    let (of, other) = (scope("days"), scope("days-other"));
    assert_eq!(open().stored_day(&of, ROOT, None).unwrap(), None);
    let first = hour(0);
    let at_hour = |hours: i64| Hour::from_number(first.number() + hours);
    // Stored in another order than that of the days; a year lies between the last two.
    let last = 24 * 365 + 7;
    let stored = [at_hour(47), at_hour(last), at_hour(5), at_hour(24), at_hour(23)];
    let positions = |hours: &[Hour], root: &str| {
        hours.iter().map(|hour| moved(&blob(root, *hour, "A"), None, at(1))).collect::<Vec<_>>()
    };
    open().commit(&Commit { positions: positions(&stored, ROOT), ..nothing(&of) }).unwrap();
    let elsewhere = positions(&[at_hour(-30), at_hour(60)], "another");
    open().commit(&Commit { positions: elsewhere, ..nothing(&of) }).unwrap();
    let of_other = positions(&[at_hour(-60), at_hour(80)], ROOT);
    open().commit(&Commit { positions: of_other, ..nothing(&other) }).unwrap();

    let last_day = at_hour(24 * 365);
    for (after, expected) in [
        (None, Some(first)),
        (Some(at_hour(-1)), Some(first)),
        (Some(first), Some(at_hour(24))),
        (Some(at_hour(5)), Some(at_hour(24))),
        (Some(at_hour(23)), Some(at_hour(24))),
        (Some(at_hour(24)), Some(last_day)),
        (Some(at_hour(47)), Some(last_day)),
        (Some(at_hour(100)), Some(last_day)),
        (Some(last_day), None),
        (Some(at_hour(last + 100)), None),
    ] {
        assert_eq!(open().stored_day(&of, ROOT, after).unwrap(), expected, "after {after:?}");
    }
    assert_eq!(open().stored_day(&of, "another", None).unwrap(), Some(at_hour(-48)));
    assert_eq!(open().stored_day(&of, "another", Some(first)).unwrap(), Some(at_hour(48)));
    assert_eq!(open().stored_day(&other, ROOT, None).unwrap(), Some(at_hour(-72)));
    assert_eq!(open().stored_day(&of, "unknown", None).unwrap(), None);
    assert_eq!(open().stored_day(&scope("nobody"), ROOT, None).unwrap(), None);
}
