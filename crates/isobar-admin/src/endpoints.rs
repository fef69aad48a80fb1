//! Which questions are answered, and how are the answers written?

use std::sync::Arc;

use axum::Router;
use axum::extract::State as Extract;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use isobar_plan::{CheckReport, CheckStatus};
use serde_json::json;

use crate::negotiation::Format;
use crate::process::Process;
use crate::state::State;
use crate::{Operations, exposition, health, limits, servers};

const INDEX: &str = "\
Isobar

GET /metrics          what was counted, for Prometheus
GET /health           200 while the instance does its work, 503 while it drains or listens nowhere
GET /health/live      200 while the process answers
GET /health/ready     200 while it should be sent traffic: healthy, and some upstream has an available server
GET /health/detailed  every dependency by name, as JSON
GET /servers          every server: its state, its health, its requests in flight
GET /servers/UPSTREAM/SERVER           one of them
POST /servers/UPSTREAM/SERVER/drain    no new requests but those that belong to it
POST /servers/UPSTREAM/SERVER/disable  no new requests at all
POST /servers/UPSTREAM/SERVER/enable   back in service
POST /limits/LIMIT/rearm               has a limit refuse again that disarmed itself
";

pub(crate) type Asked = Extract<Arc<dyn Operations>>;

/// All endpoints.
pub(crate) fn router(view: Arc<dyn Operations>) -> Router {
    Router::new()
        .route(
            "/",
            get(async || fresh(StatusCode::OK, "text/plain; charset=utf-8", INDEX)),
        )
        .route("/metrics", get(metrics))
        .route(
            "/health",
            get(async |Extract(view): Asked| verdict(health::unhealthy(&view.status()))),
        )
        .route("/health/live", get(async || verdict(None)))
        .route(
            "/health/ready",
            get(async |Extract(view): Asked| verdict(health::unready(&view.status()))),
        )
        .route(
            "/health/detailed",
            get(async |Extract(view): Asked| detailed(&health::report(&*view))),
        )
        .route("/servers", get(servers::list))
        .route("/servers/{upstream}/{server}", get(servers::one))
        .route(
            "/servers/{upstream}/{server}/{order}",
            post(servers::order).fallback(async || problem(StatusCode::METHOD_NOT_ALLOWED, "only POST is answered")),
        )
        .route(
            "/limits/{limit}/rearm",
            post(limits::rearm).fallback(async || problem(StatusCode::METHOD_NOT_ALLOWED, "only POST is answered")),
        )
        .fallback(async || problem(StatusCode::NOT_FOUND, "no such endpoint; / lists them"))
        .method_not_allowed_fallback(async || problem(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered"))
        .with_state(view)
}

async fn metrics(Extract(view): Asked, headers: HeaderMap) -> Response {
    // Several fields of one name are one list (RFC 9110 section 5.3).
    let accept: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let format = Format::accepted(&accept.join(","));
    // Reading /proc blocks, and a page of many thousand series takes milliseconds to write.
    let page = tokio::task::spawn_blocking(move || {
        let state = State {
            status: view.status(),
            configuration: view.configuration(),
            process: Process::read(),
        };
        exposition::render(view.metrics(), state, format)
    });
    match page.await {
        Ok(Ok(page)) => fresh(StatusCode::OK, format.content_type(), page),
        Ok(Err(_)) | Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "failed to read the metrics"),
    }
}

fn verdict(problem: Option<&str>) -> Response {
    match problem {
        None => fresh_json(StatusCode::OK, json!({ "status": "pass" })),
        Some(reason) => fresh_json(
            StatusCode::SERVICE_UNAVAILABLE,
            json!({ "status": "fail", "reason": reason }),
        ),
    }
}

fn detailed(report: &health::Report) -> Response {
    let code = match report.status {
        CheckStatus::Fail => StatusCode::SERVICE_UNAVAILABLE,
        CheckStatus::Pass | CheckStatus::Warn => StatusCode::OK,
    };
    let checks: Vec<_> = report.checks.iter().map(check).collect();
    fresh_json(code, json!({ "status": text(report.status), "checks": checks }))
}

fn check(report: &CheckReport) -> serde_json::Value {
    let CheckReport {
        name,
        status,
        detail,
        took,
    } = report;
    // Microseconds are as fine as a check can be told apart from another.
    let time_ms = (took.as_secs_f64() * 1e6).round() / 1e3;
    json!({ "name": name, "status": text(*status), "detail": detail, "time_ms": time_ms })
}

const fn text(status: CheckStatus) -> &'static str {
    match status {
        CheckStatus::Pass => "pass",
        CheckStatus::Warn => "warn",
        CheckStatus::Fail => "fail",
    }
}

pub(crate) fn problem(code: StatusCode, error: &str) -> Response {
    fresh_json(code, json!({ "error": error }))
}

pub(crate) fn fresh_json(code: StatusCode, body: serde_json::Value) -> Response {
    fresh(code, "application/json", format!("{body}\n"))
}

/// An answer that is true only now.
fn fresh(code: StatusCode, content_type: &'static str, body: impl IntoResponse) -> Response {
    let fields = [
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (code, fields, body).into_response()
}
