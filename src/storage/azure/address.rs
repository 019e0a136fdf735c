//! URLs of containers and blobs.
//!
//! Every byte that is not unreserved (RFC 3986, section 2.3) is percent-encoded here, so that the URL that is signed
//! is the URL that is sent, whatever a name holds.

use std::fmt::Write;

use url::Url;

use crate::storage::{LIST_PAGE_ENTRIES, ListQuery};

/// Builds URLs below an account's blob endpoint.
#[derive(Debug, Clone)]
pub(super) struct Address {
    /// The endpoint without a trailing slash.
    base: String,
    page_entries: u32,
}

impl Address {
    /// `None` where nothing can stand below the endpoint (`mailto:x`). Its query and fragment are left out.
    pub(super) fn new(endpoint: &Url) -> Option<Self> {
        if endpoint.cannot_be_a_base() {
            return None;
        }
        let mut endpoint = endpoint.clone();
        endpoint.set_query(None);
        endpoint.set_fragment(None);
        let base = endpoint.as_str().trim_end_matches('/').to_owned();
        Some(Self { base, page_entries: LIST_PAGE_ENTRIES })
    }

    /// Asks for smaller listing pages from now on.
    pub(super) fn with_page_entries(mut self, page_entries: u32) -> Self {
        self.page_entries = page_entries.clamp(1, LIST_PAGE_ENTRIES);
        self
    }

    /// A page of the account's containers.
    pub(super) fn containers(&self, prefix: &str, marker: Option<&str>) -> Option<Url> {
        let mut url = self.below("/?comp=list")?;
        self.add_listing(&mut url, prefix, None, marker);
        Some(url)
    }

    /// A page of a container's blobs.
    pub(super) fn blobs(&self, container: &str, query: &ListQuery<'_>) -> Option<Url> {
        let container = encode(container, "");
        let mut url = self.below(&format!("/{container}?restype=container&comp=list"))?;
        self.add_listing(&mut url, query.prefix, query.delimiter, query.marker);
        Some(url)
    }

    /// A blob. `None` where the name cannot be written as a path, as `..` cannot.
    pub(super) fn blob(&self, container: &str, name: &str) -> Option<Url> {
        self.below(&format!("/{}/{}", encode(container, ""), encode(name, "/")))
    }

    /// A URL is parsed into a normal form; one that differs from what was written names something else.
    fn below(&self, path_and_query: &str) -> Option<Url> {
        let text = format!("{}{path_and_query}", self.base);
        Url::parse(&text).ok().filter(|url| url.as_str() == text)
    }

    fn add_listing(&self, url: &mut Url, prefix: &str, delimiter: Option<char>, marker: Option<&str>) {
        let mut query = url.query().unwrap_or_default().to_owned();
        let mut add = |key: &str, value: &str| {
            query.push('&');
            query.push_str(key);
            query.push('=');
            query.push_str(&encode(value, ""));
        };
        if !prefix.is_empty() {
            add("prefix", prefix);
        }
        if let Some(delimiter) = delimiter {
            add("delimiter", delimiter.encode_utf8(&mut [0; 4]));
        }
        if let Some(marker) = marker {
            add("marker", marker);
        }
        add("maxresults", &self.page_entries.to_string());
        url.set_query(Some(&query));
    }
}

/// Percent-encodes all but unreserved characters and those in `keep`.
fn encode(text: &str, keep: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let kept = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.as_bytes().contains(&byte);
        if kept {
            encoded.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            write!(encoded, "%{byte:02X}").unwrap_or_default();
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(endpoint: &str) -> Address {
        Address::new(&Url::parse(endpoint).unwrap()).unwrap()
    }

    /// Scenario: blobs with ordinary, odd and impossible names, on every style of endpoint. Guarantees: every byte
    /// reaches the server; a name that a URL would change is refused instead of naming another blob.
    #[test]
    fn blob_urls() {
        let check = |endpoint: &str, name: &str, expected: Option<&str>| {
            let url = address(endpoint).blob("logs", name);
            assert_eq!(url.as_ref().map(Url::as_str), expected, "{endpoint} {name}");
        };
        check(
            "https://a.blob.core.windows.net",
            "x=/y.json",
            Some("https://a.blob.core.windows.net/logs/x%3D/y.json"),
        );
        check("http://127.0.0.1:10000/dev", "a", Some("http://127.0.0.1:10000/dev/logs/a"));
        check("http://127.0.0.1:10000/dev/", "a", Some("http://127.0.0.1:10000/dev/logs/a"));
        for cloud in ["core.chinacloudapi.cn", "core.usgovcloudapi.net"] {
            let endpoint = format!("https://acme.blob.{cloud}");
            check(&endpoint, "a", Some(&format!("{endpoint}/logs/a")));
        }
        check(
            "https://acme.privatelink.blob.core.windows.net/",
            "a",
            Some("https://acme.privatelink.blob.core.windows.net/logs/a"),
        );
        check("https://logs.example.com:8443/blobs", "a", Some("https://logs.example.com:8443/blobs/logs/a"));
        check("http://[::1]:10000/acme/", "a", Some("http://[::1]:10000/acme/logs/a"));
        check("https://h?sig=1#f", "a", Some("https://h/logs/a"));
        check("https://h", "a b+c%20&d?e#f", Some("https://h/logs/a%20b%2Bc%2520%26d%3Fe%23f"));
        check("https://h", "\u{e9}//f", Some("https://h/logs/%C3%A9//f"));
        check("https://h", "a/../b", None);
        check("https://h", "a/./b", None);
        assert!(Address::new(&Url::parse("mailto:x").unwrap()).is_none());
    }

    /// Scenario: listings with every part of a query. Guarantees: values are encoded, absent parts are left out.
    #[test]
    fn listing_urls() {
        let query = ListQuery { prefix: "a b=/", delimiter: Some('/'), marker: Some("2!96!+") };
        assert_eq!(
            address("https://h").with_page_entries(2).blobs("logs", &query).unwrap().as_str(),
            "https://h/logs?restype=container&comp=list&prefix=a%20b%3D%2F&delimiter=%2F&marker=2%2196%21%2B&maxresults=2"
        );
        assert_eq!(
            address("http://h/dev").containers("", None).unwrap().as_str(),
            "http://h/dev/?comp=list&maxresults=5000"
        );
        assert_eq!(
            address("https://acme.blob.core.usgovcloudapi.net").containers("", None).unwrap().as_str(),
            "https://acme.blob.core.usgovcloudapi.net/?comp=list&maxresults=5000"
        );
    }
}
