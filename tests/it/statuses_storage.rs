//! Every answer that a storage server can give, to every operation of the storage port: what the caller is told, what is
//! counted, and how often the server was asked. The table is `tests/data/statuses/storage.txt`.

use std::{fmt::Write as _, time::Duration};

use flowlogd::{
    http,
    model::{BlobName, ETag, Secret},
    storage::{
        Account, ListQuery, StorageError, StorageErrorKind,
        azure::{self, AzureAccount},
    },
};
use futures_util::future::join_all;
use url::Url;

use crate::support::{
    answer_rows::{Row, less_than_an_answer, row},
    scripted_server::{ScriptedServer, Step},
};

const DATE: (&str, &str) = ("Date", "Tue, 24 Nov 2026 05:00:31 GMT");
const ETAG: (&str, &str) = ("ETag", "\"v1\"");
const RANGE: (&str, &str) = ("Content-Range", "bytes 2-7/10");
const LAST_MODIFIED: (&str, &str) = ("Last-Modified", "Tue, 24 Nov 2026 05:00:01 GMT");
const XML: (&str, &str) = ("Content-Type", "application/xml");

const BLOBS: &str = "<EnumerationResults><Blobs><Blob><Name>a</Name><Properties>\
                     <Last-Modified>Tue, 24 Nov 2026 05:00:01 GMT</Last-Modified><Etag>0x1</Etag>\
                     <Content-Length>10</Content-Length></Properties></Blob></Blobs><NextMarker /></EnumerationResults>";
const CONTAINERS: &str = "<EnumerationResults><Containers><Container><Name>logs</Name></Container></Containers>\
                          <NextMarker /></EnumerationResults>";

/// What the port can ask.
#[derive(Debug, Clone, Copy)]
enum Operation {
    Containers,
    List,
    ListFolded,
    Head,
    Read,
}

const OPERATIONS: [(Operation, &str); 5] = [
    (Operation::Containers, "list containers"),
    (Operation::List, "list blobs"),
    (Operation::ListFolded, "list, delimiter"),
    (Operation::Head, "head"),
    (Operation::Read, "ranged read"),
];

impl Operation {
    async fn perform(self, account: &AzureAccount) -> Result<(), StorageError> {
        let (container, blob) = (account.container("logs"), BlobName::new("a/b"));
        let query = ListQuery { prefix: "", delimiter: None, marker: None };
        match self {
            Self::Containers => account.containers("").await.map(drop),
            Self::List => container.list_page(query).await.map(drop),
            Self::ListFolded => {
                container.list_page(ListQuery { delimiter: Some('/'), ..query }).await.map(drop)
            }
            Self::Head => container.head(&blob).await.map(drop),
            Self::Read => container.read(&blob, 2..8, &ETag::new("v1")).await.map(|bytes| {
                assert_eq!(bytes, "234567", "other bytes than were asked for");
            }),
        }
    }
}

/// Successes: each is the right answer to one operation at most.
fn successes() -> Vec<Row> {
    let page = |body: &str| Step::answer(200, &[DATE, XML], body);
    let properties = Step::answer(200, &[DATE, ETAG, LAST_MODIFIED], "0123456789");
    let unmeasured = "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 05:00:31 GMT\r\nETag: \"v1\"\r\n\
                      Last-Modified: Tue, 24 Nov 2026 05:00:01 GMT\r\n\r\n";
    let part = |headers: &[(&str, &str)], body: &str| Step::answer(206, &[&[DATE], headers].concat(), body);
    let right_part = part(&[RANGE, ETAG], "234567");
    let of_range = |range: &'static str| part(&[("Content-Range", range), ETAG], "234567");
    vec![
        row("200, a page of containers", page(CONTAINERS)),
        row("200, a page of blobs", page(BLOBS)),
        row("200, the whole blob", properties),
        row("200, a page without a date", Step::answer(200, &[XML], BLOBS)),
        row("200, half a page", page(&BLOBS[..BLOBS.len() / 2])),
        row("200, a page that is cut on its way", page(BLOBS).cut(30)),
        row("200, a page of the web", Step::answer(200, &[DATE], "<html>sign in</html>")),
        row("200, without a body", Step::answer(200, &[DATE], "")),
        row("200, no length, no body", Step::Raw(unmeasured.into())),
        row("204", Step::answer(204, &[DATE], "")),
        row("206, the part", right_part.clone()),
        row("206, without a version", part(&[RANGE], "234567")),
        row("206, of another version", part(&[RANGE, ("ETag", "\"v2\"")], "234567")),
        row("206, of another range", of_range("bytes 4-9/10")),
        row("206, of more than was asked for", of_range("bytes 2-9/10")),
        row("206, of no range", part(&[ETAG], "234567")),
        row("206, of an unreadable range", of_range("bytes 2-x/10")),
        row("206, of an empty range", of_range("bytes 2-1/2")),
        row("206, without a byte", part(&[RANGE, ETAG], "")),
        row("206, shorter than its range", part(&[RANGE, ETAG], "2345")),
        row("206, longer than its range", part(&[RANGE, ETAG], "23456789")),
        row("206, cut before its first byte", right_part.clone().cut(0)),
        row("206, cut within", right_part.cut(3)),
    ]
}

