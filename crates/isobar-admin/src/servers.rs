//! Which servers are there, and which does an operator take out of service?

use std::net::SocketAddr;

use axum::Extension;
use axum::extract::{Path, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use isobar_plan::{HealthState, OrderRefusal, Otherwise, ServerOrder, ServerStatus, ServiceState};
use serde_json::{Value, json};

use crate::endpoints::{Asked, fresh_json, problem};
use crate::site;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Every server of every upstream.
pub(crate) async fn list(Extract(view): Asked) -> Response {
    let status = view.status();
    let of = |upstream: &isobar_plan::UpstreamStatus| {
        let server = |server: &ServerStatus| shown(&upstream.name, server);
        upstream.servers.iter().map(server).collect::<Vec<_>>()
    };
    let servers: Vec<Value> = status.upstreams.iter().flat_map(of).collect();
    fresh_json(StatusCode::OK, json!({ "servers": servers }))
}

/// One server.
pub(crate) async fn one(Extract(view): Asked, Path((upstream, server)): Path<(String, String)>) -> Response {
    let status = view.status();
    let Some(of) = status.upstreams.iter().find(|known| *known.name == *upstream) else {
        return refused(OrderRefusal::NoUpstream, &upstream, &server);
    };
    match of.servers.iter().find(|known| *known.name == *server) {
        Some(found) => fresh_json(StatusCode::OK, shown(&upstream, found)),
        None => refused(OrderRefusal::NoServer, &upstream, &server),
    }
}

/// Takes a server out of service, or back in.
pub(crate) async fn order(
    Extract(view): Asked,
    Extension(Peer(by)): Extension<Peer>,
    headers: HeaderMap,
    Path((upstream, server, order)): Path<(String, String, String)>,
) -> Response {
    if let Err(reason) = site::check(&headers) {
        return problem(StatusCode::FORBIDDEN, reason);
    }
    let state = match order.as_str() {
        "enable" => ServiceState::Enabled,
        "drain" => ServiceState::Drain,
        "disable" => ServiceState::Disabled,
        _ => {
            return problem(
                StatusCode::NOT_FOUND,
                "no such order; there are enable, drain and disable",
            );
        }
    };
    let order = ServerOrder {
        upstream: upstream.as_str().into(),
        server: server.as_str().into(),
        state,
        by,
    };
    match view.order(&order) {
        Ok(done) => fresh_json(
            StatusCode::OK,
            json!({
                "upstream": upstream,
                "server": server,
                "state": state.word(),
                "was": done.from.word(),
                "in_flight": done.in_flight,
                "sessions": sessions(state, done.on_down),
            }),
        ),
        Err(refusal) => refused(refusal, &upstream, &server),
    }
}

/// What becomes of the sessions that a server has; none: it has none, or they are not touched.
fn sessions(state: ServiceState, on_down: Option<Otherwise>) -> Option<&'static str> {
    match (state, on_down?) {
        (ServiceState::Enabled, _) => None,
        (ServiceState::Drain, _) => Some("kept"),
        (ServiceState::Disabled, Otherwise::Refuse) => Some("refused"),
        (ServiceState::Disabled, Otherwise::Balance) => Some("reassigned"),
    }
}

fn refused(refusal: OrderRefusal, upstream: &str, server: &str) -> Response {
    let (code, text) = match refusal {
        OrderRefusal::NoUpstream => (StatusCode::NOT_FOUND, format!("there is no upstream `{upstream}`")),
        OrderRefusal::NoServer => (
            StatusCode::NOT_FOUND,
            format!("the upstream `{upstream}` has no server `{server}`"),
        ),
        OrderRefusal::Draining => (
            StatusCode::CONFLICT,
            "the instance is being stopped: it finishes with the servers it has".to_owned(),
        ),
    };
    problem(code, &text)
}

fn shown(upstream: &str, status: &ServerStatus) -> Value {
    let health = match status.health {
        HealthState::Unknown => "unknown",
        HealthState::Healthy => "healthy",
        HealthState::Unhealthy => "unhealthy",
    };
    let ejected = status.ejection.as_ref().map(|ejection| {
        json!({
            "reason": ejection.reason.word(),
            "detail": ejection.reason.to_string(),
            "seconds_left": (ejection.left.as_secs_f64() * 1e3).round() / 1e3,
        })
    });
    json!({
        "upstream": upstream,
        "server": &*status.name,
        "state": status.state.word(),
        "set_by": status.state_by.map(|by| by.to_string()),
        "takes_requests": status.takes_requests(),
        "health": health,
        "reason": status.reason,
        "ejected": ejected,
        "in_flight": status.in_flight,
        "weight": status.weight,
        "backup": status.backup,
        "addresses": status.addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>(),
    })
}
