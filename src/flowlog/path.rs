//! Blob names: `{root}/y=2026/m=11/d=24/h=05/m=00/macAddress=0022482F8D3A/PT1H.json` (Microsoft Learn, "Virtual
//! network flow logs", log location). Matched without regard to case: Azure has changed it before.

use chrono::{Datelike as _, Timelike as _};

use crate::model::{BlobName, Hour, HourlyBlob};

/// Azure's name for the container of virtual network flow logs, and the spelling of the vendor's page. Either may
/// exist.
pub const FLOW_LOG_CONTAINERS: [&str; 2] =
    ["insights-logs-flowlogflowevent", "insight-logs-flowlogflowevent"];

/// Name of every flow-log blob below its hour.
const FILE_NAME: &str = "PT1H.json";

/// A part of the date in a blob name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatePart {
    /// `y=2026`
    Year,
    /// `m=11`
    Month,
    /// `d=24`
    Day,
    /// `h=05`
    Hour,
}

impl DatePart {
    fn letter(self) -> u8 {
        match self {
            Self::Year => b'y',
            Self::Month => b'm',
            Self::Day => b'd',
            Self::Hour => b'h',
        }
    }

    fn n_digits(self) -> usize {
        match self {
            Self::Year => 4,
            Self::Month | Self::Day | Self::Hour => 2,
        }
    }
}

/// The parts of a date, in the order of a blob name.
pub const DATE_PARTS: [DatePart; 4] = [DatePart::Year, DatePart::Month, DatePart::Day, DatePart::Hour];

/// The letters of a date as a blob name has them: `ymdh`, each in upper or lower case. Listings by prefix want the
/// very letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DateSpelling([char; 4]);

impl Default for DateSpelling {
    fn default() -> Self {
        Self(['y', 'm', 'd', 'h'])
    }
}

impl DateSpelling {
    /// The spelling of `root/y=2026/m=11/d=24/h=05/`, of which the last four segments count; `None` where they are no
    /// date.
    #[must_use]
    pub fn of_prefix(prefix: &str) -> Option<Self> {
        let mut letters = Self::default().0;
        let mut segments = prefix.trim_end_matches('/').rsplit('/');
        for (letter, part) in letters.iter_mut().zip(DATE_PARTS).rev() {
            let segment = segments.next()?;
            date_part(segment, part)?;
            *letter = segment.chars().next()?;
        }
        Some(Self(letters))
    }

    /// The part of a blob name that names the hour: `y=2026/m=11/d=24/h=05/`.
    #[must_use]
    pub fn prefix(self, hour: Hour) -> String {
        let [.., h] = self.0;
        format!("{}{h}={:02}/", self.day_prefix(hour), hour.start().hour())
    }

    /// The part of a blob name that names the day: `y=2026/m=11/d=24/`.
    #[must_use]
    pub fn day_prefix(self, hour: Hour) -> String {
        let [y, m, d, _] = self.0;
        let start = hour.start();
        format!("{y}={:04}/{m}={:02}/{d}={:02}/", start.year(), start.month(), start.day())
    }
}

/// The number in a segment such as `d=24`; `None` where the segment is anything else.
#[must_use]
pub fn date_part(segment: &str, part: DatePart) -> Option<u32> {
    let (letter, digits) = segment.split_once('=')?;
    let is_part = letter.len() == 1 && letter.as_bytes().first()?.eq_ignore_ascii_case(&part.letter());
    let is_number = digits.len() == part.n_digits() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_part && is_number).then(|| digits.parse().ok())?
}

/// Root and hour of a blob; `None` where the name is not that of a flow-log blob.
#[must_use]
pub fn parse(name: &BlobName) -> Option<HourlyBlob> {
    let (folders, file) = name.as_str().rsplit_once('/')?;
    if !file.eq_ignore_ascii_case(FILE_NAME) {
        return None;
    }
    // The first whole date wins, as the walk over a container meets it first. A root may itself contain a part of one.
    folders.match_indices('/').find_map(|(at, _)| {
        let hour = hour_at(folders.get(at.checked_add(1)?..)?)?;
        HourlyBlob::new(name.clone(), at, hour)
    })
}

