//! A canary in every secret setting of a real daemon, against receivers that repeat what they are sent: it sings
//! nowhere but in the requests where it belongs.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use tempfile::TempDir;

use super::room::Admin;
use crate::support::{
    azurite::{self, ACCOUNT, ACCOUNT_KEY},
    daemon::Daemon,
    examples::example,
    proxy::ForwardProxy,
    scripted_server::{Recorded, ScriptedServer, Step},
    world::last_hour,
};

/// In every secret, so that a piece of one is found too.
const CANARY: &str = "canary-";

/// `canary-secondary-key` as an account key is written.
const SECONDARY_KEY: &str = "Y2FuYXJ5LXNlY29uZGFyeS1rZXk=";

/// So many bytes that base64 of more begins with base64 of these.
const USER_AND_PASSWORD: &str = "flowlogd:canary-password";

/// How one kind of intake is given its credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sekoia,
    Bearer,
    Basic,
    Header,
    ClientCredentials,
    ApiKey,
    Splunk,
}

const KINDS: [Kind; 7] = [
    Kind::Sekoia,
    Kind::Bearer,
    Kind::Basic,
    Kind::Header,
    Kind::ClientCredentials,
    Kind::ApiKey,
    Kind::Splunk,
];

/// How the settings give secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// In their place.
    Inline,
    /// In files; the account key within a connection string.
    Files,
}

/// An intake in the settings, and the server that it talks to.
struct Peer {
    name: String,
    kind: Kind,
    server: ScriptedServer,
    /// Issues its tokens, and first says what it is sent.
    tokens: ScriptedServer,
    n_steps: usize,
    n_quarantined: u64,
}

impl Peer {
    /// One that takes nothing: two failures that pass by themselves, three that are the events' fault, one `last`.
    async fn start(name: &str, kind: Kind, last: Step) -> Self {
        let mut steps = vec![Step::echo(500, &[]), Step::echo(429, &[("Retry-After", "0")])];
        steps.extend([400, 413, 422].map(|status| Step::echo(status, &[])));
        if kind == Kind::Sekoia {
            let none_accepted = format!("{{\"event_ids\":[],\"key\":\"canary-key-{name}\"}}");
            steps.push(Step::answer(200, &[], none_accepted));
        }
        if kind == Kind::ApiKey {
            let quoted = format!("canary-api-{name} for /in/canary-path-{name}/");
            let failed = format!("{{\"status\":400,\"error\":{{\"type\":\"t\",\"reason\":\"{quoted}\"}}}}");
            steps.push(Step::answer(200, &[], format!("{{\"items\":[{{\"create\":{failed}}}]}}")));
        }
        if kind == Kind::Splunk {
            let refused = format!("{{\"code\":6,\"invalid-event-number\":0,\"text\":\"canary-hec-{name}\"}}");
            steps.push(Step::answer(400, &[], refused));
        }
        let n_quarantined = u64::try_from(steps.len()).unwrap() - 2;
        steps.push(last);
        let n_steps = steps.len();
        let token = format!("{{\"access_token\":\"canary-token-{name}\",\"expires_in\":3600}}");
        // Busy, then it wants the secret in the body.
        let tokens = vec![Step::echo(503, &[]), Step::echo(400, &[]), Step::answer(200, &[], token)];
        Self {
            name: name.to_owned(),
            kind,
            tokens: ScriptedServer::start(tokens).await,
            server: ScriptedServer::start(steps).await,
            n_steps,
            n_quarantined,
        }
    }

