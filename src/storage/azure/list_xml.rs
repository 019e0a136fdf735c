//! The XML of listings (Microsoft's "List Blobs" and "List Containers").
//!
//! Only what the port shows is looked at. Elements and values that are not known never make a page fail; a blob whose
//! name, tag, length or date cannot be read does, because a page without it would pass for a whole one.

use std::{mem, str::Utf8Error};

use chrono::{DateTime, Utc};
use quick_xml::{
    Reader,
    escape::resolve_xml_entity,
    events::{BytesRef, BytesStart, Event},
};

use crate::model::{BlobName, BlobVersion, ETag};

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// The blobs of a container.
    Blobs,
    /// The containers of an account.
    Containers,
}

/// What one page holds. A listing of blobs has no containers, and the other way round.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Blobs, in the order of the page.
    pub blobs: Vec<BlobVersion>,
    /// Folded prefixes, in the order of the page.
    pub prefixes: Vec<String>,
    /// Names of containers, in the order of the page.
    pub containers: Vec<String>,
    /// Marker of the next page.
    pub next: Option<String>,
}

/// A page that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// Not UTF-8.
    #[error("the listing is not UTF-8")]
    Utf8(#[source] Utf8Error),
    /// Not XML.
    #[error("the listing is not well-formed XML, near byte {position}")]
    Xml {
        /// Where in the page.
        position: u64,
        /// What is wrong.
        #[source]
        source: quick_xml::Error,
    },
    /// XML that ends too early, or something else.
    #[error("the answer is not a whole listing")]
    NotAListing,
    /// The other kind of listing: taken for the one that was asked for, it would be an empty one.
    #[error("the answer lists something else than was asked for: check `endpoint`")]
    AnotherListing,
    /// An entry lacks something, or has something unreadable.
    #[error("the listing's entry `{name}` has no readable {field}")]
    Entry {
        /// The blob, as far as it is known.
        name: String,
        /// The element.
        field: &'static str,
    },
}

