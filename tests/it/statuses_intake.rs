//! Every answer that a receiver can give, to every protocol, over real sockets: the verdict, and what is counted. The
//! table is `tests/data/statuses/intake.txt`.

use std::{
    fmt::Write as _,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use flowlogd::{
    batch::EncodedEvents,
    intake::{
        Framing, Intake, Overhead, Selection, Verdict,
        http_intake::HttpIntake,
        protocols::{
            ProtocolConfig,
            http_generic::HttpFraming,
            otlp::OtlpEncoding,
            splunk_hec::{self, Labels},
        },
    },
    model::Secret,
    telemetry::{health::Health, labels::Request, metrics::Metrics},
};
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::metrics::Scrape;
use crate::support::{
    answer_rows::{Row, less_than_an_answer, row},
    delivery::{KEY, config, encode, impatient, sekoia},
    scripted_server::{ScriptedServer, Step},
};

/// Two events each time.
const EVENTS: [&str; 2] = ["{\"n\":1}", "{\"n\":2}"];

const HTML: &str = "<html><head><title>a page</title></head></html>";
const IDS: &str = r#"{"event_ids":["a","b"]}"#;
const ONE_ID: &str = r#"{"event_ids":["a"]}"#;
const CREATED: &str = r#"{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":201}}]}"#;
const ONE_REFUSED: &str = r#"{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":400}}]}"#;
const ONE_BUSY: &str = r#"{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":429}}]}"#;
const TAKEN: &str = r#"{"text":"Success","code":0}"#;
const ONE_REJECTED: &str = r#"{"partialSuccess":{"rejectedLogRecords":"1"}}"#;
/// The same in protobuf: field 1 of the answer, in it field 1.
const ONE_REJECTED_PROTOBUF: &str = "\n\u{2}\u{8}\u{1}";

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

/// One more byte than any protocol reads.
const TOO_MANY_BYTES: usize = 32 * 1024 * 1024 + 1;

/// A protocol, and how its receiver says that it has everything.
struct Column {
    name: &'static str,
    protocol: ProtocolConfig,
    success: &'static str,
    content_type: &'static str,
}

fn columns() -> Vec<Column> {
    let success_codes = [200, 201, 202, 204].map(|code| ::http::StatusCode::from_u16(code).unwrap());
    let headers = ::http::HeaderMap::new;
    let http = ProtocolConfig::Http {
        framing: HttpFraming::Ndjson,
        headers: headers(),
        success_codes: success_codes.into(),
    };
    let elasticsearch = ProtocolConfig::Elasticsearch { index: "flows".to_owned() };
    let splunk = ProtocolConfig::SplunkHec(splunk_hec::Config {
        token: Secret::new(KEY.to_owned()),
        labels: Labels::default(),
        acknowledged_within: None,
    });
    let otlp = |encoding| ProtocolConfig::Otlp { encoding, headers: headers() };
    let column = |name, protocol, success, content_type| Column { name, protocol, success, content_type };
    vec![
        column("sekoia", sekoia(), IDS, JSON),
        column("http", http, "", JSON),
        column("elasticsearch", elasticsearch, CREATED, JSON),
        column("splunk_hec", splunk, TAKEN, JSON),
        column("otlp protobuf", otlp(OtlpEncoding::Protobuf), "", PROTOBUF),
        column("otlp json", otlp(OtlpEncoding::Json), "{}", JSON),
    ]
}

/// Answers that say something good, or seem to.
fn successes(Column { success, content_type, .. }: &Column) -> Vec<Row> {
    let typed = |status, body: &str| Step::answer(status, &[("Content-Type", content_type)], body);
    let json = |body: &str| Step::answer(200, &[("Content-Type", JSON)], body);
    let mut rows: Vec<Row> = [200, 201, 202, 203, 206, 207, 226, 299]
        .map(|status| (format!("{status}, the protocol's success"), typed(status, success)))
        .into();
    rows.extend([
        row("204", Step::answer(204, &[], "")),
        row("205", Step::answer(205, &[], "")),
        row("200, success, no Content-Type", Step::answer(200, &[], *success)),
        row("200, success, called a page", Step::answer(200, &[("Content-Type", "text/html")], *success)),
        row("200, success, called gzip", Step::answer(200, &[("Content-Encoding", "gzip")], *success)),
        row("200, success, cut", typed(200, &format!("{success}  ")).cut(success.len() / 2)),
        row("200, more than is read", Step::answer(200, &[], vec![b' '; TOO_MANY_BYTES])),
        row("200, nothing", Step::answer(200, &[], "")),
        row("200, a page", Step::answer(200, &[("Content-Type", "text/html")], HTML)),
        row("200, {}", json("{}")),
        row("200, []", json("[]")),
        row("200, ids", json(IDS)),
        row("200, an id too few", json(ONE_ID)),
        row("200, created", json(CREATED)),
        row("200, one is refused", json(ONE_REFUSED)),
        row("200, one is busy", json(ONE_BUSY)),
        row("200, code 0", json(TAKEN)),
        row("200, code 9", json(r#"{"text":"Server is busy","code":9}"#)),
        row("200, one is rejected", json(ONE_REJECTED)),
        row(
            "200, one is rejected, protobuf",
            Step::answer(200, &[("Content-Type", PROTOBUF)], ONE_REJECTED_PROTOBUF),
        ),
    ]);
    rows
}

/// Statuses other than a success. `elsewhere` is where redirects lead.
fn refusals(elsewhere: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = [300, 301, 302, 303, 307, 308]
        .map(|status| {
            (format!("{status}, to another host"), Step::answer(status, &[("Location", elsewhere)], ""))
        })
        .into();
    let plain = [
        101, 304, 305, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416,
        417, 418, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 507,
        508, 511, 520, 599,
    ];
    // These have no body: it would be taken for the next answer.
    let body = |status| if matches!(status, 101 | 304) { "" } else { HTML };
    rows.extend(plain.map(|status| (status.to_string(), Step::answer(status, &[], body(status)))));
    for status in [429, 500, 503] {
        for (wish, name) in [("0", "no wait"), ("7", "seven seconds"), ("soon", "nonsense")] {
            let step = Step::answer(status, &[("Retry-After", wish)], "");
            rows.push((format!("{status}, Retry-After: {name}"), step));
        }
        let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(7));
        let epoch = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH);
        let step = Step::answer(status, &[("Date", &*epoch), ("Retry-After", &*date)], "");
        rows.push((format!("{status}, Retry-After: seven seconds, a date"), step));
        rows.push((
            format!("{status}, more than is read"),
            Step::answer(status, &[], vec![b' '; TOO_MANY_BYTES]),
        ));
    }
    for (status, code) in [(400, 5), (400, 6), (400, 7), (400, 14), (401, 2), (403, 1), (403, 4), (503, 9)] {
        let body = format!("{{\"text\":\"words\",\"code\":{code},\"invalid-event-number\":1}}");
        rows.push((format!("{status}, code {code} for the second"), Step::answer(status, &[], body)));
    }
    rows.push(row("400, nginx wants a certificate", Step::answer(400, &[], NGINX)));
    for status in [400, 401, 413, 429, 503] {
        let step = Step::answer(status, &[("Retry-After", "7")], HTML).cut(3);
        rows.push((format!("{status}, cut"), step));
    }
    rows.sort_by_key(|(name, _)| name[..3].to_owned());
    rows
}

/// As nginx says it.
const NGINX: &str = "<html>\r\n<head><title>400 No required SSL certificate was sent</title></head>";

/// No answer, or less than one.
fn failures() -> Vec<Row> {
    less_than_an_answer("Content-Type: application/json\r\n", "Content-Length: 30\r\n\r\n{\"code\":0")
}

/// Passes one attempt on, keeps its verdict, and asks the driver to stop.
#[derive(Debug)]
struct Once<'a> {
    intake: &'a HttpIntake,
    verdict: Mutex<Option<Verdict>>,
    ended: CancellationToken,
}

