//! What the golden samples of both kinds of records have in common.

use serde_json::Value;

use super::convert::Converted;

/// Every value of `subset` stands in `superset` at its place, unchanged.
pub(crate) fn assert_contains(superset: &Value, subset: &Value) {
    match (superset, subset) {
        (Value::Object(superset), Value::Object(subset)) => {
            for (name, value) in subset {
                assert_contains(&superset[name], value);
            }
        }
        _ => assert_eq!(superset, subset),
    }
}

/// All of a stream as the golden files have it: the events, a line each, then what goes into the quarantine.
pub(crate) fn written_down(converted: &Converted) -> String {
    let mut shown: String = converted.events.iter().map(|(_, body)| format!("{body}\n")).collect();
    for rejected in &converted.rejected {
        shown += &format!(
            "{} {} {:?} {}\n  text {}\n  context {}\n",
            rejected.reason,
            rejected.span,
            rejected.ordinal,
            rejected.detail,
            String::from_utf8_lossy(&rejected.text),
            rejected.context.as_deref().unwrap_or("none")
        );
    }
    shown
}