    /// What its requests must hold, in the head or in the body.
    fn own_secrets(&self) -> Vec<String> {
        let name = &self.name;
        let credentials = match self.kind {
            Kind::Sekoia => return vec![format!("\"canary-key-{name}\"")],
            Kind::Splunk => return vec![format!("Splunk canary-hec-{name}")],
            Kind::Bearer => format!("Bearer canary-bearer-{name}"),
            Kind::Basic => {
                format!("Basic {}", STANDARD.encode(format!("flowlogd:canary-password-{name}")))
            }
            Kind::Header => format!("canary-value-{name}"),
            Kind::ClientCredentials => format!("Bearer canary-token-{name}"),
            Kind::ApiKey => {
                let target = format!("/in/canary-path-{name}/flows/_bulk");
                return vec![format!("ApiKey canary-api-{name}"), target];
            }
        };
        vec![
            credentials,
            format!("/in/canary-path-{name}?token=canary-query-{name}"),
            format!("canary-header-{name}"),
        ]
    }

    /// Its table of the settings.
    fn settings(&self, form: Form, directory: &Path) -> String {
        let (name, url) = (&self.name, self.server.url());
        let secret = |key: &str, canary: &str| {
            let text = format!("canary-{canary}-{name}");
            given(form, directory, key, &text)
        };
        let credentials = match self.kind {
            Kind::Sekoia => {
                let key = secret("intake_key", "key");
                return format!("[intakes.{name}]\nprotocol = \"sekoia\"\nurl = \"{url}\"\n{key}\n{COMMON}");
            }
            Kind::ApiKey => {
                let key = secret("api_key", "api");
                return format!(
                    "[intakes.{name}]\nprotocol = \"elasticsearch\"\nindex = \"flows\"\n\
                     url = \"{url}/in/canary-path-{name}\"\nauth = {{ {key} }}\n{COMMON}"
                );
            }
            Kind::Splunk => {
                let token = secret("token", "hec");
                return format!(
                    "[intakes.{name}]\nprotocol = \"splunk_hec\"\nurl = \"{url}\"\n{token}\n{COMMON}"
                );
            }
            Kind::Bearer => secret("bearer", "bearer"),
            Kind::Basic => {
                format!("basic = {{ username = \"flowlogd\", {} }}", secret("password", "password"))
            }
            Kind::Header => format!("header = {{ name = \"x-api-key\", {} }}", secret("value", "value")),
            Kind::ClientCredentials => format!(
                "oauth2_client_credentials = {{ token_url = \"{}/canary-tenant-{name}/token?key=canary-tenant-{name}\", \
                 client_id = \"flowlogd\", {} }}",
                self.tokens.url(),
                secret("client_secret", "password")
            ),
        };
        format!(
            "[intakes.{name}]\nprotocol = \"http\"\n\
             url = \"{url}/in/canary-path-{name}?token=canary-query-{name}\"\n\
             headers = {{ x-tenant = \"canary-header-{name}\" }}\nauth = {{ {credentials} }}\n{COMMON}"
        )
    }
}

/// One event a request, as it is.
const COMMON: &str = "compression = \"none\"\nbatch = { max_events = 1, max_bytes = \"64KB\", max_age = \"50ms\" }\n\
                      max_in_flight = 1\nrequests_per_second = 1000\n";

/// A secret as the settings give it.
fn given(form: Form, directory: &Path, key: &str, secret: &str) -> String {
    match form {
        Form::Inline => format!("{key} = {secret:?}"),
        Form::Files => {
            let path = directory.join(format!("secret-{}", fs::read_dir(directory).unwrap().count()));
            fs::write(&path, secret).unwrap();
            format!("{key}_file = {path:?}")
        }
    }
}

/// Everything that one daemon needs.
struct Installation {
    directory: TempDir,
    admin: Admin,
    peers: Vec<Peer>,
    /// Whom the redirects name.
    elsewhere: ScriptedServer,
    /// Between an intake and nowhere: it answers for itself.
    refusing_proxy: ScriptedServer,
    /// Between the source and the storage.
    source_proxy: ForwardProxy,
}

