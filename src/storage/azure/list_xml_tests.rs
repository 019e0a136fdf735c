//! Listing pages in the style of the real service, and broken ones.

use super::*;

fn blobs_of(body: &[u8]) -> Result<Page, PageError> {
    parse(body, Listed::Blobs)
}

const MARCH: &str = "Mon, 02 Mar 2026 05:01:02 GMT";

fn properties(extra: &str) -> String {
    format!(
        "<Properties><Last-Modified>{MARCH}</Last-Modified><Etag>0x8D1</Etag><Content-Length>12</Content-Length>{extra}\
         </Properties>"
    )
}

fn page_of(entries: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"https://a/\" \
         ContainerName=\"logs\"><Prefix>x</Prefix><Blobs>{entries}</Blobs><NextMarker /></EnumerationResults>"
    )
}

fn version(name: &str) -> BlobVersion {
    let last_modified = DateTime::from_timestamp(1_772_427_662, 0).unwrap();
    BlobVersion { name: BlobName::new(name), length: 12, etag: ETag::new("0x8D1"), last_modified }
}

/// Scenario: one blob in each of the shapes that accounts of all kinds give. Guarantees: what is not known is passed
/// over, and the four values are the same.
#[test]
fn unknown_parts_never_fail_a_page() {
    let check = |entry: &str, name: &str| {
        let page = blobs_of(page_of(entry).as_bytes()).unwrap();
        assert_eq!(page.blobs, [version(name)], "{entry}");
        assert_eq!((page.next, page.prefixes), (None, Vec::new()), "{entry}");
    };
    let named = |name: &str, extra: &str| format!("<Blob><Name>{name}</Name>{}</Blob>", properties(extra));
    check(&named("a", ""), "a");
    check(
        &named("a", "<Content-Type>application/octet-stream</Content-Type><BlobType>BlockBlob</BlobType>"),
        "a",
    );
    check(&named("a", "<Content-Type /><Content-MD5/><Content-Encoding></Content-Encoding>"), "a");
    check(&named("a", "<AccessTier>Premium</AccessTier><AccessTierInferred>true</AccessTierInferred>"), "a");
    check(&named("a", "<AccessTier>Smart</AccessTier><SmartAccessTier>Cool</SmartAccessTier>"), "a");
    check(
        &named(
            "a",
            "<BlobType>HologramBlob</BlobType><LeaseStatus>odd</LeaseStatus><LeaseState>?</LeaseState>",
        ),
        "a",
    );
    check(&named("a", "<Future><Etag>inner</Etag><Name>inner</Name></Future>"), "a");
    check(&named("a", "<ResourceType>file</ResourceType>"), "a");
    check(&named("a", "<Expiry-Time>&unknown;</Expiry-Time>"), "a");
    check(
        &format!(
            "<Blob><Name>a</Name><Snapshot/>{}<Metadata><k>v</k></Metadata><OrMetadata /></Blob>",
            properties("")
        ),
        "a",
    );
    check(&format!("<Blob>{}<Name>a</Name></Blob>", properties("")), "a");
    check(&format!("\n  <Blob>\n<Name>a</Name>\n{}</Blob>\n<Banner>new</Banner>", properties("")), "a");
    check(&format!("<!-- c --><Blob><Name>a</Name>{}</Blob><?p i?>", properties("")), "a");
}

/// Scenario: names with every kind of escape. Guarantees: they come out letter for letter, blanks at the ends too.
#[test]
fn names_are_decoded() {
    let check = |written: &str, name: &str| {
        let page =
            blobs_of(page_of(&format!("<Blob>{written}{}</Blob>", properties(""))).as_bytes()).unwrap();
        assert_eq!(page.blobs, [version(name)], "{written}");
    };
    check("<Name>a&amp;b &lt;c&gt; &quot;&apos;</Name>", "a&b <c> \"'");
    check("<Name>&#233;&#x1F600;</Name>", "\u{e9}\u{1f600}");
    check("<Name> a  b </Name>", " a  b ");
    check("<Name>100%25 + = %41</Name>", "100%25 + = %41");
    check("<Name><![CDATA[a&b]]></Name>", "a&b");
    check("<Name Encoded=\"true\">a%EF%BF%BEb%20c</Name>", "a\u{fffe}b c");
    check("<Name Encoded=\"false\">a%20b</Name>", "a%20b");
}

/// Scenario: a page with a byte order mark, blobs and folded prefixes in turn, a quoted tag and a next marker.
/// Guarantees: each list keeps the page's order, the tag loses its quotes, the marker is kept letter for letter.
#[test]
fn blobs_and_prefixes_in_turn() {
    let blob = |name: &str| format!("<Blob><Name>{name}</Name>{}</Blob>", properties(""));
    let prefix = |name: &str| format!("<BlobPrefix><Name>{name}</Name></BlobPrefix>");
    let text = page_of(&[prefix("a/"), blob("b"), prefix("c/"), blob("d"), prefix("e &amp; f/")].concat())
        .replace("<Etag>0x8D1</Etag>", "<Etag>\"0x8D1\"</Etag>")
        .replace("<NextMarker />", "<NextMarker>2!96!MDAw/+= --</NextMarker>");
    let page = blobs_of(format!("\u{feff}{text}").as_bytes()).unwrap();
    assert_eq!(page.blobs, [version("b"), version("d")]);
    assert_eq!(page.prefixes, ["a/", "c/", "e & f/"]);
    assert_eq!(page.next.as_deref(), Some("2!96!MDAw/+= --"));
}

