//! How an account is named: one by one or by a connection string, with one key or two, in any cloud.

use expect_test::expect;
use flowlogd::{
    settings::{Settings, Storage},
    storage::azure::{AccountKey, Config, KeyForm},
};

use super::{CANARY, GOOD, check, check_all, load_text};

/// Names no account; a test does.
const REST: &str = "[intakes.out]\nprotocol = \"stdout\"\n[sources.prod]\n";

/// As the portal shows it.
const PORTAL: &str = "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey=Y2FuYXJ5LTAwMDEyMzAw;\
                      EndpointSuffix=core.windows.net";

fn azure(settings: &Settings) -> &Config {
    match &settings.sources.first().unwrap().storage {
        Storage::Azure(config) => config,
        Storage::Directory(_) => panic!("not a directory"),
    }
}

fn file_of(key: &AccountKey) -> Option<(String, KeyForm)> {
    key.file.as_ref().map(|file| (file.path.display().to_string(), file.form))
}

/// *Scenario*: a connection string stands in the settings, in a variable, in a file and among the credentials.
/// *Guarantees*: account, key and endpoint come out of it; a file is remembered with its form; the text is never shown.
#[test]
fn connection_strings() {
    let directory = tempfile::tempdir().unwrap();
    let path_of = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path_of("secret"), format!("{PORTAL}\n")).unwrap();
    let credentials = tempfile::tempdir().unwrap();
    let credential = credentials.path().join("prod.connection_string");
    std::fs::write(&credential, PORTAL).unwrap();
    let in_file = |path: &str| Some((path.to_owned(), KeyForm::ConnectionString));

    for (toml, variable, file) in [
        (format!("connection_string = \"{PORTAL}\""), None, None),
        (String::new(), Some(("FLOWLOGD__SOURCES__PROD__CONNECTION_STRING", PORTAL.to_owned())), None),
        (format!("connection_string_file = \"{}\"", path_of("secret")), None, in_file(&path_of("secret"))),
        (
            String::new(),
            Some(("CREDENTIALS_DIRECTORY", credentials.path().display().to_string())),
            in_file(&credential.display().to_string()),
        ),
    ] {
        let variables: Vec<(&str, &str)> =
            variable.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let loaded = load_text(&format!("{REST}{toml}"), &variables).1.unwrap();
        let config = azure(&loaded.settings);
        assert_eq!(config.account, "acme");
        assert_eq!(config.endpoint.as_str(), "https://acme.blob.core.windows.net/");
        assert_eq!(config.account_key.key.reveal(), CANARY);
        assert_eq!(file_of(&config.account_key), file);
        assert!(!format!("{loaded:?}").contains(CANARY));
        let printed = &loaded.effective;
        assert!(!printed.contains("AccountKey") && !printed.contains("endpoint"), "{printed}");
        assert!(printed.contains("connection_string = \"***\"") || printed.contains("_file = "), "{printed}");
    }
}

/// *Scenario*: key and second key as text, as files and among the credentials. *Guarantees*: each has its own place, and
/// a file is remembered for reading it again.
#[test]
fn keys_and_their_files() {
    let directory = tempfile::tempdir().unwrap();
    let path_of = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path_of("prod.account_key"), "Zmlyc3Q=\n").unwrap();
    std::fs::write(path_of("prod.secondary_key"), "c2Vjb25k\n").unwrap();
    let toml = format!("{REST}account = \"acme\"\n");
    let check = |toml: &str, variables: &[(&str, &str)], files: bool| {
        let settings = load_text(toml, variables).1.unwrap().settings;
        let config = azure(&settings);
        let second = config.secondary_key.as_ref().unwrap();
        assert_eq!((config.account_key.key.reveal(), second.key.reveal()), ("Zmlyc3Q=", "c2Vjb25k"));
        let file_at = |name: &str| files.then(|| (path_of(name), KeyForm::Key));
        assert_eq!(file_of(&config.account_key), file_at("prod.account_key"));
        assert_eq!(file_of(second), file_at("prod.secondary_key"));
    };
    check(&format!("{toml}account_key = \"Zmlyc3Q=\"\nsecondary_key = \"c2Vjb25k\""), &[], false);
    let files = [
        ("FLOWLOGD__SOURCES__PROD__ACCOUNT_KEY_FILE", path_of("prod.account_key")),
        ("FLOWLOGD__SOURCES__PROD__SECONDARY_KEY_FILE", path_of("prod.secondary_key")),
    ];
    check(&toml, &files.each_ref().map(|(name, path)| (*name, path.as_str())), true);
    check(&toml, &[("CREDENTIALS_DIRECTORY", &path_of(""))], true);
}

