//! What the splitter makes of streams of every shape.

use super::*;
use crate::flowlog::Damaged;

/// Pieces, and what stands behind them.
fn split(stream: &[u8], chunk_bytes: usize, limit: usize) -> (Vec<String>, String) {
    let mut splitter = Splitter::new(Start::Beginning, limit);
    let mut shown = Vec::new();
    let mut take = |splitter: &mut Splitter| {
        while let Some(piece) = splitter.next_piece() {
            shown.push(match piece {
                Piece::Record(record) => String::from_utf8(record.bytes.to_vec()).unwrap(),
                Piece::Damaged(damaged) => show("damaged", &damaged),
            });
        }
    };
    for chunk in stream.chunks(chunk_bytes) {
        splitter.push(chunk);
        take(&mut splitter);
    }
    splitter.end();
    take(&mut splitter);
    let tail = match splitter.tail() {
        Tail::Clean => "clean".to_owned(),
        Tail::Incomplete(damaged) => show("incomplete", &damaged),
        Tail::Damaged(damaged) => show("waiting", &damaged),
    };
    (shown, tail)
}

fn show(what: &str, damaged: &Damaged<'_>) -> String {
    format!("{what} {} {} {}", damaged.span, damaged.bytes.escape_ascii(), damaged.kind)
}

#[track_caller]
fn check_limit(limit: usize, stream: &str, pieces: &[&str], tail: &str) {
    for chunk_bytes in [1, 2, 3, 7, 1_000] {
        let (found, found_tail) = split(stream.as_bytes(), chunk_bytes, limit);
        assert_eq!(
            (found, found_tail.as_str()),
            (pieces.iter().map(ToString::to_string).collect(), tail),
            "{stream}"
        );
    }
}

#[track_caller]
fn check(stream: &str, pieces: &[&str], tail: &str) {
    check_limit(1_000, stream, pieces, tail);
}

