//! What goes wrong, and when: drawn from the seed before the simulation begins.

use std::time::Duration;

/// A fault that lasts for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// The storage server is in trouble.
    StorageDown,
    /// It refuses the key.
    Denied,
    /// It asks to slow down.
    Throttled,
    /// The container is not there.
    NoContainer,
    /// Listings die now and then, on any page.
    ListingsDie,
    /// Ranges are cut short now and then, or the blob is busy.
    RangesFail,
    /// The intake gives no answer.
    IntakeDown,
    /// It has the events, and its answer is lost now and then.
    AnswersLost,
    /// One answer of fifty is lost.
    AnswersSometimesLost,
    /// It asks to slow down.
    IntakeBusy,
    /// It refuses the key.
    IntakeBlocked,
    /// It takes small bodies only.
    IntakeSmall,
    /// It says of each event what became of it, and is too busy for some.
    IntakePartial,
    /// The disk is full.
    DiskFull,
    /// The disk is read-only.
    DiskReadOnly,
}

const FAULTS: [Fault; 14] = [
    Fault::StorageDown,
    Fault::Denied,
    Fault::Throttled,
    Fault::NoContainer,
    Fault::ListingsDie,
    Fault::RangesFail,
    Fault::IntakeDown,
    Fault::AnswersLost,
    Fault::IntakeBusy,
    Fault::IntakeBlocked,
    Fault::IntakeSmall,
    Fault::IntakePartial,
    Fault::DiskFull,
    Fault::DiskReadOnly,
];

/// How a life of the process ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// `kill -9`.
    Killed,
    /// SIGTERM.
    Asked,
    /// A sync of the disk fails.
    DiskBroken,
}

/// All that goes wrong in a simulation. Times count from its beginning.
#[derive(Debug, Clone, Default)]
pub(super) struct Weather {
    /// Each with the place of the intake that it concerns, where it concerns one.
    windows: Vec<(Duration, Duration, Fault, usize)>,
    /// When lives end, in order, and how long it takes until the next one begins.
    pub(super) endings: Vec<(Duration, Ending, Duration)>,
}

impl Weather {
    pub(super) fn new(random: &mut fastrand::Rng, lasts: Duration, n_intakes: usize) -> Self {
        let seconds = lasts.as_secs();
        let n_days = seconds.div_ceil(86_400);
        let mut moment = || Duration::from_secs(random.u64(0..seconds));
        let n_windows = n_days * 8;
        let starts: Vec<Duration> = (0..n_windows).map(|_| moment()).collect();
        let mut deaths: Vec<Duration> = (0..n_days * 6).map(|_| moment()).collect();
        deaths.sort_unstable();
        let windows = starts.into_iter().map(|start| {
            let longest = *random.choice(&[120, 1_800, 1_800, 4 * 3_600]).unwrap();
            let length = Duration::from_secs(random.u64(30..longest));
            let fault = *random.choice(&FAULTS).unwrap();
            (start, start + length, fault, random.usize(0..n_intakes))
        });
        let windows = windows.collect();
        let endings = deaths.into_iter().map(|at| {
            let how =
                *random.choice(&[Ending::Killed, Ending::Killed, Ending::Asked, Ending::DiskBroken]).unwrap();
            let longest = *random.choice(&[5, 60, 3_600]).unwrap();
            (
                at + Duration::from_millis(random.u64(0..1_000)),
                how,
                Duration::from_secs(random.u64(1..longest)),
            )
        });
        Self { windows, endings: endings.collect() }
    }

    /// Answers that are lost, and a process that is killed.
    pub(super) fn duplicating(random: &mut fastrand::Rng, lasts: Duration) -> Self {
        let mut deaths: Vec<u64> =
            (0..lasts.as_secs() / 10_000).map(|_| random.u64(0..lasts.as_secs())).collect();
        deaths.sort_unstable();
        let endings =
            deaths.into_iter().map(|at| (Duration::from_secs(at), Ending::Killed, Duration::from_secs(1)));
        let whole = |intake| (Duration::ZERO, lasts, Fault::AnswersSometimesLost, intake);
        Self { windows: vec![whole(0), whole(1)], endings: endings.collect() }
    }

    /// One fault, of the first intake where it is one of an intake, and perhaps an end of the process.
    pub(super) fn one(
        fault: Fault,
        from: Duration,
        to: Duration,
        ending: Option<(Duration, Ending)>,
    ) -> Self {
        let endings = ending.map(|(at, how)| (at, how, Duration::from_secs(60)));
        Self { windows: vec![(from, to, fault, 0)], endings: endings.into_iter().collect() }
    }

    /// When the last of it is over.
    pub(super) fn is_over_at(&self) -> Duration {
        self.windows.iter().map(|(_, to, _, _)| *to).max().unwrap_or_default()
    }

    /// Whether something is wrong now, with this intake or with all.
    pub(super) fn has(&self, fault: Fault, now: Duration, intake: Option<usize>) -> bool {
        self.windows.iter().any(|(from, to, what, whose)| {
            *what == fault && *from <= now && now < *to && intake.is_none_or(|intake| intake == *whose)
        })
    }
}
