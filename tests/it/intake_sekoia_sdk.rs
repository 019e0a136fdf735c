//! What is sent to Sekoia.io, against the official collectors' own code.

use std::{fs, path::Path};

use flowlogd::{
    event::EventFormat,
    intake::{
        Verdict,
        http_intake::{Compression, HttpIntake},
    },
};
use serde_json::{Value, json};
use url::Url;

use crate::support::{
    convert::convert_whole,
    delivery::{KEY, attempt, config, encode, sekoia},
    scripted_server::{ScriptedServer, Step},
    sekoia_sdk,
};

/// The blobs of the golden samples of both kinds, and of the sample container.
fn blobs() -> Vec<Vec<u8>> {
    let mut folders: Vec<_> = ["tests/data/seed", "tests/data/nsg", "examples/sample-container"]
        .map(|path| Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .into();
    let mut blobs =
        vec![include_bytes!("../data/odd.json").to_vec(), include_bytes!("../data/nsg/odd.json").to_vec()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let (inner, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
        folders.extend(inner);
        let documents = files.into_iter().filter(|path| path.ends_with("PT1H.json"));
        blobs.extend(documents.map(|path| fs::read(path).unwrap()));
    }
    blobs
}

/// The flow events of all of them, and of the first with its rules renamed to what JSON may escape.
fn events() -> Vec<String> {
    let mut blobs = blobs();
    let renamed = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/seed/PT1H.json"));
    let rule = "r\u{e8}gle \\\"\u{2028}\\u0001\\t\u{7f}\u{1f512}</\\\\";
    blobs.push(renamed.unwrap().replace("DefaultRule_AllowInternetOutBound", rule).into_bytes());
    let converted = blobs.iter().map(|blob| convert_whole(EventFormat::Flow { provenance: false }, blob));
    converted.flat_map(|converted| converted.events).map(|(_, body)| body).collect()
}

/// *Scenario*: several hundred flow events, with characters among them that JSON escapes or that ASCII lacks, and one
/// event alone, go to a server once from us and once from the official SDK.
/// *Guarantees*: both ask for the same path with the same type of content, and the bodies are the same JSON values: the
/// same key, the same texts in the same order. The bytes differ, by white space and `\u` escapes alone.
#[tokio::test]
async fn the_body_is_the_sdks() {
    let all = events();
    assert!(all.len() > 300, "only {} events", all.len());
    assert!(all.iter().any(|event| !event.is_ascii()));
    for texts in [all.as_slice(), &all[..1]] {
        let ids: Vec<String> = (0..texts.len()).map(|number| number.to_string()).collect();
        let answer = json!({ "event_ids": ids }).to_string();
        let server = ScriptedServer::start(vec![Step::answer(200, &[], answer)]).await;
        let mut settings = config(&Url::parse(&server.url()).unwrap(), None, sekoia());
        settings.compression = Compression::None;
        let intake = HttpIntake::new(settings).unwrap();
        assert_eq!(attempt(&intake, &encode(&intake, texts)).await, Verdict::Delivered);
        let sent = server.requests();
        let [ours] = sent.as_slice() else { panic!("{} requests", sent.len()) };

        let theirs = sekoia_sdk::requests(KEY, texts);
        let [theirs] = theirs.as_slice() else { panic!("{} requests", theirs.len()) };
        assert_eq!(ours.target, theirs.path);
        assert_eq!(ours.header("content-type"), Some(theirs.content_type.as_str()));
        let [our_body, their_body]: [Value; 2] =
            [&ours.body, theirs.body.as_bytes()].map(|body| serde_json::from_slice(body).unwrap());
        assert_eq!(our_body, their_body);
        assert_eq!(our_body, json!({ "intake_key": KEY, "jsons": texts }));
    }
}