/// *Scenario*: accounts of the public and the sovereign clouds, behind private endpoints, custom domains and in path style;
/// by an endpoint and by a connection string. *Guarantees*: the address is taken as written, without a trailing slash.
#[test]
fn endpoints() {
    for (endpoint, expected) in [
        ("https://acme.blob.core.chinacloudapi.cn", "https://acme.blob.core.chinacloudapi.cn/"),
        ("https://acme.blob.core.usgovcloudapi.net/", "https://acme.blob.core.usgovcloudapi.net/"),
        ("https://acme.privatelink.blob.core.windows.net", "https://acme.privatelink.blob.core.windows.net/"),
        ("https://acme.z6.blob.storage.azure.net", "https://acme.z6.blob.storage.azure.net/"),
        ("https://10.1.2.3:8443", "https://10.1.2.3:8443/"),
        ("https://logs.example.com/blobs/", "https://logs.example.com/blobs"),
        ("http://127.0.0.1:10000/acme", "http://127.0.0.1:10000/acme"),
        ("http://[::1]:10000/acme", "http://[::1]:10000/acme"),
        ("http://localhost:10000/acme", "http://localhost:10000/acme"),
    ] {
        let by_key =
            format!("{REST}account = \"acme\"\naccount_key = \"{CANARY}\"\nendpoint = \"{endpoint}\"");
        let by_string = format!(
            "{REST}connection_string = \"AccountName=acme;AccountKey={CANARY};BlobEndpoint={endpoint}\""
        );
        for toml in [by_key, by_string] {
            let settings = load_text(&toml, &[]).1.unwrap().settings;
            assert_eq!(azure(&settings).endpoint.as_str(), expected);
        }
    }
    for suffix in ["core.windows.net", "core.chinacloudapi.cn", "core.usgovcloudapi.net"] {
        let text = PORTAL.replace("core.windows.net", suffix);
        let settings = load_text(&format!("{REST}connection_string = \"{text}\""), &[]).1.unwrap().settings;
        assert_eq!(azure(&settings).endpoint.as_str(), format!("https://acme.blob.{suffix}/"));
    }
}