impl Installation {
    async fn new(container: &str, form: Form, log_format: &str) -> Self {
        let elsewhere = ScriptedServer::start(vec![Step::echo(200, &[])]).await;
        let mut peers = Vec::new();
        for (number, kind) in KINDS.into_iter().enumerate() {
            let known = match kind {
                Kind::Sekoia => format!("canary-key-redirected{number}"),
                Kind::Splunk => format!("canary-hec-redirected{number}"),
                Kind::Bearer | Kind::Basic | Kind::Header | Kind::ClientCredentials | Kind::ApiKey => {
                    format!("canary-path-redirected{number}")
                }
            };
            let location = format!("{}/in/{known}?token=canary-query", elsewhere.url());
            for (last, name) in [
                (Step::echo(401, &[]), format!("unauthorized{number}")),
                (Step::echo(403, &[]), format!("forbidden{number}")),
                (Step::echo(307, &[("Location", &location)]), format!("redirected{number}")),
                (Step::echo(260, &[]), format!("unexpected{number}")),
            ] {
                peers.push(Peer::start(&name, kind, last).await);
            }
        }
        let pair = STANDARD.encode("flowlogd:canary-password-source");
        let installation = Self {
            directory: tempfile::tempdir().unwrap(),
            admin: Admin::new(),
            peers,
            elsewhere,
            refusing_proxy: ScriptedServer::start(vec![Step::echo(400, &[]), Step::echo(407, &[])]).await,
            source_proxy: ForwardProxy::start(Some(&format!("Basic {pair}"))).await,
        };
        installation.configure(container, form, log_format).await;
        installation
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn configure(&self, container: &str, form: Form, log_format: &str) {
        let endpoint = azurite::shared().await.endpoint.to_string();
        let account = match form {
            Form::Inline => format!(
                "account = \"{ACCOUNT}\"\naccount_key = \"{ACCOUNT_KEY}\"\nendpoint = \"{endpoint}\"\n\
                 secondary_key = \"{SECONDARY_KEY}\""
            ),
            Form::Files => {
                let text = format!("AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};BlobEndpoint={endpoint}");
                let key = given(form, self.directory.path(), "secondary_key", SECONDARY_KEY);
                format!("{}\n{key}", given(form, self.directory.path(), "connection_string", &text))
            }
        };
        let proxy_host = self.refusing_proxy.url().replace("http://", "");
        let mut text = format!(
            "state_dir = {:?}\n[log]\nlevel = \"trace\"\nformat = \"{log_format}\"\n[admin]\n{}\n\
             [limits]\nmemory = \"64MiB\"\nrecord = \"64KiB\"\ndrain = \"1s\"\n\
             [sources.test]\n{account}\ncontainer = \"{container}\"\npoll_interval = \"200ms\"\nproxy = \"{}\"\n\
             [intakes.proxied]\nprotocol = \"http\"\nurl = \"http://127.0.0.1:9/in\"\n\
             proxy = \"http://flowlogd:canary-password-proxied@{proxy_host}\"\n{COMMON}",
            self.path("state"),
            self.admin.setting(),
            self.source_proxy.url("flowlogd:canary-password-source@"),
        );
        for peer in &self.peers {
            text.push_str(&peer.settings(form, self.directory.path()));
        }
        fs::write(self.path("flowlogd.toml"), text).unwrap();
    }

    fn flowlogd(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowlogd"));
        command.arg("--config").arg(self.path("flowlogd.toml")).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// All that a command prints; it must succeed.
    fn printed(&self, arguments: &[&str]) -> String {
        let output = self.flowlogd(arguments).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    }

    /// How many events are in the quarantine.
    fn n_quarantined(&self) -> u64 {
        let rows = self.printed(&["quarantine", "list", "--json"]);
        let parsed = rows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        parsed.map(|row| row["rows"].as_u64().unwrap()).sum()
    }

    /// Runs the daemon until every intake has met all that its server does. Returns whatever it says and leaves behind,
    /// with the name of the place.
    async fn run(&self) -> Vec<(String, String)> {
        let stdout = File::create(self.path("stdout")).unwrap();
        let daemon = Daemon::spawn(self.flowlogd(&["run"]).stdout(stdout));
        let is_met = |peer: &Peer| peer.server.requests().len() >= peer.n_steps;
        daemon.until("every answer", || self.peers.iter().all(is_met)).await;
        daemon.until("the refusing proxy", || self.refusing_proxy.requests().len() >= 2).await;
        let expected = self.peers.iter().map(|peer| peer.n_quarantined).sum::<u64>() + 1;
        daemon.until("the quarantine", || self.n_quarantined() == expected).await;
        let mut places = Vec::new();
        for page in ["/metrics", "/readyz", "/livez", "/"] {
            let (status, body) = self.admin.get(page).unwrap();
            places.push((page.to_owned(), format!("{status} {body}")));
        }
        for arguments in [
            &["quarantine", "show"][..],
            &["quarantine", "list"],
            &["checkpoints", "list"],
            &["check-config"],
        ] {
            places.push((arguments.join(" "), self.printed(arguments)));
        }
        places.push(("state while it runs".to_owned(), contents(&self.path("state"))));
        let (code, log) = daemon.stop();
        assert_eq!(code, Some(0), "{log}");
        places.push(("log".to_owned(), log));
        places.push(("stdout".to_owned(), fs::read_to_string(self.path("stdout")).unwrap()));
        places.push(("state afterwards".to_owned(), contents(&self.path("state"))));
        places
    }
}

/// All bytes below a directory, and the names of the files.
fn contents(directory: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        all.push_str(&format!("{}\n", path.display()));
        let bytes = if path.is_dir() { contents(&path).into_bytes() } else { fs::read(&path).unwrap() };
        all.push_str(&String::from_utf8_lossy(&bytes));
    }
    all
}

/// Where a secret, or a form of one, begins in a text, with what stands around it.
fn sightings(text: &str) -> Vec<String> {
    let pair = STANDARD.encode(USER_AND_PASSWORD);
    let mut found = Vec::new();
    for secret in [CANARY, &pair, ACCOUNT_KEY, SECONDARY_KEY, "SharedKey"] {
        for (at, _) in text.match_indices(secret).take(3) {
            let around = text.floor_char_boundary(at.saturating_sub(200))..text.ceil_char_boundary(at + 60);
            found.push(text[around].to_owned());
        }
    }
    found
}

/// A request as one text.
fn whole(request: &Recorded) -> String {
    let Recorded { method, target, headers, body } = request;
    format!("{method} {target} {headers:?} {}", String::from_utf8_lossy(body).replace('"', "\\\""))
}

/// *Scenario*: a daemon that logs everything, with a canary in each secret setting, meets receivers and a proxy that
/// refuse in every way and repeat the request's path, query, headers and body; once with JSON logs and secrets in their
/// places, once with text logs and secrets in files.
/// *Guarantees*: each intake gets its own secrets, in every request, and no other; whom a redirect names gets nothing;
/// no secret is in the logs, on a page, in what a command prints, in the quarantine or in any file of the state.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_stay_in_their_requests() {
    for (container, form, log_format) in
        [("canaries-inline", Form::Inline, "json"), ("canaries-files", Form::Files, "text")]
    {
        let endpoint = azurite::shared().await.endpoint.to_string();
        let target = ["--endpoint", &endpoint, "--container", container, "--create-container"];
        let shape = ["--nics", "1", "--minutes", "12", "--tuples", "1", "--start-hour", &last_hour()];
        let written = example("flow_log_writer").args(target).args(shape).output().unwrap();
        assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
        let installation = Installation::new(container, form, log_format).await;
        let places = installation.run().await;

        for peer in &installation.peers {
            for request in peer.server.requests() {
                let mut rest = whole(&request);
                for secret in peer.own_secrets() {
                    let escaped = secret.replace('"', "\\\"");
                    assert_eq!(rest.matches(&escaped).count(), 1, "{secret} in {rest}");
                    rest = rest.replace(&escaped, "");
                }
                assert_eq!(sightings(&rest), Vec::<String>::new(), "{}", peer.name);
            }
        }
        for request in installation.refusing_proxy.requests() {
            let pair = STANDARD.encode("flowlogd:canary-password-proxied");
            assert_eq!(request.header("proxy-authorization"), Some(&*format!("Basic {pair}")));
        }
        assert!(!installation.source_proxy.seen().is_empty());
        assert_eq!(installation.elsewhere.requests().len(), 0, "a redirect is followed");
        let log = &places.iter().find(|(place, _)| place == "log").unwrap().1;
        for expected in ["TRACE", "a redirect to http://127.0.0.1", "***"] {
            assert!(log.contains(expected), "{expected} is not in the log");
        }
        let found: Vec<_> = places
            .iter()
            .flat_map(|(place, text)| sightings(text).into_iter().map(move |seen| format!("{place}: {seen}")))
            .collect();
        assert!(found.is_empty(), "{}", found.join("\n\n"));
    }
}

