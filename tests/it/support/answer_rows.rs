//! Rows of the tables of answers: what a server does, and a name for it.

use super::scripted_server::Step;

/// A name for people, and the answer.
pub(crate) type Row = (String, Step);

pub(crate) fn row(name: &str, step: Step) -> Row {
    (name.to_owned(), step)
}

/// No answer to a request, or less than a whole one: a good one has these header lines, and a body that begins like this,
/// with the header lines that tell how long it is.
pub(crate) fn less_than_an_answer(headers: &str, body: &str) -> Vec<Row> {
    let head = format!("HTTP/1.1 200 OK\r\n{headers}");
    let body = format!("{head}{body}");
    let endless = format!("{head}{}", "x: y\r\n".repeat(100_000));
    vec![
        row("closed before the answer", Step::Close),
        row("reset before the answer", Step::Reset),
        row("closed within the head", Step::Raw(head.clone().into())),
        row("a head without an end", Step::Raw(endless.into())),
        row("an answer that is no HTTP", Step::Raw(b"220 mail.example ESMTP\r\n".to_vec())),
        row("silent before the answer", Step::Silence),
        row("silent within the head", Step::Stall(head.into())),
        row("silent within the body", Step::Stall(body.into())),
    ]
}
