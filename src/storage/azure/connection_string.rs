//! The connection string that the portal shows: the account, its key and its endpoint in one text.
//!
//! The text is a secret as a whole, and so may be any piece of it that stands at a wrong place. An error names parts by
//! their known name or by their number, and never repeats a letter.

use crate::model::Secret;

/// What a connection string says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionString {
    /// `AccountName`.
    pub account: String,
    /// `AccountKey`.
    pub account_key: Secret,
    /// `BlobEndpoint`, or what follows from protocol, account and suffix. Not yet checked to be a URL.
    pub endpoint: String,
}

/// A text is no connection string that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionStringError {
    /// A part without an equals sign.
    #[error("part {0} has no `=`")]
    NotAPart(usize),
    /// A name that Azure does not use.
    #[error("part {0} has a name that is not known")]
    Unknown(usize),
    /// A name without a value.
    #[error("its {0} is empty")]
    Empty(&'static str),
    /// A name that stands there twice.
    #[error("its {0} is given twice")]
    Repeated(&'static str),
    /// A name that has to be there.
    #[error("its {0} is missing")]
    Missing(&'static str),
    /// Neither http nor https.
    #[error("its DefaultEndpointsProtocol is neither https nor http")]
    Protocol,
    /// A token instead of a key.
    #[error("it holds a SharedAccessSignature, which is not built yet")]
    SharedAccessSignature,
    /// The emulator's short form.
    #[error("it says UseDevelopmentStorage, which names no endpoint")]
    DevelopmentStorage,
}

impl ConnectionStringError {
    /// The way out.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::SharedAccessSignature => "copy the connection string of one of the account's access keys",
            Self::DevelopmentStorage => {
                "write the emulator out: AccountName=devstoreaccount1;AccountKey=...;\
                 BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1"
            }
            Self::NotAPart(_)
            | Self::Unknown(_)
            | Self::Empty(_)
            | Self::Repeated(_)
            | Self::Missing(_)
            | Self::Protocol => {
                "copy it whole from the account's access keys: \
                 DefaultEndpointsProtocol=https;AccountName=...;AccountKey=...;EndpointSuffix=core.windows.net"
            }
        }
    }
}

const PROTOCOL: &str = "DefaultEndpointsProtocol";
const ACCOUNT_NAME: &str = "AccountName";
const ACCOUNT_KEY: &str = "AccountKey";
const SUFFIX: &str = "EndpointSuffix";
const BLOB_ENDPOINT: &str = "BlobEndpoint";
const SIGNATURE: &str = "SharedAccessSignature";
const DEVELOPMENT_STORAGE: &str = "UseDevelopmentStorage";

/// Every name that Azure's tools write. Those of other services and of the read-only copy say nothing here.
const NAMES: [&str; 14] = [
    PROTOCOL,
    ACCOUNT_NAME,
    ACCOUNT_KEY,
    SUFFIX,
    BLOB_ENDPOINT,
    SIGNATURE,
    DEVELOPMENT_STORAGE,
    "BlobSecondaryEndpoint",
    "QueueEndpoint",
    "QueueSecondaryEndpoint",
    "TableEndpoint",
    "TableSecondaryEndpoint",
    "FileEndpoint",
    "FileSecondaryEndpoint",
];

impl ConnectionString {
    /// Reads `NAME=VALUE` parts between semicolons. Names have no case; values are taken letter for letter.
    ///
    /// # Errors
    /// [`ConnectionStringError`], without a letter of the text.
    pub fn parse(text: &str) -> Result<Self, ConnectionStringError> {
        let parts = Parts::parse(text)?;
        if parts.get(DEVELOPMENT_STORAGE).is_some() {
            return Err(ConnectionStringError::DevelopmentStorage);
        }
        if parts.get(SIGNATURE).is_some() {
            return Err(ConnectionStringError::SharedAccessSignature);
        }
        let required = |name| parts.get(name).ok_or(ConnectionStringError::Missing(name));
        let (account, account_key) = (required(ACCOUNT_NAME)?, required(ACCOUNT_KEY)?);
        let protocol = match parts.get(PROTOCOL) {
            None => "https",
            Some(word) if word.eq_ignore_ascii_case("https") => "https",
            Some(word) if word.eq_ignore_ascii_case("http") => "http",
            Some(_) => return Err(ConnectionStringError::Protocol),
        };
        let endpoint = match parts.get(BLOB_ENDPOINT) {
            Some(endpoint) => endpoint.to_owned(),
            None => format!("{protocol}://{account}.blob.{}", required(SUFFIX)?),
        };
        Ok(Self { account: account.to_owned(), account_key: Secret::new(account_key.to_owned()), endpoint })
    }
}