/// Statuses other than a success. `elsewhere` is where redirects lead.
fn refusals(elsewhere: &str) -> Vec<Row> {
    let redirects = [300, 301, 302, 303, 307, 308].map(|status| {
        let step = Step::answer(status, &[DATE, ("Location", elsewhere)], "");
        (format!("{status}, to another host"), step)
    });
    let coded = [
        (400, "InvalidAuthenticationInfo"),
        (400, "InvalidBlobTier"),
        (400, "InvalidHeaderValue"),
        (400, "OutOfRangeInput"),
        (401, "NoAuthenticationInformation"),
        (403, "AccountIsDisabled"),
        (403, "AuthenticationFailed"),
        (403, "AuthorizationFailure"),
        (403, "AuthorizationPermissionMismatch"),
        (403, "InsufficientAccountPermissions"),
        (403, "KeyBasedAuthenticationNotPermitted"),
        (404, "BlobNotFound"),
        (404, "ContainerNotFound"),
        (404, "ResourceNotFound"),
        (409, "BlobArchived"),
        (409, "BlobBeingRehydrated"),
        (409, "BlobBeingWritten"),
        (409, "ContainerBeingDeleted"),
        (409, "LeaseIdMissing"),
        (412, "ConditionNotMet"),
        (416, "InvalidRange"),
        (500, "InternalError"),
        (500, "OperationTimedOut"),
        (503, "ServerBusy"),
    ];
    let coded = coded.map(|(status, code)| {
        let step = Step::answer(status, &[DATE, ("x-ms-error-code", code)], "<Error>canary body</Error>");
        (format!("{status} {code}"), step)
    });
    let plain = [
        101, 304, 305, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416,
        417, 418, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 507,
        508, 511, 520, 599,
    ];
    let plain = plain.map(|status| (status.to_string(), Step::answer(status, &[DATE], body_of(status))));
    let mut waits = Vec::new();
    for status in [429, 500, 502, 503] {
        for (wish, name) in [
            ("0", "no wait"),
            ("60", "a minute"),
            ("Tue, 24 Nov 2026 05:01:31 GMT", "a minute, as a date"),
            ("Tue, 24 Nov 2026 05:00:00 GMT", "a date that has passed"),
            ("soon", "nonsense"),
        ] {
            let step = Step::answer(status, &[DATE, ("Retry-After", wish)], "");
            waits.push((format!("{status}, Retry-After: {name}"), step));
        }
    }
    let mut rows: Vec<Row> = redirects.into_iter().chain(coded).chain(plain).chain(waits).collect();
    rows.sort_by_key(|(name, _)| name[..3].to_owned());
    rows
}

/// The body of a refusal, where its status may have one: it would be taken for the next answer.
fn body_of(status: u16) -> &'static str {
    if matches!(status, 101 | 304) { "" } else { "<html>canary body" }
}

/// No answer, or less than one.
fn failures() -> Vec<Row> {
    let body = "ETag: \"v1\"\r\nContent-Range: bytes 2-7/10\r\nContent-Length: 6\r\n\r\n23";
    less_than_an_answer("Date: Tue, 24 Nov 2026 05:00:31 GMT\r\n", body)
}

fn account(endpoint: &str, read_timeout: Duration) -> AzureAccount {
    let minute = Duration::from_secs(60);
    AzureAccount::new(azure::Config {
        account: "testaccount".to_owned(),
        account_key: Secret::new("Y2FuYXJ5".to_owned()).into(),
        secondary_key: None,
        endpoint: Url::parse(endpoint).unwrap(),
        http: http::Config {
            extra_roots_pem: None,
            identity: None,
            proxy: None,
            connect_timeout: minute,
            read_timeout,
            total_timeout: None,
        },
    })
    .unwrap()
}