/// Scenario: an account with a hierarchical namespace lists a directory, with and without a tag. Guarantees: it is
/// left out and does not disturb the blob after it.
#[test]
fn directories_are_left_out() {
    let directory =
        "<Blob><Name>d</Name><Properties><ResourceType>directory</ResourceType></Properties></Blob>";
    let blob = format!("<Blob><Name>d/a</Name>{}</Blob>", properties("<ResourceType>file</ResourceType>"));
    assert_eq!(blobs_of(page_of(&[directory, &blob].concat()).as_bytes()).unwrap().blobs, [version("d/a")]);
}

/// Scenario: a listing of containers. Guarantees: all names, in order, with the marker.
#[test]
fn containers() {
    let text = "<?xml version=\"1.0\"?><EnumerationResults ServiceEndpoint=\"https://a/\"><Containers>\
                <Container><Name>b1</Name><Properties><Etag>\"x\"</Etag></Properties></Container>\
                <Container><Name>b2</Name></Container></Containers><NextMarker>/a/b3</NextMarker></EnumerationResults>";
    let page = parse(text.as_bytes(), Listed::Containers).unwrap();
    assert_eq!(page.containers, ["b1", "b2"]);
    assert_eq!((page.blobs.len(), page.next.as_deref()), (0, Some("/a/b3")));
}

/// Scenario: pages that are torn, foreign, or lack what a blob needs. Guarantees: each is an error that says what is
/// wrong; none passes for an empty or shorter page.
#[test]
fn broken_pages_are_errors() {
    let check = |text: &[u8], expected: &str| {
        let error = blobs_of(text).unwrap_err();
        assert!(error.to_string().contains(expected), "{:?}: {error}", String::from_utf8_lossy(text));
    };
    let without =
        |part: &str| page_of(&format!("<Blob><Name>a</Name>{}</Blob>", properties("").replace(part, "")));
    let whole = page_of(&format!("<Blob><Name>a</Name>{}</Blob>", properties("")));
    check(b"", "not a whole listing");
    check(b"Service Unavailable", "not a whole listing");
    check(b"{\"records\":[]}", "not a whole listing");
    check(b"<html><body>proxy</body></html>", "not a whole listing");
    check(b"\xff\xfe", "not UTF-8");
    check(b"<EnumerationResults><Blobs></EnumerationResults>", "not well-formed");
    check(b"<EnumerationResults/><a>", "not a whole listing");
    check(whole.trim_end_matches("</EnumerationResults>").as_bytes(), "not a whole listing");
    check(b"<EnumerationResults><Containers/></EnumerationResults>", "lists something else");
    check(b"<EnumerationResults><Blobs/><Containers/></EnumerationResults>", "lists something else");
    let asked_for_containers = parse(whole.as_bytes(), Listed::Containers).unwrap_err();
    assert!(matches!(asked_for_containers, PageError::AnotherListing), "{asked_for_containers:?}");
    check(without("<Etag>0x8D1</Etag>").as_bytes(), "`a` has no readable Etag");
    check(without("<Content-Length>12</Content-Length>").as_bytes(), "`a` has no readable Content-Length");
    check(
        without(&format!("<Last-Modified>{MARCH}</Last-Modified>")).as_bytes(),
        "`a` has no readable Last-Modified",
    );
    check(whole.replace(">12<", ">-1<").as_bytes(), "`a` has no readable Content-Length");
    check(whole.replace(MARCH, "yesterday").as_bytes(), "`a` has no readable Last-Modified");
    check(whole.replace("<Name>a</Name>", "").as_bytes(), "no readable name");
    check(whole.replace("<Name>", "<Name Encoded=\"true\">%G").as_bytes(), "no readable name");
    for end in 0..whole.len() {
        assert!(
            blobs_of(&whole.as_bytes()[..end]).is_err(),
            "a page cut at byte {end} is taken for a whole one"
        );
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(20_000))]
    /// Scenario: pages with bytes replaced, pieces taken out, and words of XML put in. Guarantees: blobs or an error that
    /// can be shown, and no panic.
    #[test]
    fn changed_pages_never_panic(
        places in proptest::collection::vec((0_usize..1_000, 0_usize..40, 0_usize..12), 1..6),
        byte in proptest::prelude::any::<u8>(),
    ) {
        let words = ["<", ">", "&", "&#x0;", "]]>", "<![CDATA[", "</Name>", "<Blob>", "<!--", "\u{feff}", "<Name Encoded=\"true\">%", "99999999999999999999"];
        let entry = format!("<Blob><Name>a/b&amp;c</Name>{}</Blob><BlobPrefix><Name>p/</Name></BlobPrefix>", properties(""));
        let mut page = page_of(&entry).into_bytes();
        for (at, length, word) in places {
            let at = at % (page.len() + 1);
            let end = (at + length).min(page.len());
            match word % 3 {
                0 => drop(page.splice(at..end, [byte])),
                _ => drop(page.splice(at..at, words[word].bytes())),
            }
        }
        match blobs_of(&page) {
            Ok(page) => proptest::prop_assert!(page.blobs.len() <= 3),
            Err(error) => proptest::prop_assert!(!error.to_string().is_empty()),
        }
    }
}