/// Names as Azure writes them, with their values.
struct Parts<'a>(Vec<(&'static str, &'a str)>);

impl<'a> Parts<'a> {
    fn parse(text: &'a str) -> Result<Self, ConnectionStringError> {
        let mut parts = Self(Vec::new());
        for (index, part) in text.split(';').enumerate() {
            let part = part.trim();
            if part.is_empty() {
                continue;
            }
            let number = index.saturating_add(1);
            let (written, value) = part.split_once('=').ok_or(ConnectionStringError::NotAPart(number))?;
            let known = NAMES.into_iter().find(|name| name.eq_ignore_ascii_case(written.trim_end()));
            let name = known.ok_or(ConnectionStringError::Unknown(number))?;
            if value.is_empty() {
                return Err(ConnectionStringError::Empty(name));
            }
            if parts.get(name).is_some() {
                return Err(ConnectionStringError::Repeated(name));
            }
            parts.0.push((name, value));
        }
        Ok(parts)
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: strings as the portal, the command line and people write them, for every cloud. Guarantees: account, key
    /// and endpoint come out; a key keeps its equals signs.
    #[test]
    fn usable_strings() {
        let check = |text: &str, endpoint: &str| {
            let parsed = ConnectionString::parse(text).unwrap();
            assert_eq!(parsed.account, "acme", "{text}");
            assert_eq!(parsed.account_key.reveal(), "Y2FuYXJ5PQ==", "{text}");
            assert_eq!(parsed.endpoint, endpoint, "{text}");
        };
        let portal =
            "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey=Y2FuYXJ5PQ==;EndpointSuffix=";
        for suffix in ["core.windows.net", "core.chinacloudapi.cn", "core.usgovcloudapi.net"] {
            check(&format!("{portal}{suffix}"), &format!("https://acme.blob.{suffix}"));
        }
        check(
            "AccountKey=Y2FuYXJ5PQ==;AccountName=acme;BlobEndpoint=https://acme.privatelink.example/;\
             QueueEndpoint=https://q/;EndpointSuffix=ignored",
            "https://acme.privatelink.example/",
        );
        check(
            " accountname=acme; ACCOUNTKEY=Y2FuYXJ5PQ== ;endpointsuffix=s;defaultendpointsprotocol=HTTP;;\n",
            "http://acme.blob.s",
        );
    }

    /// Scenario: strings that are torn, foreign, incomplete or of another sort. Guarantees: what is wrong is named by name
    /// or number, with a way out, and nothing of the text is repeated.
    #[test]
    fn unusable_strings() {
        use ConnectionStringError as Error;
        let check = |text: &str, expected: Error| {
            let error = ConnectionString::parse(text).unwrap_err();
            assert_eq!(error, expected, "{text}");
            let shown = format!("{error} {error:?} {}", error.remedy());
            assert!(!shown.contains("canary") && !shown.contains("Y2Fu"), "{shown}");
            assert!(!error.remedy().is_empty());
        };
        check("", Error::Missing("AccountName"));
        check("Y2FuYXJ5", Error::NotAPart(1));
        check("Y2FuYXJ5PQ==", Error::Unknown(1));
        check("AccountName=canary;AccountKey", Error::NotAPart(2));
        check("AccountName=canary;;Acount=canary", Error::Unknown(3));
        check("AccountName=;AccountKey=Y2Fu", Error::Empty("AccountName"));
        check("AccountName=canary;accountname=canary", Error::Repeated("AccountName"));
        check("AccountName=canary;EndpointSuffix=canary", Error::Missing("AccountKey"));
        check("AccountName=canary;AccountKey=Y2Fu", Error::Missing("EndpointSuffix"));
        check(
            "DefaultEndpointsProtocol=canary;AccountName=canary;AccountKey=Y2Fu;EndpointSuffix=s",
            Error::Protocol,
        );
        check("BlobEndpoint=https://canary/;SharedAccessSignature=sig=canary", Error::SharedAccessSignature);
        check("UseDevelopmentStorage=true", Error::DevelopmentStorage);
    }
}
