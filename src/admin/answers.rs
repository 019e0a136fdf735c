//! What is answered to which request.

use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::Full;

use crate::telemetry::{
    health::Health,
    metrics::{self, Metrics},
};

const PLAIN_TEXT: &str = "text/plain; charset=utf-8";
const METHODS: &str = "GET, HEAD";
const PATHS: &str = "not found; there are /livez, /readyz and /metrics\n";

/// The answer to a request. The server leaves out the body for HEAD.
pub(super) fn answer(
    method: &Method,
    path: &str,
    metrics: &Metrics,
    health: &Health,
) -> Response<Full<Bytes>> {
    let is_known = matches!(path, "/livez" | "/readyz" | "/metrics");
    if is_known && !matches!(*method, Method::GET | Method::HEAD) {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
        return refusal;
    }
    match path {
        "/livez" => text(StatusCode::OK, "alive\n".to_owned()),
        "/readyz" => readiness(&health.reasons()),
        "/metrics" => typed(StatusCode::OK, metrics::CONTENT_TYPE, metrics.encode()),
        _ => text(StatusCode::NOT_FOUND, PATHS.to_owned()),
    }
}

fn readiness(reasons: &[String]) -> Response<Full<Bytes>> {
    if reasons.is_empty() {
        return text(StatusCode::OK, "ready\n".to_owned());
    }
    text(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reasons.join("\n")))
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed(status, PLAIN_TEXT, body)
}

fn typed(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
