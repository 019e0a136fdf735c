//! Intakes that are authorised by OAuth 2 client credentials: a token endpoint and a receiver, both real servers.

use std::{path::Path, time::Duration};

use flowlogd::{
    intake::{
        Verdict,
        auth::Auth,
        http_intake::{Compression, Config, HttpIntake},
        oauth::ClientCredentials,
        protocols::{ProtocolConfig, http_generic::HttpFraming},
        rotation::{FilePlace, WatchedFile},
    },
    model::Secret,
};
use url::Url;

use crate::support::{
    delivery::{self, blocked, config, encode},
    scripted_server::{Recorded, ScriptedServer, Step},
};

const SECRET: &str = "canary secret/+";

/// `flowlogd:canary+secret%2F%2B` in base64: id and secret are encoded as in a form first (RFC 6749, section 2.3.1).
const AUTHORIZATION: &str = "Basic Zmxvd2xvZ2Q6Y2FuYXJ5K3NlY3JldCUyRiUyQg==";

const FORM: &str = "grant_type=client_credentials&scope=logs.write";
const FORM_WITH_SECRET: &str =
    "grant_type=client_credentials&scope=logs.write&client_id=flowlogd&client_secret=canary+secret%2F%2B";

/// An intake with its token endpoint.
struct World {
    endpoint: ScriptedServer,
    receiver: ScriptedServer,
    intake: HttpIntake,
}

impl World {
    async fn new(tokens: Vec<Step>, answers: Vec<Step>) -> Self {
        Self::with_secret_file(tokens, answers, None).await
    }

    async fn with_secret_file(tokens: Vec<Step>, answers: Vec<Step>, file: Option<&Path>) -> Self {
        let (endpoint, receiver) =
            (ScriptedServer::start(tokens).await, ScriptedServer::start(answers).await);
        let url =
            |server: &ScriptedServer, path: &str| Url::parse(&server.url()).unwrap().join(path).unwrap();
        let watched = |path: &Path| WatchedFile { path: path.to_owned(), place: FilePlace::ClientSecret };
        let protocol = ProtocolConfig::Http {
            framing: HttpFraming::Ndjson,
            headers: ::http::HeaderMap::new(),
            success_codes: vec![::http::StatusCode::OK],
        };
        let config = Config {
            auth: Auth::ClientCredentials(ClientCredentials {
                token_url: url(&endpoint, "/token"),
                client_id: "flowlogd".to_owned(),
                client_secret: Secret::new(SECRET.to_owned()),
                scope: Some("logs.write".to_owned()),
            }),
            compression: Compression::None,
            files: file.map(watched).into_iter().collect(),
            ..config(&url(&receiver, "/logs"), None, protocol)
        };
        assert!(!format!("{config:?}").contains("canary"), "{config:?}");
        Self { endpoint, receiver, intake: HttpIntake::new(config).unwrap() }
    }

    /// Sends one event once. Nothing that comes of it shows the secret or a token.
    async fn attempt(&self) -> Verdict {
        let verdict = delivery::attempt(&self.intake, &encode(&self.intake, &["{}"])).await;
        let shown = format!("{verdict:?} {:?}", self.intake);
        assert!(!shown.contains("canary") && !shown.contains("token-"), "{shown}");
        verdict
    }

    /// What authorised each request to the receiver.
    fn sent(&self) -> Vec<String> {
        let of = |request: Recorded| request.header("authorization").unwrap_or("nothing").to_owned();
        self.receiver.requests().into_iter().map(of).collect()
    }

    /// The credentials and the form of each request for a token.
    fn asked(&self) -> Vec<(Option<String>, String)> {
        let of = |request: Recorded| {
            assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/token"));
            assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
            (
                request.header("authorization").map(str::to_owned),
                String::from_utf8(request.body.clone()).unwrap(),
            )
        };
        self.endpoint.requests().into_iter().map(of).collect()
    }
}

