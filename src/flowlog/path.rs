//! Blob names: `{root}/y=2026/m=11/d=24/h=05/m=00/macAddress=0022482F8D3A/PT1H.json` (Microsoft Learn, "Virtual
//! network flow logs", log location). Matched without regard to case: Azure has changed it before.

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
    // The last date wins: a root may itself contain something that looks like one.
    let mut end = folders.len();
    while let Some(at) = folders.get(..end)?.rfind('/') {
        if let Some(hour) = hour_at(folders.get(at.checked_add(1)?..)?) {
            return HourlyBlob::new(name.clone(), at, hour);
        }
        end = at;
    }
    None
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
}
