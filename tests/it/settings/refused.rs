//! Settings that are refused, and what the user reads then.

use expect_test::expect;

use super::{GENERIC, GOOD, check_all};

/// *Scenario*: values of the wrong kind. *Guarantees*: strict kinds, with key, origin and remedy.
#[test]
fn kinds() {
    check_all(
        GOOD,
        &[
            (
                "max_in_flight = 1.9",
                &[],
                expect![[r#"
                settings: intakes.out.max_in_flight (file DIR/flowlogd.toml): cannot use 1.9; give a whole number
            "#]],
            ),
            (
                "max_in_flight = true",
                &[],
                expect![[r#"
                settings: intakes.out.max_in_flight (file DIR/flowlogd.toml): cannot use true; give a whole number
            "#]],
            ),
            (
                "max_in_flight = \"5\"",
                &[],
                expect![[r#"
                settings: intakes.out.max_in_flight (file DIR/flowlogd.toml): cannot use "5"; give a whole number
            "#]],
            ),
            (
                "max_in_flight = -1",
                &[],
                expect![[r#"
                settings: intakes.out.max_in_flight (file DIR/flowlogd.toml): cannot use -1; give a whole number
            "#]],
            ),
            (
                "",
                &[("FLOWLOGD__INTAKES__OUT__MAX_IN_FLIGHT", "1.9")],
                expect![[r#"
                settings: intakes.out.max_in_flight (variable FLOWLOGD__INTAKES__OUT__MAX_IN_FLIGHT): cannot use "1.9"; give a whole number
            "#]],
            ),
            (
                "",
                &[("FLOWLOGD__INTAKES__OUT__MAX_IN_FLIGHT", "")],
                expect![[r#"
                settings: intakes.out.max_in_flight (variable FLOWLOGD__INTAKES__OUT__MAX_IN_FLIGHT): is empty; give a whole number
            "#]],
            ),
            (
                "",
                &[
                    ("FLOWLOGD__INTAKES__OUT__BATCH__MAX_AGE", "3651d"),
                    ("FLOWLOGD__LIMITS__ONCE_DEADLINE", "100000000000000d"),
                ],
                expect![[r#"
                    settings: 2 problems
                      intakes.out.batch.max_age (variable FLOWLOGD__INTAKES__OUT__BATCH__MAX_AGE): cannot use "3651d"; give a duration of at most "3650d"
                      limits.once_deadline (variable FLOWLOGD__LIMITS__ONCE_DEADLINE): cannot use "100000000000000d"; give a duration of at most "3650d"
                "#]],
            ),
            (
                "allow_http = \"true\"",
                &[],
                expect![[r#"
                settings: intakes.out.allow_http (file DIR/flowlogd.toml): cannot use "true"; give true or false
            "#]],
            ),
            (
                "batch = { max_age = 5 }",
                &[],
                expect![[r#"
                settings: intakes.out.batch.max_age (file DIR/flowlogd.toml): cannot use 5; give a duration with its unit, such as "30s", "2h" or "7d"
            "#]],
            ),
            (
                "batch = { max_bytes = \"4\" }",
                &[],
                expect![[r#"
                settings: intakes.out.batch.max_bytes (file DIR/flowlogd.toml): cannot use "4"; give a size with its unit, such as "64MiB" or "4MB"
            "#]],
            ),
            (
                "batch = 4",
                &[],
                expect![[r#"
                    settings: intakes.out.batch (file DIR/flowlogd.toml): must be a table; write [intakes.out.batch]
                "#]],
            ),
            (
                "compression = \"zip\"",
                &[],
                expect![[r#"
                settings: intakes.out.compression (file DIR/flowlogd.toml): cannot use "zip"; give one of gzip, none
            "#]],
            ),
            (
                "intake_key_file = 7",
                &[],
                expect![[r#"
                settings: intakes.out.intake_key_file (file DIR/flowlogd.toml): cannot use 7; give text in quotes, not empty
            "#]],
            ),
            (
                "[sources.prod.start]",
                &[],
                expect![[r#"
                settings: sources.prod.start (file DIR/flowlogd.toml): is a table, not a value; give "earliest", "now", a duration back such as "7d", or a time such as "2026-01-31T00:00:00Z"
            "#]],
            ),
            (
                "",
                &[("FLOWLOGD__SOURCES__PROD__START", "yesterday")],
                expect![[r#"
                settings: sources.prod.start (variable FLOWLOGD__SOURCES__PROD__START): cannot use "yesterday"; give "earliest", "now", a duration back such as "7d", or a time such as "2026-01-31T00:00:00Z"
            "#]],
            ),
            (
                "![sources.prod]\naccount_key = 12300",
                &[],
                expect![[r#"
                settings: sources.prod.account_key (file DIR/flowlogd.toml): cannot use what is there; give text in quotes, not empty
            "#]],
            ),
            (
                "!sources = 5\n[[intakes]]\nprotocol = \"http\"",
                &[],
                expect![[r#"
                    settings: 2 problems
                      intakes (file DIR/flowlogd.toml): must be a table; write [intakes.NAME]
                      sources (file DIR/flowlogd.toml): must be a table; write [sources.NAME]
                "#]],
            ),
            (
                "!account_key = \"Y2FuYXJ5LTAwMDEyMzAw\naccount = 5",
                &[],
                expect![[r#"
                settings: file DIR/flowlogd.toml: line 1 is not TOML: invalid basic string, expected `"`; correct the line; text stands in quotes
            "#]],
            ),
        ],
    );
}

/// *Scenario*: keys and variables that nobody knows. *Guarantees*: refused with the nearest known name; all at once.
#[test]
fn unknown_keys() {
    check_all(
        GOOD,
        &[
            (
                "colour = 5\nmax_bytes = 7\n[log]\nlevl = \"info\"",
                &[],
                expect![[r#"
                    settings: 3 problems
                      intakes.out.colour (file DIR/flowlogd.toml): unknown key; known here: protocol, region, url, intake_key, intake_key_file, event_format, enrich, provenance, compression, batch, max_in_flight, requests_per_second, ca_file, client_cert_file, client_key_file, proxy, allow_http, preset, framing, encoding, headers, index, auth, success_codes, token, token_file, source, sourcetype, host, acknowledge, acknowledge_timeout
                      intakes.out.max_bytes (file DIR/flowlogd.toml): unknown key; did you mean intakes.out.batch.max_bytes?
                      log.levl (file DIR/flowlogd.toml): unknown key; did you mean log.level?
                "#]],
            ),
            (
                "",
                &[
                    ("FLOWLOGD__SOURCES__PROD__ACOUNT", "x"),
                    ("FLOWLOGD__LOG_LEVEL", "x"),
                    ("FLOWLOGD__INTAKES__OUT__BATCH", "x"),
                    ("FLOWLOGD__SOURCES__PROD__START", "now"),
                    ("flowlogd__sources__prod__start", "now"),
                    ("FLOWLOGD__", "x"),
                ],
                expect![[r#"
                    settings: 5 problems
                      variable FLOWLOGD__: unknown key; known here: state_dir, sources, intakes, limits, admin, log
                      intakes.out.batch (variable FLOWLOGD__INTAKES__OUT__BATCH): is a table, which no variable can set; set FLOWLOGD__SECTION__KEY, one variable a key
                      log_level (variable FLOWLOGD__LOG_LEVEL): unknown key; did you mean FLOWLOGD__LOG__LEVEL?
                      sources.prod.acount (variable FLOWLOGD__SOURCES__PROD__ACOUNT): unknown key; did you mean FLOWLOGD__SOURCES__PROD__ACCOUNT?
                      sources.prod.start (variable flowlogd__sources__prod__start): variable FLOWLOGD__SOURCES__PROD__START sets it too; keep one of the two
                "#]],
            ),
            (
                "[sources.Prod]\naccount = \"x\"\n[intakes.1st]\nprotocol = \"http\"",
                &[],
                expect![[r#"
                settings: 2 problems
                  intakes.1st (file DIR/flowlogd.toml): "1st" cannot be a table's name; use lower-case letters, digits and underscores, a letter first
                  sources.Prod (file DIR/flowlogd.toml): "Prod" cannot be a table's name; use lower-case letters, digits and underscores, a letter first
            "#]],
            ),
        ],
    );
}

/// *Scenario*: globs that are none, and sources that read the same container: twice the same name, a name and either of
/// the vendor's spellings, two directories without names. *Guarantees*: refused; other containers and accounts are not.
#[test]
fn blobs_and_containers() {
    check_all(
        GOOD,
        &[
            (
                "![sources.prod]\ndirectory = \".\"\ninclude = [\"*\", \"*[a\"]\nexclude = [\"{\"]\n[intakes.out]\nprotocol = \"stdout\"",
                &[],
                expect![[r#"
                    settings: 2 problems
                      sources.prod.exclude (file DIR/flowlogd.toml): "{" is not a glob: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?); write a pattern on the blob's whole name such as "*/NETWORKWATCHER_WESTEUROPE_*"
                      sources.prod.include (file DIR/flowlogd.toml): "*[a" is not a glob: unclosed character class; missing ']'; write a pattern on the blob's whole name such as "*/NETWORKWATCHER_WESTEUROPE_*"
                "#]],
            ),
            (
                "[sources.twin]\naccount = \"acme\"\naccount_key = \"a2V5\"\ncontainer = \"insight-logs-flowlogflowevent\"\n\
                 [sources.other]\naccount = \"acme\"\naccount_key = \"a2V5\"\ncontainer = \"insights-logs-networksecuritygroupflowevent\"\n\
                 [sources.here]\ndirectory = \"a\"\n[sources.there]\ndirectory = \"b\"\n\
                 [sources.third]\ndirectory = \"c\"\naccount = \"c\"",
                &[],
                expect![[r#"
                    settings: 2 problems
                      sources.there (file DIR/flowlogd.toml): reads the same container as sources.here; give each directory the account and the container that it is a copy of
                      sources.twin (file DIR/flowlogd.toml): reads the same container as sources.prod; keep one of the two, or give each a container of its own
                "#]],
            ),
        ],
    );
}

/// *Scenario*: keys that have no use here. *Guarantees*: refused with the way out.
#[test]
fn unusable_keys() {
    check_all(
        GOOD,
        &[
            (
                "client_cert_file = \"c.pem\"\nclient_key_file = \"c.key\"\nframing = \"ndjson\"",
                &[],
                expect![[r#"
                    settings: intakes.out.framing (file DIR/flowlogd.toml): protocol "sekoia" does not know this key; remove it; it belongs to protocol http
                "#]],
            ),
            (
                "[limits]\nmemory = \"64MiB\"\nquarantine = \"1GiB\"",
                &[],
                expect![[r#"
                    DIR/flowlogd.toml
                    state_dir = "/var/lib/flowlogd"

                    [sources.prod]
                    account = "acme"
                    account_key = "***"
                    endpoint = "https://acme.blob.core.windows.net"
                    poll_interval = "60s"
                    start = "earliest"
                    seal_after = "2h"
                    revisit = "48h"
                    include = ["*"]
                    exclude = []

                    [intakes.out]
                    protocol = "sekoia"
                    url = "https://intake.sekoia.io"
                    intake_key = "***"
                    event_format = "flow"
                    enrich = true
                    provenance = false
                    compression = "gzip"
                    max_in_flight = 4
                    requests_per_second = 5
                    allow_http = false

                    [intakes.out.batch]
                    max_bytes = "4MB"
                    max_events = 10000
                    max_age = "5s"

                    [limits]
                    memory = "64MiB"
                    parallel_blobs = 8
                    record = "16MiB"
                    quarantine = "1GiB"
                    drain = "20s"
                    once_deadline = "5m"

                    [admin]
                    listen = "127.0.0.1:9464"

                    [log]
                    level = "info"
                    format = "auto"
                "#]],
            ),
            (
                "",
                &[("FLOWLOGD__SOURCES__PROD__DIRECTORY", ".")],
                expect![[r#"
                    settings: sources.prod.account_key (file DIR/flowlogd.toml): has no use beside directory; remove it, or remove directory to read the account
                "#]],
            ),
            (
                "!",
                &[],
                expect![[r#"
                settings: 2 problems
                  intakes (file DIR/flowlogd.toml): no intake is set; add [intakes.NAME]
                  sources (file DIR/flowlogd.toml): no source is set; add [sources.NAME]
            "#]],
            ),
            (
                "![sources.prod]\n[intakes.out]\nurl = \"https://a.b\"",
                &[],
                expect![[r#"
                settings: intakes.out.protocol (file DIR/flowlogd.toml): is missing; set it to one of sekoia, http, stdout, elasticsearch, splunk_hec, otlp
            "#]],
            ),
        ],
    );
}

/// *Scenario*: values that are well written and wrong. *Guarantees*: refused with the way out.
#[test]
fn ranges() {
    check_all(
        GOOD,
        &[
            (
                "max_in_flight = 0\nrequests_per_second = 0\nevent_format = \"text\"\n\
                 batch = { max_bytes = \"11MB\", max_events = 0, max_age = \"0s\" }\n\
                 [limits]\nparallel_blobs = 65\nrecord = \"16777217 B\"\nquarantine = \"0B\"\ndrain = \"0s\"\n[log]\nlevel = \"debgu\"",
                &[],
                expect![[r#"
                    settings: 11 problems
                      intakes.out.batch.max_age (file DIR/flowlogd.toml): is zero; give a longer time
                      intakes.out.batch.max_bytes (file DIR/flowlogd.toml): 11000000 bytes is out of range; give at most 10485760 bytes, and more than 0
                      intakes.out.batch.max_events (file DIR/flowlogd.toml): 0 is out of range; give a number from 1 to 1000000
                      intakes.out.event_format (file DIR/flowlogd.toml): "text" is for protocol "stdout" only; give flow or ecs
                      intakes.out.max_in_flight (file DIR/flowlogd.toml): 0 is out of range; give a number from 1 to 64
                      intakes.out.requests_per_second (file DIR/flowlogd.toml): 0 is out of range; give a number from 1 to 1000000
                      limits.drain (file DIR/flowlogd.toml): is zero; give a longer time
                      limits.parallel_blobs (file DIR/flowlogd.toml): 65 is out of range; give a number from 1 to 64
                      limits.quarantine (file DIR/flowlogd.toml): is zero; give a size such as "256MiB"
                      limits.record (file DIR/flowlogd.toml): limits.memory (33554432) is less than twice the largest record; give at most half of limits.memory
                      log.level (file DIR/flowlogd.toml): cannot use "debgu": `debgu` is no level; a target is written TARGET=LEVEL; write a level (error, warn, info, debug, trace) or filters such as "info,flowlogd::intake=debug"
                "#]],
            ),
            (
                "",
                &[("FLOWLOGD__ADMIN__LISTEN", "localhost"), ("FLOWLOGD__SOURCES__PROD__RETENTION", "0s")],
                expect![[r#"
                    settings: 2 problems
                      admin.listen (variable FLOWLOGD__ADMIN__LISTEN): "localhost" is not an address with a port; write "127.0.0.1:9464", "0.0.0.0:9464" or "[::]:9464" for all of the host's addresses, or "" for no admin server
                      sources.prod.retention (variable FLOWLOGD__SOURCES__PROD__RETENTION): is zero; give a longer time
                "#]],
            ),
            (
                "event_format = \"ecs\"\nprovenance = true\nurl = \"http://10.0.0.1\"",
                &[],
                expect![[r#"
                settings: 2 problems
                  intakes.out.provenance (file DIR/flowlogd.toml): is for event_format "flow" only; remove it; ecs always has it
                  intakes.out.url (file DIR/flowlogd.toml): is plain http to another host; write https://, or set allow_http = true if nobody can read or change what passes
            "#]],
            ),
            (
                "enrich = false\nurl = \"https://intake.sekoia.io?intake_key=Y2FuYXJ5LTAwMDEyMzAw\"",
                &[],
                expect![[r#"
                    settings: 2 problems
                      intakes.out.enrich (file DIR/flowlogd.toml): is for event_format "ecs" only; remove it
                      intakes.out.url (file DIR/flowlogd.toml): ends with a query or fragment; take away what starts with ? or #
                "#]],
            ),
            (
                "url = \"https://u:Y2FuYXJ5LTAwMDEyMzAw@host\"",
                &[
                    ("FLOWLOGD__SOURCES__PROD__POLL_INTERVAL", "99ms"),
                    ("FLOWLOGD__SOURCES__PROD__ENDPOINT", "http://acme.blob.core.windows.net"),
                    ("FLOWLOGD__SOURCES__PROD__CONTAINER", "Insights"),
                    ("FLOWLOGD__SOURCES__PROD__CA_FILE", "Cargo.toml"),
                    ("FLOWLOGD__SOURCES__PROD__PROXY", "https://u:Y2FuYXJ5LTAwMDEyMzAw@proxy:3128"),
                    ("FLOWLOGD__INTAKES__OUT__PROXY", "proxy:3128"),
                    ("FLOWLOGD__SOURCES__PROD__ACCOUNT_KEY", "not base64!"),
                    ("FLOWLOGD__INTAKES__OUT__CA_FILE", "/nowhere/ca.pem"),
                ],
                expect![[r#"
                    settings: 9 problems
                      intakes.out.ca_file (variable FLOWLOGD__INTAKES__OUT__CA_FILE): /nowhere/ca.pem cannot be read: No such file or directory (os error 2); name a PEM file that flowlogd may read
                      intakes.out.proxy (variable FLOWLOGD__INTAKES__OUT__PROXY): is not an absolute URL; write http://HOST:PORT, with USER:PASSWORD@ before the host where the proxy asks for it
                      intakes.out.url (file DIR/flowlogd.toml): holds a user name or password; take them out; credentials have keys of their own
                      sources.prod.account_key (variable FLOWLOGD__SOURCES__PROD__ACCOUNT_KEY): is not base64; copy key1 of the storage account's access keys, whole and without quotes or spaces
                      sources.prod.ca_file (variable FLOWLOGD__SOURCES__PROD__CA_FILE): Cargo.toml holds no PEM certificate, or a damaged one; name a file with -----BEGIN CERTIFICATE----- blocks
                      sources.prod.container (variable FLOWLOGD__SOURCES__PROD__CONTAINER): "Insights" is not the name of a container; give its 3 to 63 lower-case letters, digits and hyphens
                      sources.prod.endpoint (variable FLOWLOGD__SOURCES__PROD__ENDPOINT): is plain http to another host; write https://; plain http is for an emulator on 127.0.0.1
                      sources.prod.poll_interval (variable FLOWLOGD__SOURCES__PROD__POLL_INTERVAL): is too short; give at least "100ms"; "60s" suits the vendor
                      sources.prod.proxy (variable FLOWLOGD__SOURCES__PROD__PROXY): is not an http:// proxy; other kinds are not built yet; write http://HOST:PORT, with USER:PASSWORD@ before the host where the proxy asks for it
                "#]],
            ),
            (
                "",
                &[("FLOWLOGD__SOURCES__PROD__ACCOUNT", "Acme Corp")],
                expect![[r#"
                    settings: sources.prod.account (variable FLOWLOGD__SOURCES__PROD__ACCOUNT): is not the name of a storage account; give its 3 to 24 lower-case letters and digits
                "#]],
            ),
        ],
    );
    check_all(
        GENERIC,
        &[
            (
                "success_codes = [200, 302]\nauth = { bearer = \"a\\nb\" }\n\
                 headers = { Host = \"x\", \"a b\" = \"x\", x-a = \"\\u0007\" }",
                &[],
                expect![[r#"
                    settings: 5 problems
                      intakes.out.auth.bearer (file DIR/flowlogd.toml): cannot stand in a header; use visible ASCII letters, without line ends
                      intakes.out.headers.Host (file DIR/flowlogd.toml): flowlogd sets the header host itself; remove it
                      intakes.out.headers.a b (file DIR/flowlogd.toml): "a b" is not the name of a header; use letters, digits and hyphens
                      intakes.out.headers.x-a (file DIR/flowlogd.toml): cannot stand in a header; use visible ASCII letters, without line ends
                      intakes.out.success_codes (file DIR/flowlogd.toml): must be statuses from 200 to 299; any other status says that the events were not taken
                "#]],
            ),
            (
                "auth = { bearer = \"a\", basic = { username = \"u\" } }",
                &[],
                expect![[r#"
                settings: intakes.out.auth (file DIR/flowlogd.toml): names more than one of bearer, api_key, basic, header and oauth2_client_credentials; keep one of them
            "#]],
            ),
            (
                "auth = { basic = { username = \"u\" } }",
                &[],
                expect![[r#"
                settings: intakes.out.auth.basic.password (file DIR/flowlogd.toml): is missing; set it, or FLOWLOGD__INTAKES__OUT__AUTH__BASIC__PASSWORD
            "#]],
            ),
            (
                "auth = { oauth2_client_credentials = { token_url = \"http://login.example/token\", client_secret = \"s\" } }",
                &[],
                expect![[r#"
                    settings: 2 problems
                      intakes.out.auth.oauth2_client_credentials.client_id (file DIR/flowlogd.toml): is missing; set it, or FLOWLOGD__INTAKES__OUT__AUTH__OAUTH2_CLIENT_CREDENTIALS__CLIENT_ID
                      intakes.out.auth.oauth2_client_credentials.token_url (file DIR/flowlogd.toml): is plain http to another host; write https://, or set allow_http = true if nobody can read or change what passes
                "#]],
            ),
            (
                "client_cert_file = \"c.pem\"\nclient_key_file = \"Cargo.toml\"",
                &[],
                expect![[r#"
                    settings: intakes.out.client_cert_file (file DIR/flowlogd.toml): c.pem cannot be read: No such file or directory (os error 2); name a PEM file that flowlogd may read
                "#]],
            ),
            (
                "client_cert_file = \"Cargo.toml\"\nclient_key_file = \"Cargo.toml\"",
                &[],
                expect![[r#"
                    settings: intakes.out.client_cert_file (file DIR/flowlogd.toml): Cargo.toml: the client certificate holds no `-----BEGIN CERTIFICATE-----` block, or a damaged one; name a PEM certificate chain and its PEM key, unencrypted
                "#]],
            ),
            (
                "client_key_file = \"Cargo.toml\"",
                &[],
                expect![[r#"
                    settings: intakes.out.client_cert_file (file DIR/flowlogd.toml): is missing beside client_key_file; name both, or neither
                "#]],
            ),
            (
                "auth = { header = { name = \"Content-Length\", value = \"u\" } }",
                &[],
                expect![[r#"
                settings: intakes.out.auth.header.name (file DIR/flowlogd.toml): flowlogd sets the header content-length itself; remove it
            "#]],
            ),
            (
                "",
                &[("FLOWLOGD__INTAKES__OUT__URL", "siem.example")],
                expect![[r#"
                settings: intakes.out.url (variable FLOWLOGD__INTAKES__OUT__URL): is not an absolute URL; write https://HOST, with a path where there is one
            "#]],
            ),
        ],
    );
}