/// Reads a page; a byte order mark before it is skipped.
pub fn parse(body: &[u8], asked_for: Listed) -> Result<Page, PageError> {
    let text = str::from_utf8(body).map_err(PageError::Utf8)?;
    let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    reader.config_mut().expand_empty_elements = true;
    let mut parser = Parser::default();
    loop {
        let event = reader
            .read_event()
            .map_err(|source| PageError::Xml { position: reader.error_position(), source })?;
        match event {
            Event::Start(start) => parser.open(&start),
            Event::End(_) => {
                if parser.listed().is_some_and(|listed| listed != asked_for) {
                    return Err(PageError::AnotherListing);
                }
                parser.close()?;
            }
            Event::Text(part) => parser.text.push_str(&part.xml10_content()),
            Event::CData(part) => parser.text.push_str(&part.xml10_content()),
            Event::GeneralRef(reference) => parser.add_reference(&reference),
            Event::Eof => break,
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    if parser.is_complete && parser.path.is_empty() { Ok(parser.page) } else { Err(PageError::NotAListing) }
}

/// The elements that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Results,
    Blobs,
    Blob,
    BlobPrefix,
    Containers,
    Container,
    Properties,
    Name,
    Etag,
    ContentLength,
    LastModified,
    ResourceType,
    NextMarker,
    Unknown,
}

impl Element {
    fn named(name: &str) -> Self {
        match name {
            "EnumerationResults" => Self::Results,
            "Blobs" => Self::Blobs,
            "Blob" => Self::Blob,
            "BlobPrefix" => Self::BlobPrefix,
            "Containers" => Self::Containers,
            "Container" => Self::Container,
            "Properties" => Self::Properties,
            "Name" => Self::Name,
            "Etag" => Self::Etag,
            "Content-Length" => Self::ContentLength,
            "Last-Modified" => Self::LastModified,
            "ResourceType" => Self::ResourceType,
            "NextMarker" => Self::NextMarker,
            _ => Self::Unknown,
        }
    }
}

#[derive(Debug, Default)]
struct Parser {
    page: Page,
    /// The root was seen to its end.
    is_complete: bool,
    /// The open elements, outermost first.
    path: Vec<Element>,
    /// What was read since the last start or end tag.
    text: String,
    /// The open element's text is percent-encoded.
    is_encoded: bool,
    /// The open blob.
    entry: Entry,
}

#[derive(Debug, Default)]
struct Entry {
    name: Option<String>,
    etag: Option<String>,
    length: Option<String>,
    last_modified: Option<String>,
    is_directory: bool,
}

impl Parser {
    fn open(&mut self, start: &BytesStart<'_>) {
        self.path.push(Element::named(start.local_name().as_ref()));
        self.text.clear();
        // Names with characters that XML cannot carry come percent-encoded.
        self.is_encoded = start
            .attributes()
            .with_checks(false)
            .flatten()
            .any(|attribute| attribute.key.as_ref() == "Encoded" && attribute.value.as_ref() == "true");
    }

    fn add_reference(&mut self, reference: &BytesRef<'_>) {
        match reference.resolve_char_ref() {
            Ok(Some(character)) => self.text.push(character),
            // A reference that is not known can only stand in a field that is not known: keep it as it is.
            Ok(None) | Err(_) => match resolve_xml_entity(reference) {
                Some(replacement) => self.text.push_str(replacement),
                None => {
                    self.text.push('&');
                    self.text.push_str(reference);
                    self.text.push(';');
                }
            },
        }
    }

    /// What the open element is a list of.
    fn listed(&self) -> Option<Listed> {
        match self.path.as_slice() {
            [Element::Results, Element::Blobs] => Some(Listed::Blobs),
            [Element::Results, Element::Containers] => Some(Listed::Containers),
            _ => None,
        }
    }

    fn close(&mut self) -> Result<(), PageError> {
        use Element as E;
        let text = mem::take(&mut self.text);
        match self.path.as_slice() {
            [E::Results] => self.is_complete = true,
            [E::Results, E::NextMarker] => self.page.next = Some(text).filter(|marker| !marker.is_empty()),
            [E::Results, E::Blobs, E::BlobPrefix, E::Name] => self.page.prefixes.push(self.decode(text)?),
            [E::Results, E::Containers, E::Container, E::Name] => {
                self.page.containers.push(self.decode(text)?)
            }
            [E::Results, E::Blobs, E::Blob, E::Name] => self.entry.name = Some(self.decode(text)?),
            [E::Results, E::Blobs, E::Blob, E::Properties, E::Etag] => self.entry.etag = Some(text),
            [E::Results, E::Blobs, E::Blob, E::Properties, E::ContentLength] => {
                self.entry.length = Some(text)
            }
            [E::Results, E::Blobs, E::Blob, E::Properties, E::LastModified] => {
                self.entry.last_modified = Some(text);
            }
            [E::Results, E::Blobs, E::Blob, E::Properties, E::ResourceType] => {
                self.entry.is_directory = text == "directory";
            }
            [E::Results, E::Blobs, E::Blob] => {
                let entry = mem::take(&mut self.entry);
                // An account with a hierarchical namespace lists its directories among the blobs.
                if !entry.is_directory {
                    self.page.blobs.push(entry.into_version()?);
                }
            }
            _ => {}
        }
        self.path.pop();
        Ok(())
    }

    fn decode(&self, name: String) -> Result<String, PageError> {
        if !self.is_encoded {
            return Ok(name);
        }
        percent_decode(&name).ok_or(PageError::Entry { name, field: "name" })
    }
}

impl Entry {
    fn into_version(self) -> Result<BlobVersion, PageError> {
        let Some(name) = self.name else {
            return Err(PageError::Entry { name: String::new(), field: "name" });
        };
        let missing = |field: &'static str| PageError::Entry { name: name.clone(), field };
        let etag = self.etag.filter(|etag| !etag.is_empty()).ok_or_else(|| missing("Etag"))?;
        let length = self
            .length
            .and_then(|length| length.trim().parse().ok())
            .ok_or_else(|| missing("Content-Length"))?;
        let last_modified =
            self.last_modified.as_deref().and_then(http_date).ok_or_else(|| missing("Last-Modified"))?;
        Ok(BlobVersion { name: BlobName::new(name), length, etag: ETag::new(&etag), last_modified })
    }
}

/// A date as headers and listings carry it: `Tue, 24 Nov 2026 05:00:31 GMT`.
pub fn http_date(text: &str) -> Option<DateTime<Utc>> {
    httpdate::parse_http_date(text.trim()).ok().map(DateTime::from)
}

fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit =
                |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let high = digit(rest.next())?;
            let low = digit(rest.next())?;
            decoded.push(high << 4 | low);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
#[path = "list_xml_tests.rs"]
mod tests;
