//! What a status means. The one place that judges the storage server's statuses and error codes (Microsoft's
//! "Status and error codes" of Azure Storage, "Blob service error codes").

use chrono::TimeDelta;

use super::transport::Refusal;
use crate::storage::StorageErrorKind;

/// A difference of clocks that explains a refused signature. Azure takes requests dated within 15 minutes; a clock
/// that is this wrong is worth a word before.
const SUSPICIOUS_SKEW: TimeDelta = TimeDelta::minutes(5);

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

/// What a status other than 2xx means for the caller. `x-ms-error-code` is in every answer of the real service, and
/// not in a proxy's.
pub(super) fn classify(operation: Operation, refusal: &Refusal) -> StorageErrorKind {
    let status_and_code = || match &refusal.code {
        Some(code) => format!("status {}, {code}", refusal.status),
        None => format!("status {}", refusal.status),
    };
    match (refusal.status, refusal.code.as_deref()) {
        (_, Some("ContainerNotFound" | "ContainerBeingDeleted")) => StorageErrorKind::ContainerNotFound,
        (_, Some("BlobArchived" | "BlobBeingRehydrated" | "InvalidBlobTier")) => StorageErrorKind::Archived,
        (401 | 403, _) | (400, Some("InvalidAuthenticationInfo")) => {
            StorageErrorKind::Denied { code: status_and_code(), advice: advice(refusal) }
        }
        (404, code) => match (operation, code) {
            (Operation::ListContainers, _) => StorageErrorKind::Other(
                "the storage server knows no such account or path (404): check `account` and `endpoint`"
                    .to_owned(),
            ),
            // The service names what is missing; without that nobody says that the blob or the container is gone.
            (_, None) => StorageErrorKind::Other(
                "something that is no storage service answers (404): check `endpoint` and `proxy`, and what stands \
                 between"
                    .to_owned(),
            ),
            (Operation::ListBlobs, Some(_)) => StorageErrorKind::ContainerNotFound,
            (Operation::Head | Operation::Read, Some(_)) => StorageErrorKind::BlobNotFound,
        },
        (407, _) => StorageErrorKind::Other(
            "the proxy asks for credentials (status 407): write them into `proxy`, as in \
             http://USER:PASSWORD@HOST:PORT"
                .to_owned(),
        ),
        (409, _) => StorageErrorKind::Conflict { code: status_and_code() },
        (412, _) => StorageErrorKind::Changed,
        (416, _) => StorageErrorKind::PastEnd,
        (429 | 503, _) => throttled(refusal),
        (500, _) if refusal.retry_after.is_some() => throttled(refusal),
        (408 | 500..=599, _) => StorageErrorKind::Transient,
        (status @ 300..=399, _) => {
            let target = refusal.redirect_host.as_ref().map_or(String::new(), |host| format!(" to {host}"));
            StorageErrorKind::Other(format!(
                "redirect{target} refused (status {status}): check `endpoint`; redirects are never followed"
            ))
        }
        (status, Some(code)) => StorageErrorKind::Other(format!(
            "the storage server refuses the request (status {status}, {code})"
        )),
        (status, None) => {
            StorageErrorKind::Other(format!("the storage server refuses the request (status {status})"))
        }
    }
}

fn throttled(refusal: &Refusal) -> StorageErrorKind {
    StorageErrorKind::Throttled { retry_after: refusal.retry_after }
}

/// Whether the server has more to do than it can: fewer requests at once are what helps.
pub(super) fn is_overload(refusal: &Refusal) -> bool {
    matches!(refusal.status, 429 | 500 | 503)
}

/// Whether another account key could have been taken. Only codes that are surely about something else are left out:
/// the real service and its emulator name a wrong key differently, and by a code that also stands for a firewall.
pub(super) fn may_be_the_key(refusal: &Refusal) -> bool {
    let is_about_the_account = matches!(
        refusal.code.as_deref(),
        Some(
            "KeyBasedAuthenticationNotPermitted"
                | "AccountIsDisabled"
                | "InsufficientAccountPermissions"
                | "AuthorizationPermissionMismatch"
        )
    );
    refusal.status == 403 && !is_about_the_account
}

/// The way out of a refusal.
fn advice(refusal: &Refusal) -> String {
    let text = match refusal.code.as_deref().unwrap_or_default() {
        "AuthenticationFailed" | "InvalidAuthenticationInfo" => match suspicious_skew(refusal.clock_skew) {
            Some((minutes, direction)) => {
                return format!(
                    "this machine's clock is {minutes} minutes {direction} the server's: set it right, for a \
                     signature is good for 15 minutes"
                );
            }
            None => "check the account key, and that it belongs to `account`",
        },
        "NoAuthenticationInformation" => {
            "the signature did not arrive: a proxy on the way may take headers out"
        }
        "AuthorizationFailure" => {
            "the storage account's firewall does not let this machine in: allow its address or network in the \
             account's network rules (on the emulator this code means a wrong account key)"
        }
        "KeyBasedAuthenticationNotPermitted" => {
            "the storage account does not permit account keys: allow storage account key access in its configuration"
        }
        "AccountIsDisabled" => "the storage account is disabled: see its subscription",
        "InsufficientAccountPermissions" | "AuthorizationPermissionMismatch" => {
            "the credentials lack the right to list and read blobs"
        }
        _ => "check the account key, this machine's clock and the storage account's firewall",
    };
    text.to_owned()
}

/// Whole minutes, and where this machine's clock stands.
fn suspicious_skew(skew: Option<TimeDelta>) -> Option<(i64, &'static str)> {
    let server_ahead = skew.filter(|delta| delta.abs() > SUSPICIOUS_SKEW)?;
    let direction = if server_ahead > TimeDelta::zero() { "behind" } else { "ahead of" };
    Some((server_ahead.abs().num_minutes(), direction))
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