/// The hour that `y=2026/m=11/d=24/h=05/...` starts with.
fn hour_at(folders: &str) -> Option<Hour> {
    let mut segments = folders.split('/');
    let mut number = |part| date_part(segments.next()?, part);
    let year = i32::try_from(number(DatePart::Year)?).ok()?;
    Hour::from_parts(year, number(DatePart::Month)?, number(DatePart::Day)?, number(DatePart::Hour)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: names in the three documented forms, in other case, and names of other things. Guarantees: root and hour
    /// are found where the name has them, and nothing else is taken for a flow log.
    #[test]
    fn names() {
        let short = "flowLogResourceID=/SUB_RG/NETWORKWATCHER_WESTEUROPE_LOG";
        let long = "flowLogResourceID=/SUBSCRIPTIONS/s/RESOURCEGROUPS/g/PROVIDERS/MICROSOFT.NETWORK/NETWORKWATCHERS/w";
        let nsg = "resourceId=/SUBSCRIPTIONS/s/RESOURCEGROUPS/g/PROVIDERS/MICROSOFT.NETWORK/NETWORKSECURITYGROUPS/n";
        let cases = [
            (format!("{nsg}/y=2026/m=11/d=24/h=05/m=00/macAddress=000D3AF87856/PT1H.json"), Some(nsg)),
            (format!("{short}/y=2026/m=11/d=24/h=05/m=00/macAddress=0022482F8D3A/PT1H.json"), Some(short)),
            (format!("{long}/y=2026/m=11/d=24/h=05/m=00/macAddress=0022482F8D3A/PT1H.json"), Some(long)),
            (format!("{short}/Y=2026/M=11/D=24/H=05/M=00/MACADDRESS=00/pt1h.JSON"), Some(short)),
            (format!("{short}/y=2020/x/y=2026/m=11/d=24/h=05/m=00/PT1H.json"), Some("")),
            (format!("{short}/y=2026/m=11/d=24/h=05/m=00/PT1H.json"), Some(short)),
            (format!("{short}/y=2026/m=11/d=24/h=05/y=2020/m=01/d=02/h=03/PT1H.json"), Some(short)),
            (format!("{short}/y=2026/m=11/d=24/h=24/m=00/PT1H.json"), None),
            (format!("{short}/y=2026/m=02/d=30/h=05/m=00/PT1H.json"), None),
            (format!("{short}/y=26/m=11/d=24/h=05/m=00/PT1H.json"), None),
            (format!("{short}/y=2026/m=11/d=24/h=05/m=00/other.json"), None),
            ("PT1H.json".to_owned(), None),
            (String::new(), None),
        ];
        for (name, root) in cases {
            let parsed = parse(&BlobName::new(name.clone()));
            let expected =
                root.map(|root| if root.is_empty() { format!("{short}/y=2020/x") } else { root.to_owned() });
            assert_eq!(parsed.as_ref().map(|blob| blob.root().to_owned()), expected, "{name}");
            if let Some(blob) = parsed {
                assert_eq!(Some(blob.hour()), Hour::from_parts(2026, 11, 24, 5), "{name}");
                assert_eq!(format!("{}{}", blob.root(), blob.leaf()), name);
            }
        }
    }

    /// Scenario: prefixes of hours in several spellings, and what is no hour. Guarantees: a spelling that was learned
    /// from an hour gives back its prefix, and that of another hour in the same letters.
    #[test]
    fn spellings() {
        let hour = Hour::from_parts(2026, 1, 2, 3).unwrap();
        assert_eq!(DateSpelling::default().prefix(hour), hour.prefix());
        for prefix in ["y=2026/m=01/d=02/h=03/", "Y=2026/M=01/D=02/H=03/", "y=2026/M=01/d=02/H=03/"] {
            let spelling = DateSpelling::of_prefix(&format!("root/{prefix}")).unwrap();
            assert_eq!(spelling.prefix(hour), prefix);
            assert_eq!(spelling.prefix(hour.next()), prefix.replace("=03", "=04"));
        }
        for none in ["", "root/y=2026/m=01/d=02/", "root/y=2026/m=01/x=02/h=03/"] {
            assert_eq!(DateSpelling::of_prefix(none), None, "{none}");
        }
    }
}
