//! osmem-server, which speaks OpenSearch's interface and keeps everything in memory.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use flowlogd::http;
use serde_json::Value;
use tempfile::TempDir;
use url::Url;

use super::programs::{self, ReservedPort, SystemServer};

/// Most documents that a search answers.
const MOST_DOCUMENTS: usize = 10_000;

/// Most bytes of an answer.
const MOST_BYTES: usize = 100_000_000;

/// A running server. It ends with the value.
#[derive(Debug)]
pub(crate) struct Osmem {
    _server: SystemServer,
    port: ReservedPort,
    _directory: TempDir,
}

impl Osmem {
    /// Starts an empty one.
    pub(crate) async fn start() -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let port = ReservedPort::new();
        let program = programs::of_package("osmem_server/bin/osmem-server");
        let address = port.address.to_string();
        let command = [program.to_str().unwrap(), "-addr", &address, "-no-stdin-watch"];
        let server = SystemServer::start(&command, &port, &directory.path().join("log")).await;
        Self { _server: server, port, _directory: directory }
    }

    /// `http://127.0.0.1:PORT/`.
    pub(crate) fn url(&self) -> Url {
        Url::parse(&format!("http://{}/", self.port.address)).unwrap()
    }

    /// What it answers with 200 to a request below its address; `body` is JSON or empty.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let minute = Duration::from_secs(60);
        let config = http::Config {
            extra_roots_pem: None,
            identity: None,
            proxy: None,
            connect_timeout: minute,
            read_timeout: minute,
            total_timeout: None,
        };
        let request = ::http::Request::builder()
            .method(method)
            .uri(self.url().join(path).unwrap().as_str())
            .header("Content-Type", "application/json")
            .body(Bytes::copy_from_slice(body.as_bytes()))
            .unwrap();
        let response = http::Client::new(&config).unwrap().send(request).await.unwrap();
        let status = response.status.as_u16();
        let text = response.bytes(MOST_BYTES).await.unwrap();
        assert_eq!(status, 200, "{method} {path}: {}", String::from_utf8_lossy(&text));
        serde_json::from_slice(&text).unwrap()
    }

    /// The documents of an index by their ids. None of them was ever written a second time.
    pub(crate) async fn documents(&self, index: &str) -> BTreeMap<String, Value> {
        let path = format!("{index}/_search?size={MOST_DOCUMENTS}&version=true");
        let found = self.ask("GET", &path, "").await;
        let hits = found["hits"]["hits"].as_array().unwrap();
        let documents: BTreeMap<_, _> = hits
            .iter()
            .map(|hit| {
                assert_eq!(hit["_version"], 1, "{hit}");
                (hit["_id"].as_str().unwrap().to_owned(), hit["_source"].clone())
            })
            .collect();
        let count = self.ask("GET", &format!("{index}/_count"), "").await["count"].as_u64().unwrap();
        assert!(hits.len() < MOST_DOCUMENTS, "a search does not answer more");
        assert_eq!((documents.len(), u64::try_from(hits.len()).unwrap()), (hits.len(), count));
        documents
    }
}