fn token(number: u32, expires_in: &str) -> Step {
    let body =
        format!(r#"{{"access_token":"token-{number}","token_type":"Bearer","expires_in":{expires_in}}}"#);
    Step::answer(200, &[], body)
}

fn by_header() -> (Option<String>, String) {
    (Some(AUTHORIZATION.to_owned()), FORM.to_owned())
}

fn by_form() -> (Option<String>, String) {
    (None, FORM_WITH_SECRET.to_owned())
}

/// *Scenario*: three requests with a token that lives for an hour, and three with tokens that live for no time.
/// *Guarantees*: the token is asked for as documented, once, and again only when it ends.
#[tokio::test]
async fn a_token_is_kept_and_renewed() {
    let world = World::new(vec![token(1, "3600")], vec![Step::answer(200, &[], "")]).await;
    for _request in 0..3 {
        assert_eq!(world.attempt().await, Verdict::Delivered);
    }
    assert_eq!(world.sent(), ["Bearer token-1"; 3]);
    assert_eq!(world.asked(), [by_header()]);

    let short = (1..=3).map(|number| token(number, "0")).collect();
    let world = World::new(short, vec![Step::answer(200, &[], "")]).await;
    for _request in 0..3 {
        assert_eq!(world.attempt().await, Verdict::Delivered);
    }
    assert_eq!(world.sent(), ["Bearer token-1", "Bearer token-2", "Bearer token-3"]);
    assert_eq!(world.asked().len(), 3);
}

/// *Scenario*: a token endpoint that takes the secret in the body only.
/// *Guarantees*: it gets it there, and for the next token at once.
#[tokio::test]
async fn a_server_that_wants_the_secret_in_the_body() {
    let refusal = Step::answer(401, &[], r#"{"error":"invalid_client"}"#);
    let tokens = vec![refusal, token(1, "0"), token(2, "0")];
    let world = World::new(tokens, vec![Step::answer(200, &[], "")]).await;
    for _request in 0..2 {
        assert_eq!(world.attempt().await, Verdict::Delivered);
    }
    assert_eq!(world.asked(), [by_header(), by_form(), by_form()]);
}

/// *Scenario*: the receiver refuses a token that should still be good, once; then it refuses every token.
/// *Guarantees*: a new token is asked for once and the events go out at once; where that is refused too, the intake is
/// blocked after these two requests, and the reason repeats neither token.
#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    let refusal = || Step::answer(401, &[], "token-3 is no good");
    let tokens = vec![token(1, "3600"), token(2, "3600"), token(3, "3600")];
    let world = World::new(tokens, vec![refusal(), Step::answer(200, &[], ""), refusal()]).await;
    assert_eq!(world.attempt().await, Verdict::Delivered);
    assert_eq!(world.sent(), ["Bearer token-1", "Bearer token-2"]);
    let reason = blocked(world.attempt().await);
    assert!(
        reason.contains("401") && reason.contains("`auth`") && reason.contains("*** is no good"),
        "{reason}"
    );
    assert_eq!(world.sent(), ["Bearer token-1", "Bearer token-2", "Bearer token-2", "Bearer token-3"]);
}

/// *Scenario*: a token endpoint that refuses the client, quoting its secret; one that is busy, answers nonsense, redirects,
/// breaks off, and is not there.
/// *Guarantees*: no event is sent without a token, and none is at fault: what passes is waited for, as long as the server
/// says, all else blocks with the key that helps.
#[tokio::test]
async fn no_token_no_request() {
    let echo = format!("{{\"error\":\"{SECRET} {FORM_WITH_SECRET} {AUTHORIZATION}\"}}");
    let location = ("Location", "http://127.0.0.1:9/elsewhere");
    let tokens = vec![
        Step::answer(400, &[], echo.clone()),
        Step::answer(400, &[], echo),
        Step::answer(503, &[("Retry-After", "17")], ""),
        Step::answer(200, &[], "<html>"),
        Step::answer(302, &[location], ""),
        Step::answer(200, &[], "{}").cut(1),
    ];
    let world = World::new(tokens, vec![Step::answer(200, &[], "")]).await;
    let reason = blocked(world.attempt().await);
    assert!(
        reason.starts_with("no access token: status 400") && reason.contains("`client_secret`"),
        "{reason}"
    );
    assert!(!reason.contains("Zmxvd2") && !reason.contains("%2F%2B"), "{reason}");
    let Verdict::Retry { after, .. } = world.attempt().await else { panic!("it passes") };
    assert_eq!(after, Some(Duration::from_secs(17)));
    for _nonsense in 0..2 {
        let reason = blocked(world.attempt().await);
        assert!(reason.contains("`token_url`"), "{reason}");
    }
    let Verdict::Retry { reason, .. } = world.attempt().await else { panic!("it passes") };
    assert!(reason.starts_with("no access token: the connection broke"), "{reason}");
    let World { endpoint, receiver, intake } = world;
    drop(endpoint);
    let world = World { endpoint: ScriptedServer::start(vec![Step::Close]).await, receiver, intake };
    let Verdict::Retry { reason, .. } = world.attempt().await else { panic!("it passes") };
    assert!(reason.starts_with("no access token: the server cannot be connected to"), "{reason}");
    assert_eq!(world.sent(), [""; 0]);
}

/// *Scenario*: eight requests at once without a token, refused by the token endpoint; then eight more, for which it issues
/// one.
/// *Guarantees*: the eight share what was said: the secret is tried once in each place. So they do with the token.
#[tokio::test]
async fn one_asks_for_all() {
    let refusal = || Step::answer(401, &[], r#"{"error":"invalid_client"}"#);
    let tokens = vec![refusal(), refusal(), token(1, "3600")];
    let world = World::new(tokens, vec![Step::answer(200, &[], "")]).await;
    let eight = || futures_util::future::join_all((0..8).map(|_| world.attempt()));
    for verdict in eight().await {
        blocked(verdict);
    }
    assert_eq!(world.asked(), [by_header(), by_form()]);
    assert!(eight().await.iter().all(|verdict| *verdict == Verdict::Delivered));
    assert_eq!(world.asked(), [by_header(), by_form(), by_header()]);
}

/// *Scenario*: the client's secret is changed at the token endpoint and then in its file.
/// *Guarantees*: the new one is used at once after the refusal, without a restart.
#[tokio::test]
async fn a_secret_is_read_again_from_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("client_secret");
    std::fs::write(&path, SECRET).unwrap();
    let refusal = || Step::answer(401, &[], r#"{"error":"invalid_client"}"#);
    let tokens = vec![refusal(), refusal(), refusal(), refusal(), token(1, "3600")];
    let world = World::with_secret_file(tokens, vec![Step::answer(200, &[], "")], Some(&path)).await;
    blocked(world.attempt().await);
    std::fs::write(&path, "another one").unwrap();
    assert_eq!(world.attempt().await, Verdict::Delivered);
    let (_, form) = world.asked().pop().unwrap();
    assert_eq!(form, FORM, "a new secret is tried in a header first");
    assert_eq!(world.sent(), ["Bearer token-1"]);
}