/// *Scenario*: streams without damage of every shape, whole and cut, in chunks of several sizes.
/// *Guarantees*: the records, and what stands behind the last one.
#[test]
fn sound_streams() {
    check("", &[], "clean");
    check(" \n", &[], "clean");
    check(r#"{"records":[]}"#, &[], "clean");
    check(r#"{"records":[{}]}"#, &["{}"], "clean");
    check(r#"{"a":[],"records":[{"b":"}"},{"\\":"\""}"#, &[r#"{"b":"}"}"#, r#"{"\\":"\""}"#], "clean");
    check("{\"records\":[\n{},\n{} ,\r\n{}\n] } \n", &["{}", "{}", "{}"], "clean");
    check("{\"a\":1}\n{\"b\":2}\n", &[r#"{"a":1}"#, r#"{"b":2}"#], "clean");
    check(r#"{"records":{"a":1}}"#, &[r#"{"records":{"a":1}}"#], "clean");
    check("\u{feff}{}", &["{}"], "clean");
    check(
        r#"{"records":[{},{"a"#,
        &["{}"],
        r#"incomplete 15..18 {\"a the record that starts here has no end"#,
    );
    check(r#"{"rec"#, &[], r#"incomplete 0..5 {\"rec the record that starts here has no end"#);
}

const RECORD: &str = r#"{"time":"","flowRecords":{}}"#;

/// *Scenario*: damage with nothing behind it.
/// *Guarantees*: it stays where it is, with its first byte and what is wrong.
#[test]
fn damage_at_the_end() {
    check("]", &[], "waiting 0..1 ] expected a record, found `]`");
    check("x{}", &[], "waiting 0..3 x{} expected a record, found `x`");
    check("\u{feff}{},\n[", &["{}"], "waiting 7..8 [ expected a record, found `[`");
    check(r#"{"records":[{}"x"#, &["{}"], r#"waiting 14..16 \"x expected a record, found `\"`"#);
    check(
        r#"{"records":[{}]},{}"#,
        &["{}"],
        "waiting 16..19 ,{} expected nothing after the closing bracket of the records, found `,`",
    );
    check(
        "{}{no},{}",
        &["{}"],
        "waiting 2..9 {no},{} the record that starts here is not JSON: `n` at byte 3",
    );
    let (_, tail) = split(b"\xef\xbb", 1, 10);
    assert_eq!(tail, r"waiting 0..2 \xef\xbb expected a record, found `\xef`");
}

/// *Scenario*: damage of each kind before a record, and the places where a record may and may not start.
/// *Guarantees*: one piece for the damage, which ends where the first later record starts.
#[test]
fn reading_goes_on_behind_damage() {
    let r = RECORD;
    for (before, at, damaged, kind) in [
        ("{},x,", 3, "x,", "expected a record, found `x`"),
        ("{},{x\"{\n \t", 3, r#"{x\"{\n \t"#, "the record that starts here is not JSON: `x` at byte 4"),
        ("{},[", 3, "[", "expected a record, found `[`"),
        ("{},x,{\"a\":[0,", 3, r#"x,{\"a\":[0,"#, "expected a record, found `x`"),
        ("{},x,{\"a\":[[{\"b\":0},", 3, r#"x,{\"a\":[[{\"b\":0},"#, "expected a record, found `x`"),
        ("{}\n\"{}\",{}\r\n", 3, r#"\"{}\",{}\r\n"#, r#"expected a record, found `\"`"#),
        (
            "{\"records\":[{}]}\n{\"records\":[",
            17,
            r#"{\"records\":["#,
            "expected nothing after the closing bracket of the records, found `{`",
        ),
        (
            r#"{},{"time":{},"#,
            3,
            r#"{\"time\":{},"#,
            "the record that starts here is not JSON: `{` at byte 14",
        ),
        (r#"{},{"a":["#, 3, r#"{\"a\":["#, "the record that starts here has no end"),
        (
            r#"{},{"time":"2,"#,
            3,
            r#"{\"time\":\"2,"#,
            "the record that starts here is not JSON: `t` at byte 16",
        ),
    ] {
        let stream = format!("{before}{r},{{}}");
        let expected = format!("damaged {at}..{} {damaged} {kind}", before.len());
        check(&stream, &["{}", &expected, r, "{}"], "clean");
    }
    for before in ["x", "x{", "x\",\"", "x,\n\"", "x}"] {
        let (pieces, tail) = split(format!("{before}{r}").as_bytes(), 5, 1_000);
        assert_eq!((pieces.len(), tail.starts_with("waiting 0..")), (0, true), "{before}");
    }
    // Behind the closing bracket a record on a line of its own is whole: nothing is damaged before it.
    check(&format!("{{\"records\":[{{}}]}}\r\n {r}\n"), &["{}", r], "clean");
}

/// *Scenario*: records as large as the limit, and one byte larger, with and without their end, before a record and not.
/// *Guarantees*: the limit is exact and does not depend on the chunks; reading goes on behind a record that is too
/// large, of which only the first bytes are kept.
#[test]
fn the_record_limit() {
    let exact = r#"{"a":"456789012345678901234567"}"#;
    let larger = r#"{"a":"4567890123456789012345678"}"#;
    let kind = "the record that starts here is larger than 32 bytes";
    let kept = r#"{\"a\":\"45678901234567890123456"#;
    let check = |stream: &str, pieces: &[&str], tail: &str| check_limit(32, stream, pieces, tail);
    check(&format!("{exact} {exact}"), &[exact, exact], "clean");
    let damaged = |span: &str| format!("{span} {kept}78\\\" {kind}");
    check(larger, &[], &damaged("waiting 0..33"));
    check(
        &format!("{{\"records\":[{exact},{larger},{RECORD}]}}"),
        &[exact, &damaged("damaged 45..79"), RECORD],
        "clean",
    );
    let open = larger.trim_end_matches('}');
    check(open, &[], &format!("incomplete 0..32 {kept}78\\\" the record that starts here has no end"));
    check(&format!("{open}x"), &[], &damaged("waiting 0..33"));
}

/// *Scenario*: many small records, then a large one, then damage that is larger than the limit, in small chunks.
/// *Guarantees*: the buffer holds no more than the limit, a chunk and the context, and the context is what stands
/// before the offset.
#[test]
fn memory_and_context() {
    const LIMIT: usize = 6_000;
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(LIMIT - 8));
    let garbage = format!("x[{{\"a\":[{}", "0,{\"a\":0},".repeat(3_000));
    let stream =
        format!("{{\"records\":[{}{large},{garbage},{RECORD},{large}]}}", "{\"b\":1},".repeat(1_000));
    let mut splitter = Splitter::new(Start::Beginning, LIMIT);
    let (mut n_records, mut damaged) = (0, Vec::new());
    for chunk in stream.as_bytes().chunks(100) {
        splitter.push(chunk);
        assert!(
            splitter.buffer.capacity() <= LIMIT + 100 + 2 * CONTEXT_BYTES,
            "{}",
            splitter.buffer.capacity()
        );
        while let Some(piece) = splitter.next_piece() {
            match piece {
                Piece::Record(_) => n_records += 1,
                Piece::Damaged(piece) => damaged.push((piece.span.length(), piece.bytes.len())),
            }
            let end = usize::try_from(splitter.offset().unwrap()).unwrap();
            assert_eq!(splitter.context(), &stream.as_bytes()[end.saturating_sub(CONTEXT_BYTES)..end]);
        }
    }
    splitter.end();
    assert_eq!(splitter.next_piece(), None);
    assert_eq!(splitter.tail(), Tail::Clean);
    assert_eq!((n_records, damaged), (1_003, vec![(to_u64(garbage.len()) + 1, LIMIT)]));
}