/// A server that always gives one answer, and what asks it one operation after the other.
struct Party {
    server: ScriptedServer,
    account: AzureAccount,
    operations: Vec<Operation>,
}

/// Everybody who asks for one answer. A client is expensive to set up; but where the server wants to be left alone, or
/// says nothing, each operation has its own, so that none waits for another.
async fn parties(step: &Step) -> Vec<Party> {
    let is_silent = matches!(step, Step::Silence | Step::Stall(_));
    let has_wish =
        matches!(step, Step::Answer { headers, .. } if headers.iter().any(|(name, _)| name == "Retry-After"));
    let read_timeout = Duration::from_secs(if is_silent { 1 } else { 60 });
    let operations = OPERATIONS.map(|(operation, _)| operation);
    let mut parties = Vec::new();
    for operations in operations.chunks(if is_silent || has_wish { 1 } else { operations.len() }) {
        let server = ScriptedServer::start(vec![step.clone()]).await;
        let account = account(&server.url(), read_timeout);
        parties.push(Party { server, account, operations: operations.to_vec() });
    }
    parties
}

impl Party {
    /// What each operation came to, as it is counted, and with how many requests. Every request of one is the same.
    async fn cells(self) -> Vec<String> {
        let mut cells = Vec::new();
        let mut n_before = 0;
        for operation in self.operations {
            let result = operation.perform(&self.account).await;
            let requests = self.server.requests().split_off(n_before);
            n_before += requests.len();
            let targets: Vec<_> = requests.iter().map(|request| (&request.method, &request.target)).collect();
            assert!(targets.windows(2).all(|pair| pair[0] == pair[1]), "{operation:?}: {targets:?}");
            cells.push(told(result) + &times(requests.len()));
        }
        cells
    }
}

fn told(result: Result<(), StorageError>) -> String {
    let Err(error) = result else { return "ok".to_owned() };
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("canary") && !shown.contains("http://127"), "{shown}");
    let mut wait = String::new();
    if let StorageErrorKind::Throttled { retry_after: Some(asked) } = &error.kind {
        wait = format!(" {}s", asked.as_secs());
    }
    format!("{}{wait}", error.kind.trouble().as_str())
}

fn times(n_requests: usize) -> String {
    if n_requests == 1 { String::new() } else { format!(" x{n_requests}") }
}

/// Scenario: every answer, and every way not to answer, to every operation; the same one each time that it is asked.
/// Guarantees: the table: what each is counted as, how long the server wants to be left alone, and how many requests it
/// took. Only a right answer is a success, and then with the very bytes. No redirect is followed, no body of a refusal
/// and no URL is told.
#[tokio::test]
async fn every_answer_to_every_operation() {
    let other = ScriptedServer::start(vec![Step::answer(200, &[DATE, XML], BLOBS)]).await;
    let rows = [successes(), refusals(&other.url()), failures()].concat();
    let mut all = Vec::new();
    for (_, step) in &rows {
        all.extend(parties(step).await);
    }
    let cells = join_all(all.into_iter().map(Party::cells)).await.concat();
    assert!(other.requests().is_empty(), "a redirect was followed");

    let mut table = String::new();
    let mut line = |name: &str, cells: &[String]| {
        let cells: String = cells.iter().map(|cell| format!(" {cell:23}")).collect();
        writeln!(table, "{}", format!("{name:42}{cells}").trim_end()).unwrap();
    };
    line("the server answers", &OPERATIONS.map(|(_, name)| name.to_owned()));
    for ((name, _), cells) in rows.iter().zip(cells.chunks(OPERATIONS.len())) {
        line(name, cells);
    }
    expect_test::expect_file!["../data/statuses/storage.txt"].assert_eq(&table);
}

/// Scenario: nobody listens at the address, for any operation. Guarantees: each is counted as what passes.
#[tokio::test]
async fn nobody_listens() {
    let server = ScriptedServer::start(vec![Step::Close]).await;
    let endpoint = server.url();
    drop(server);
    for (operation, _) in OPERATIONS {
        let result = operation.perform(&account(&endpoint, Duration::from_secs(60))).await;
        assert_eq!(told(result), "transient", "{operation:?}");
    }
}