/// *Scenario*: connection strings that cannot be used, or stand beside what they say. *Guarantees*: refused with the way
/// out; no part of the text is shown.
#[test]
fn unusable_connection_strings() {
    let case = |text: &str| format!("connection_string = \"{text}\"");
    let torn = case("DefaultEndpointsProtocol=https;AccountName=acme;Y2FuYXJ5LTAwMDEyMzAw==");
    let signature = case(
        "BlobEndpoint=https://acme.blob.core.windows.net;SharedAccessSignature=sig=Y2FuYXJ5LTAwMDEyMzAw",
    );
    let emulator = case("UseDevelopmentStorage=true");
    let plain = case(&PORTAL.replace("https", "http"));
    let name = case("AccountName=Acme Corp;AccountKey=Y2FuYXJ5;BlobEndpoint=https://acme.example");
    let query = case(
        "AccountName=acme;AccountKey=Y2FuYXJ5 LTAwMDEyMzAw;BlobEndpoint=https://h/?sig=Y2FuYXJ5LTAwMDEyMzAw",
    );
    check_all(
        REST,
        &[
            (
                &torn,
                &[],
                expect![[r#"
                settings: sources.prod.connection_string (file DIR/flowlogd.toml): part 3 has a name that is not known; copy it whole from the account's access keys: DefaultEndpointsProtocol=https;AccountName=...;AccountKey=...;EndpointSuffix=core.windows.net
            "#]],
            ),
            (
                &signature,
                &[],
                expect![[r#"
                settings: sources.prod.connection_string (file DIR/flowlogd.toml): it holds a SharedAccessSignature, which is not built yet; copy the connection string of one of the account's access keys
            "#]],
            ),
            (
                &emulator,
                &[],
                expect![[r#"
                settings: sources.prod.connection_string (file DIR/flowlogd.toml): it says UseDevelopmentStorage, which names no endpoint; write the emulator out: AccountName=devstoreaccount1;AccountKey=...;BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1
            "#]],
            ),
            (
                &plain,
                &[],
                expect![[r#"
                    settings: sources.prod.connection_string.BlobEndpoint (file DIR/flowlogd.toml): is plain http to another host; write https://; plain http is for an emulator on 127.0.0.1
                "#]],
            ),
            (
                &name,
                &[],
                expect![[r#"
                settings: sources.prod.connection_string.AccountName (file DIR/flowlogd.toml): is not the name of a storage account; give its 3 to 24 lower-case letters and digits
            "#]],
            ),
            (
                &query,
                &[],
                expect![[r#"
                settings: 2 problems
                  sources.prod.connection_string.AccountKey (file DIR/flowlogd.toml): is not base64; copy key1 of the storage account's access keys, whole and without quotes or spaces
                  sources.prod.connection_string.BlobEndpoint (file DIR/flowlogd.toml): ends with a query or fragment; take away what starts with ? or #
            "#]],
            ),
            (
                "connection_string_file = \"/nowhere/secret\"",
                &[],
                expect![[r#"
                settings: sources.prod.connection_string_file (file DIR/flowlogd.toml): /nowhere/secret cannot be read: No such file or directory (os error 2); let the file hold the secret alone, readable for the user that flowlogd runs as
            "#]],
            ),
        ],
    );
    let variables = [
        ("FLOWLOGD__SOURCES__PROD__CONNECTION_STRING", PORTAL),
        ("FLOWLOGD__SOURCES__PROD__ENDPOINT", "https://elsewhere.example"),
    ];
    check(
        GOOD,
        &variables,
        &expect![[r#"
        settings: 3 problems
          sources.prod.account (file DIR/flowlogd.toml): has no use beside connection_string, which says it too; keep one of the two
          sources.prod.account_key (file DIR/flowlogd.toml): has no use beside connection_string, which says it too; keep one of the two
          sources.prod.endpoint (variable FLOWLOGD__SOURCES__PROD__ENDPOINT): has no use beside connection_string, which says it too; keep one of the two
    "#]],
    );
    check(
        GOOD,
        &variables[..1],
        &expect![[r#"
        settings: 2 problems
          sources.prod.account (file DIR/flowlogd.toml): has no use beside connection_string, which says it too; keep one of the two
          sources.prod.account_key (file DIR/flowlogd.toml): has no use beside connection_string, which says it too; keep one of the two
    "#]],
    );
    check(
        &format!("{REST}account = \"acme\"\nsecondary_key = \"canary\""),
        &[],
        &expect![[r#"
        settings: 2 problems
          sources.prod.account_key (file DIR/flowlogd.toml): is missing; give account_key_file, FLOWLOGD__SOURCES__PROD__ACCOUNT_KEY or the credential prod.account_key
          sources.prod.secondary_key (file DIR/flowlogd.toml): is not base64; copy key2 of the storage account's access keys, whole and without quotes or spaces
    "#]],
    );
    check(
        GOOD,
        &[("FLOWLOGD__SOURCES__PROD__SECONDARY_KEY", "not base64!")],
        &expect![[r#"
        settings: sources.prod.secondary_key (variable FLOWLOGD__SOURCES__PROD__SECONDARY_KEY): is not base64; copy key2 of the storage account's access keys, whole and without quotes or spaces
    "#]],
    );
}
