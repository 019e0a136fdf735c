//! What is told of refusals, and which of them keys or patience may turn. What each means for every operation is in the
//! table `tests/data/statuses/storage.txt`.

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

/// Scenario: refusals that another key may turn, that ask to slow down, or neither; with every code of them. Guarantees:
/// which of them is which. What each means for the caller is in `tests/data/statuses/storage.txt`.
#[test]
fn keys_and_overload() {
    for (status, code, is_key_tried, is_slowed_down) in [
        (400, Some("InvalidAuthenticationInfo"), false, false),
        (400, Some("InvalidBlobTier"), false, false),
        (400, Some("OutOfRangeInput"), false, false),
        (400, None, false, false),
        (401, Some("NoAuthenticationInformation"), false, false),
        (401, None, false, false),
        (403, Some("AuthenticationFailed"), true, false),
        (403, Some("AuthorizationFailure"), true, false),
        (403, Some("AuthorizationPermissionMismatch"), false, false),
        (403, Some("InsufficientAccountPermissions"), false, false),
        (403, Some("KeyBasedAuthenticationNotPermitted"), false, false),
        (403, Some("AccountIsDisabled"), false, false),
        (403, None, true, false),
        (404, None, false, false),
        (407, None, false, false),
        (408, None, false, false),
        (409, None, false, false),
        (412, None, false, false),
        (416, None, false, false),
        (429, None, false, true),
        (500, Some("InternalError"), false, true),
        (500, Some("OperationTimedOut"), false, true),
        (502, None, false, false),
        (503, Some("ServerBusy"), false, true),
        (503, None, false, true),
        (504, None, false, false),
    ] {
        let refusal = refusal(status, code);
        assert_eq!(may_be_the_key(&refusal), is_key_tried, "{status} {code:?}");
        assert_eq!(is_overload(&refusal), is_slowed_down, "{status} {code:?}");
    }
    let without_wish = Refusal { retry_after: None, ..refusal(500, Some("InternalError")) };
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
