//! The `ecs` event as the row of a table: its fields side by side, each named as a column can be. Nothing is added,
//! changed or left out but the names: `source.ip` is the column `source_ip`, `@timestamp` is `TimeGenerated`.

/// What the service calls the time of a row.
const TIME_COLUMN: &[u8] = b"TimeGenerated";

/// Writes rows.
#[derive(Debug, Default)]
pub(super) struct ColumnsWriter {
    /// The event as it is nested.
    nested: Vec<u8>,
    /// Names of the objects that are open, each with `_` behind it.
    path: Vec<u8>,
    /// How long `path` was when each of them was opened.
    lengths: Vec<usize>,
}

impl ColumnsWriter {
    /// Appends as a row what `write_nested` writes: one object, without white space between tokens and without escapes
    /// in names, as the writers of this module make it.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, write_nested: impl FnOnce(&mut Vec<u8>)) {
        self.nested.clear();
        self.path.clear();
        self.lengths.clear();
        write_nested(&mut self.nested);
        let mut is_first = true;
        let mut rest = self.nested.as_slice();
        out.push(b'{');
        while let Some((token, behind)) = rest.split_first() {
            match token {
                b'"' => {
                    let (name, behind_name) = split_string(behind);
                    let value = behind_name.strip_prefix(b":").unwrap_or(behind_name);
                    if let Some(members) = value.strip_prefix(b"{") {
                        self.lengths.push(self.path.len());
                        push_name(&mut self.path, name);
                        self.path.push(b'_');
                        rest = members;
                        continue;
                    }
                    out.extend_from_slice(if is_first { b"\"" } else { b",\"" });
                    is_first = false;
                    if self.path.is_empty() && name == b"@timestamp" {
                        out.extend_from_slice(TIME_COLUMN);
                    } else {
                        out.extend_from_slice(&self.path);
                        push_name(out, name);
                    }
                    out.extend_from_slice(b"\":");
                    let (value, behind_value) = value.split_at(length_of_value(value));
                    out.extend_from_slice(value);
                    rest = behind_value;
                }
                b'}' => {
                    self.path.truncate(self.lengths.pop().unwrap_or_default());
                    rest = behind;
                }
                _ => rest = behind,
            }
        }
        out.push(b'}');
    }
}

/// Appends a name; what no column's name may hold becomes `_`.
fn push_name(out: &mut Vec<u8>, name: &[u8]) {
    out.extend(name.iter().map(|byte| if byte.is_ascii_alphanumeric() { *byte } else { b'_' }));
}

/// The text behind an opening quote through its closing one, which belongs to neither part.
fn split_string(text: &[u8]) -> (&[u8], &[u8]) {
    let mut is_escaped = false;
    let end = text.iter().position(|byte| {
        let is_end = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    });
    let (string, rest) = text.split_at(end.unwrap_or(text.len()));
    (string, rest.strip_prefix(b"\"").unwrap_or(rest))
}

/// How long the text, list, number or word is that `text` begins with.
fn length_of_value(text: &[u8]) -> usize {
    let mut rest = text;
    let mut depth = 0_usize;
    while let Some((byte, behind)) = rest.split_first() {
        match byte {
            b'"' => rest = split_string(behind).1,
            b'[' | b'{' => {
                depth = depth.saturating_add(1);
                rest = behind;
            }
            b',' | b']' | b'}' if depth == 0 => break,
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                rest = behind;
            }
            _ => rest = behind,
        }
    }
    text.len().saturating_sub(rest.len())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn row(event: &str) -> String {
        let mut out = b"before".to_vec();
        ColumnsWriter::default().write(&mut out, |nested| nested.extend_from_slice(event.as_bytes()));
        String::from_utf8(out.split_off(6)).unwrap()
    }

    fn check(event: &str, expected: &Expect) {
        expected.assert_eq(&row(event));
    }

    /// *Scenario*: nested objects, lists, texts with brackets and escapes, numbers, words, names with other characters, a
    /// time that is not at the top. *Guarantees*: the row has every value as it was, under its path.
    #[test]
    fn rows() {
        check(
            r#"{"message":"{\"a\":\"b\\\\\"},","@timestamp":"t","a":{"b":{"c":1,"d":["x]","}\""]},"e":true},"f":-2.5}"#,
            &expect![[
                r#"{"message":"{\"a\":\"b\\\\\"},","TimeGenerated":"t","a_b_c":1,"a_b_d":["x]","}\""],"a_e":true,"f":-2.5}"#
            ]],
        );
        check(
            r#"{"a.b":[{"c":{}},[1]],"d-e":{"@timestamp":null}}"#,
            &expect![[r#"{"a_b":[{"c":{}},[1]],"d_e__timestamp":null}"#]],
        );
        check("{}", &expect!["{}"]);
    }

    /// Any value, three levels deep.
    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            "(?s)([\"\\\\{}\\[\\],:]|\\PC|[\\x00-\\x1f]){0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,3}", inner, 1..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn flatten(path: &str, value: &Value, row: &mut Map<String, Value>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    let column = if path.is_empty() { name.clone() } else { format!("{path}_{name}") };
                    flatten(&column, member, row);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                row.insert(path.to_owned(), value.clone());
            }
        }
    }

    proptest! {
        /// *Scenario*: any objects. *Guarantees*: the row is the one that is made from the parsed value, and it is its own
        /// row.
        #[test]
        fn rows_as_from_values(members in prop::collection::btree_map("[a-z]{1,3}", any_value(), 0..5)) {
            let event = Value::Object(members.into_iter().collect());
            let mut expected = Map::new();
            flatten("", &event, &mut expected);
            let written = row(&event.to_string());
            let parsed: Value = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(parsed, Value::Object(expected));
            prop_assert_eq!(row(&written), written);
        }
    }
}
