//! What a status means. The one place that judges the storage server's statuses and error codes (Microsoft's
//! "Status and error codes" of Azure Storage, "Blob service error codes").

use std::time::Duration;

use crate::storage::StorageErrorKind;

/// What was asked for: the same status can mean different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// The names of containers.
    ListContainers,
    /// The names of a container's blobs.
    ListBlobs,
    /// A blob's properties.
    Head,
    /// A part of a blob.
    Read,
}

/// What a status other than 2xx means for the caller. `code` is `x-ms-error-code`, which every answer of the real
/// service carries and which a proxy's lacks.
pub(super) fn classify(
    operation: Operation,
    status: u16,
    code: Option<&str>,
    retry_after: Option<Duration>,
) -> StorageErrorKind {
    match (status, code) {
        (_, Some("ContainerNotFound" | "ContainerBeingDeleted")) => StorageErrorKind::ContainerNotFound,
        (409, Some("BlobArchived" | "BlobBeingRehydrated")) => StorageErrorKind::Other(
            "the blob is in the archive tier: move it to another tier to have it read".to_owned(),
        ),
        (401 | 403, _) | (400, Some("InvalidAuthenticationInfo")) => StorageErrorKind::Denied {
            code: code.map_or_else(|| format!("status {status}"), |code| format!("status {status}, {code}")),
            advice: advice(code).to_owned(),
        },
        (404, _) => match operation {
            Operation::ListContainers => StorageErrorKind::Other(
                "the storage server knows no such account or path (404): check `account` and `endpoint`"
                    .to_owned(),
            ),
            Operation::ListBlobs => StorageErrorKind::ContainerNotFound,
            Operation::Head | Operation::Read => StorageErrorKind::BlobNotFound,
        },
        (409 | 412, _) => StorageErrorKind::Changed,
        (416, _) => StorageErrorKind::PastEnd,
        (429 | 503, _) => StorageErrorKind::Throttled { retry_after },
        (408 | 500..=599, _) => StorageErrorKind::Transient,
        (300..=399, _) => StorageErrorKind::Other(format!(
            "redirect refused (status {status}): check `endpoint`; redirects are never followed"
        )),
        (_, Some(code)) => StorageErrorKind::Other(format!(
            "the storage server refuses the request (status {status}, {code})"
        )),
        (_, None) => {
            StorageErrorKind::Other(format!("the storage server refuses the request (status {status})"))
        }
    }
}

/// The way out of a refusal.
fn advice(code: Option<&str>) -> &'static str {
    match code.unwrap_or_default() {
        "AuthenticationFailed" | "InvalidAuthenticationInfo" | "NoAuthenticationInformation" => {
            "check the account key, that it belongs to `account`, and this machine's clock"
        }
        "AuthorizationFailure" => {
            "the storage account's firewall does not let this machine in: allow its address or network (on the emulator \
             this code also means a wrong account key)"
        }
        "KeyBasedAuthenticationNotPermitted" => {
            "the storage account does not permit account keys: allow storage account key access in its configuration"
        }
        "AccountIsDisabled" => "the storage account is disabled: see its subscription",
        "InsufficientAccountPermissions" | "AuthorizationPermissionMismatch" => {
            "the credentials lack the right to list and read blobs"
        }
        _ => "check the account key, this machine's clock and the storage account's firewall",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(status: u16, code: &str) -> StorageErrorKind {
        let advice = advice(Some(code)).to_owned();
        StorageErrorKind::Denied { code: format!("status {status}, {code}"), advice }
    }

    /// Scenario: every status that the service documents, for the operations where it differs. Guarantees: the table
    /// below, which is the whole judgement.
    #[test]
    fn statuses() {
        use Operation::{Head, ListBlobs, ListContainers, Read};
        use StorageErrorKind::{BlobNotFound, Changed, ContainerNotFound, PastEnd, Throttled, Transient};
        let wait = Some(Duration::from_secs(7));
        for (operation, status, code, expected) in [
            (ListBlobs, 401, Some("NoAuthenticationInformation"), denied(401, "NoAuthenticationInformation")),
            (ListBlobs, 403, Some("AuthenticationFailed"), denied(403, "AuthenticationFailed")),
            (Read, 403, Some("AuthorizationFailure"), denied(403, "AuthorizationFailure")),
            (Head, 400, Some("InvalidAuthenticationInfo"), denied(400, "InvalidAuthenticationInfo")),
            (ListBlobs, 404, Some("ContainerNotFound"), ContainerNotFound),
            (ListBlobs, 404, Some("ResourceNotFound"), ContainerNotFound),
            (ListBlobs, 404, None, ContainerNotFound),
            (ListBlobs, 409, Some("ContainerBeingDeleted"), ContainerNotFound),
            (Read, 404, Some("ContainerNotFound"), ContainerNotFound),
            (Head, 404, Some("ContainerNotFound"), ContainerNotFound),
            (Read, 404, Some("BlobNotFound"), BlobNotFound),
            (Head, 404, None, BlobNotFound),
            (Read, 409, None, Changed),
            (Read, 412, Some("ConditionNotMet"), Changed),
            (Read, 416, Some("InvalidRange"), PastEnd),
            (Read, 429, None, Throttled { retry_after: wait }),
            (ListBlobs, 503, Some("ServerBusy"), Throttled { retry_after: wait }),
            (Read, 408, None, Transient),
            (Read, 500, Some("InternalError"), Transient),
            (ListContainers, 500, Some("OperationTimedOut"), Transient),
            (Head, 502, None, Transient),
            (Head, 504, None, Transient),
        ] {
            assert_eq!(classify(operation, status, code, wait), expected, "{operation:?} {status} {code:?}");
        }
    }

    /// Scenario: answers that nothing but a person can mend. Guarantees: the text names the status and the way out.
    #[test]
    fn texts() {
        let check = |operation, status, code: Option<&str>, expected: &str| {
            let text = classify(operation, status, code, None).to_string();
            assert!(text.contains(expected), "{operation:?} {status} {code:?}: {text}");
        };
        check(Operation::Read, 301, None, "redirect refused (status 301)");
        check(Operation::Read, 304, None, "redirect refused");
        check(Operation::ListBlobs, 400, Some("OutOfRangeInput"), "(status 400, OutOfRangeInput)");
        check(Operation::ListBlobs, 418, None, "(status 418)");
        check(Operation::ListContainers, 404, None, "`account` and `endpoint`");
        check(Operation::Read, 409, Some("BlobArchived"), "archive tier");
        check(Operation::Read, 403, None, "access denied (status 403)");
        check(Operation::Read, 403, Some("AuthenticationFailed"), "clock");
        check(Operation::Read, 403, Some("AuthorizationFailure"), "firewall");
        check(
            Operation::Read,
            403,
            Some("KeyBasedAuthenticationNotPermitted"),
            "does not permit account keys",
        );
    }
}