/// *Scenario*: settings that are refused because of a secret or of what stands around one.
/// *Guarantees*: `check-config` and `run` end with 78 and name the key or the line; neither repeats what was written there.
#[test]
fn refused_settings_are_not_repeated() {
    let source = "account = \"acme\"\ncontainer = \"logs\"\n";
    let good_source = format!("{source}account_key = \"{SECONDARY_KEY}\"\n");
    let good_intake = "url = \"https://siem.example\"\n";
    let of_source = |line: &str| (format!("{source}{line}\n"), good_intake.to_owned());
    let of_intake = |line: &str| (good_source.clone(), format!("{good_intake}{line}\n"));
    let at = |url: &str| (good_source.clone(), format!("url = \"{url}\"\n"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flowlogd.toml");
    for ((of_source, of_intake), named) in [
        (of_source("account_key = \"canary-no-base64!\""), "account_key"),
        (of_source("account_key = [\"canary-list\"]"), "account_key"),
        (of_source("connection_string = \"AccountName=acme;AccountKeyy=canary-typo\""), "connection_string"),
        (of_intake("proxy = \"http://flowlogd:canary-password@proxy:99999\""), "proxy"),
        (of_intake("intake_keyy = \"canary-typo\""), "intake_keyy"),
        (of_intake("headers = { x-a = \"canary-\\nline\" }"), "headers"),
        (of_intake("headers = \"canary-text\""), "headers"),
        (of_intake("auth = { bearer = \"canary-\\nline\" }"), "bearer"),
        (of_intake("auth = \"canary-text\""), "auth"),
        (
            of_intake("auth = { bearer = \"canary-a\", header = { name = \"x\", value = \"canary-b\" } }"),
            "auth",
        ),
        (at("https://flowlogd:canary-password@siem.example"), "url"),
        (at("http://siem.example/in/canary-path?token=canary-query"), "url"),
        (at("ht!tp://siem.example/in/canary-path?token=canary-query"), "url"),
        (of_source("account_key = \"canary-unfinished"), "line 5"),
    ] {
        let state = directory.path().join("state");
        let text = format!(
            "state_dir = {state:?}\n[sources.a]\n{of_source}[intakes.b]\nprotocol = \"http\"\n{of_intake}"
        );
        fs::write(&path, text).unwrap();
        for command in ["check-config", "run"] {
            let mut flowlogd = Command::new(env!("CARGO_BIN_EXE_flowlogd"));
            let output = flowlogd.arg("--config").arg(&path).arg(command).output().unwrap();
            let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert_eq!(output.status.code(), Some(78), "{of_source}{of_intake}: {said}");
            assert!(said.contains(named), "{named} is not in {said}");
            assert_eq!(sightings(&said), Vec::<String>::new(), "{command}");
        }
    }
}
