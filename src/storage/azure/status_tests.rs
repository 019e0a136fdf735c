//! Every answer of the table, for every operation.

use std::time::Duration;

use super::*;

const OPERATIONS: [Operation; 4] =
    [Operation::ListContainers, Operation::ListBlobs, Operation::Head, Operation::Read];

fn refusal(status: u16, code: Option<&str>) -> Refusal {
    Refusal {
        status,
        code: code.map(str::to_owned),
        retry_after: Some(Duration::from_secs(7)),
        redirect_host: None,
        clock_skew: None,
    }
}

/// The kind without its texts.
fn name(kind: &StorageErrorKind) -> &'static str {
    match kind {
        StorageErrorKind::Changed => "changed",
        StorageErrorKind::Conflict { .. } => "conflict",
        StorageErrorKind::Archived => "archived",
        StorageErrorKind::BlobNotFound => "no blob",
        StorageErrorKind::ContainerNotFound => "no container",
        StorageErrorKind::Denied { .. } => "denied",
        StorageErrorKind::Throttled { retry_after } => {
            assert_eq!(*retry_after, Some(Duration::from_secs(7)));
            "throttled"
        }
        StorageErrorKind::PastEnd => "past end",
        StorageErrorKind::Truncated { .. } => "truncated",
        StorageErrorKind::Transient => "transient",
        StorageErrorKind::Other(_) => "other",
    }
}

/// Scenario: every status and code that the service documents for what is asked, from every operation. Guarantees: the
/// table below, which is the whole judgement, and which refusals another key may turn.
#[test]
fn every_answer_of_every_operation() {
    let same = |kind| [kind; 4];
    let missing = ["other", "no container", "no blob", "no blob"];
    for (status, code, expected, is_key_tried) in [
        (301, None, same("other"), false),
        (302, None, same("other"), false),
        (304, None, same("other"), false),
        (307, None, same("other"), false),
        (308, None, same("other"), false),
        (400, Some("InvalidAuthenticationInfo"), same("denied"), false),
        (400, Some("InvalidBlobTier"), same("archived"), false),
        (400, Some("OutOfRangeInput"), same("other"), false),
        (400, None, same("other"), false),
        (401, Some("NoAuthenticationInformation"), same("denied"), false),
        (401, None, same("denied"), false),
        (403, Some("AuthenticationFailed"), same("denied"), true),
        (403, Some("AuthorizationFailure"), same("denied"), true),
        (403, Some("AuthorizationPermissionMismatch"), same("denied"), false),
        (403, Some("InsufficientAccountPermissions"), same("denied"), false),
        (403, Some("KeyBasedAuthenticationNotPermitted"), same("denied"), false),
        (403, Some("AccountIsDisabled"), same("denied"), false),
        (403, None, same("denied"), true),
        (404, Some("BlobNotFound"), missing, false),
        (404, Some("ResourceNotFound"), missing, false),
        (404, Some("ContainerNotFound"), same("no container"), false),
        (404, None, same("other"), false),
        (407, None, same("other"), false),
        (408, None, same("transient"), false),
        (409, Some("BlobArchived"), same("archived"), false),
        (409, Some("BlobBeingRehydrated"), same("archived"), false),
        (409, Some("ContainerBeingDeleted"), same("no container"), false),
        (409, Some("BlobBeingWritten"), same("conflict"), false),
        (409, None, same("conflict"), false),
        (412, Some("ConditionNotMet"), same("changed"), false),
        (412, None, same("changed"), false),
        (416, Some("InvalidRange"), same("past end"), false),
        (416, None, same("past end"), false),
        (418, Some("Teapot"), same("other"), false),
        (429, None, same("throttled"), false),
        (500, Some("InternalError"), same("throttled"), false),
        (500, Some("OperationTimedOut"), same("throttled"), false),
        (502, None, same("transient"), false),
        (503, Some("ServerBusy"), same("throttled"), false),
        (503, None, same("throttled"), false),
        (504, None, same("transient"), false),
    ] {
        let refusal = refusal(status, code);
        let found = OPERATIONS.map(|operation| name(&classify(operation, &refusal)));
        assert_eq!(found, expected, "{status} {code:?}");
        assert_eq!(may_be_the_key(&refusal), is_key_tried, "{status} {code:?}");
        assert_eq!(is_overload(&refusal), expected == same("throttled"), "{status} {code:?}");
    }
    let without_wish = Refusal { retry_after: None, ..refusal(500, Some("InternalError")) };
    assert_eq!(classify(Operation::Read, &without_wish), StorageErrorKind::Transient);
    assert!(is_overload(&without_wish));
}

/// Scenario: answers that nothing but a person can mend. Guarantees: the text names the code or status and the way out.
#[test]
fn texts() {
    let check = |operation, status, code: Option<&str>, expected: &str| {
        let text = classify(operation, &refusal(status, code)).to_string();
        assert!(text.contains(expected), "{operation:?} {status} {code:?}: {text}");
    };
    for operation in OPERATIONS {
        check(operation, 301, None, "redirect refused (status 301)");
        check(operation, 400, Some("OutOfRangeInput"), "(status 400, OutOfRangeInput)");
        check(operation, 418, None, "(status 418)");
        check(operation, 401, Some("NoAuthenticationInformation"), "a proxy on the way");
        check(operation, 403, None, "access denied (status 403)");
        check(
            operation,
            403,
            Some("AuthenticationFailed"),
            "status 403, AuthenticationFailed): check the account key",
        );
        check(operation, 403, Some("AuthorizationFailure"), "firewall");
        check(operation, 403, Some("AuthorizationFailure"), "account key");
        check(operation, 403, Some("AuthorizationPermissionMismatch"), "right to list and read");
        check(operation, 403, Some("AccountIsDisabled"), "account is disabled");
        check(operation, 403, Some("KeyBasedAuthenticationNotPermitted"), "does not permit account keys");
        check(operation, 407, None, "write them into `proxy`");
        check(operation, 409, Some("BlobArchived"), "rehydrate it");
        check(
            operation,
            409,
            Some("LeaseIdMissing"),
            "status 409, LeaseIdMissing); the next pass asks again",
        );
    }
    check(Operation::ListContainers, 404, None, "`account` and `endpoint`");

    let elsewhere = Refusal { redirect_host: Some("login.example".to_owned()), ..refusal(302, None) };
    let text = classify(Operation::Read, &elsewhere).to_string();
    assert!(text.starts_with("redirect to login.example refused (status 302)"), "{text}");
}

/// Scenario: a signature is refused while the clocks differ by little, by much, or by nobody knows. Guarantees: a clock
/// that is more than five minutes wrong is named, with its direction; else it is the key.
#[test]
fn a_wrong_clock_explains_a_refused_signature() {
    let check = |skew: Option<TimeDelta>, expected: &str| {
        let refused = Refusal { clock_skew: skew, ..refusal(403, Some("AuthenticationFailed")) };
        let text = classify(Operation::Read, &refused).to_string();
        assert!(text.contains(expected), "{skew:?}: {text}");
    };
    check(None, "check the account key");
    check(Some(TimeDelta::minutes(5)), "check the account key");
    check(Some(TimeDelta::minutes(-5)), "check the account key");
    check(Some(TimeDelta::seconds(20 * 60 + 59)), "this machine's clock is 20 minutes behind the server's");
    check(Some(TimeDelta::minutes(-90)), "this machine's clock is 90 minutes ahead of the server's");
    check(Some(TimeDelta::MIN), "ahead of the server's");
}