#[async_trait]
impl Intake for Once<'_> {
    fn framing(&self) -> &dyn Framing {
        self.intake.framing()
    }

    fn body_overhead(&self) -> Overhead {
        self.intake.body_overhead()
    }

    async fn attempt(&self, events: &EncodedEvents, selection: &Selection) -> Verdict {
        if self.verdict.lock().unwrap().is_some() {
            return std::future::pending().await;
        }
        let verdict = self.intake.attempt(events, selection).await;
        *self.verdict.lock().unwrap() = Some(verdict.clone());
        self.ended.cancel();
        verdict
    }
}

fn told(verdict: &Verdict) -> String {
    let after =
        |after: &Option<Duration>| after.map_or(String::new(), |after| format!(" {}s", after.as_secs()));
    match verdict {
        Verdict::Delivered => "Delivered".to_owned(),
        Verdict::Doubtful { accepted, .. } => format!("Doubtful {accepted}/2"),
        Verdict::Partial { refused, untried, busy, .. } => {
            format!("Partial {}-{}-{}", refused.len(), untried.len(), busy.len())
        }
        Verdict::TooLarge { .. } => "TooLarge".to_owned(),
        Verdict::BadBatch { .. } => "BadBatch".to_owned(),
        Verdict::Retry { after: wish, cause, .. } => format!("Retry{} {cause:?}", after(wish)),
        Verdict::Blocked { .. } => "Blocked".to_owned(),
        Verdict::Closed { reason } => panic!("no answer closes an intake: {reason}"),
    }
}

/// The verdict on one attempt, and what its request was counted as.
async fn cell(intake: &HttpIntake) -> String {
    let metrics = Metrics::new(SystemTime::now());
    let driver = impatient().observed(metrics.intake("it"), Health::default().component("it"));
    let ended = CancellationToken::new();
    let once = Once { intake, verdict: Mutex::default(), ended: ended.clone() };
    driver.deliver(&once, &encode(intake, &EVENTS), &ended).await;
    let verdict = once.verdict.lock().unwrap().take().unwrap();
    assert!(!format!("{verdict:?}").contains(KEY), "{verdict:?}");
    let scrape = Scrape::parse(&metrics.encode());
    let counted = Request::ALL.into_iter().filter(|request| {
        let series =
            format!("flowlogd_intake_requests_total{{intake=\"it\",outcome=\"{}\"}}", request.as_str());
        *request != Request::Abandoned && scrape.get(&series) != Some(0.0)
    });
    let counted: Vec<&str> = counted.map(Request::as_str).collect();
    format!("{}, {}", told(&verdict), counted.join(" and "))
}

/// One protocol's answers, each to one request.
async fn column(column: &Column, elsewhere: &str) -> Vec<(String, String)> {
    let rows = [successes(column), refusals(elsewhere), failures()].concat();
    let (names, steps): (Vec<String>, Vec<Step>) = rows.into_iter().unzip();
    let server = ScriptedServer::start(steps.clone()).await;
    let url = Url::parse(&server.url()).unwrap();
    let patient = HttpIntake::new(config(&url, None, column.protocol.clone())).unwrap();
    let mut settings = config(&url, None, column.protocol.clone());
    settings.http.total_timeout = Some(Duration::from_secs(1));
    let hasty = HttpIntake::new(settings).unwrap();
    let mut cells = Vec::new();
    for (name, step) in names.into_iter().zip(&steps) {
        let is_silent = matches!(step, Step::Silence | Step::Stall(_));
        let told = cell(if is_silent { &hasty } else { &patient }).await;
        cells.push((name, told));
        assert_eq!(server.requests().len(), cells.len(), "{}: {cells:?}", column.name);
    }
    cells
}

/// *Scenario*: every answer, and every way not to answer, to a request of two events in every protocol.
/// *Guarantees*: the table: the verdict, with the wait that was asked for and what may lie behind a retry, and what the
/// request is counted as. One attempt is one request; no redirect is followed; only the protocol's own success counts as
/// a delivery; no verdict has the key in it.
#[tokio::test]
async fn every_answer_to_every_protocol() {
    let other = ScriptedServer::start(vec![Step::answer(200, &[], IDS)]).await;
    let (columns, elsewhere) = (columns(), other.url());
    let told = join_all(columns.iter().map(|of| column(of, &elsewhere))).await;
    assert!(other.requests().is_empty(), "a redirect was followed");

    let mut table = String::new();
    let mut line = |name: &str, cells: &[&str]| {
        let cells: String = cells.iter().map(|cell| format!(" {cell:27}")).collect();
        writeln!(table, "{}", format!("{name:40}{cells}").trim_end()).unwrap();
    };
    line("the receiver answers", &columns.iter().map(|column| column.name).collect::<Vec<_>>());
    for (index, (name, _)) in told[0].iter().enumerate() {
        line(name, &told.iter().map(|column| column[index].1.as_str()).collect::<Vec<_>>());
    }
    expect_test::expect_file!["../data/statuses/intake.txt"].assert_eq(&table);
}
