//! `/healthz`, `/readyz` and `/metrics`. The internal listener has the details and the metrics.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus::{Gauge, TEXT_FORMAT};
use serde::Serialize;
use switchboard_cluster::Status;
use switchboard_core::SharedRoomPolicies;
use switchboard_transport::MetricsRegistry;

use crate::app_state::AppState;

/// Time without an answer of the engine after which `/readyz` fails. The engine is the part that shares rooms between
/// the nodes of a cluster, through a store.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(5);

/// Adds `/healthz` and `/readyz` where `is_free` allows their paths.
pub(crate) fn routes(
    mut router: Router<Arc<AppState>>,
    is_free: impl Fn(&str) -> bool,
) -> Router<Arc<AppState>> {
    if is_free("/healthz") {
        router = router.route("/healthz", get(live));
    }
    if is_free("/readyz") {
        router = router.route("/readyz", get(ready));
    }
    router
}

/// Answers `/healthz` with 200: the process runs.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// Answers `/readyz`: 200 if the server accepts new clients, 503 while it stops or its engine does not answer. The
/// answer names no engine and no error, because every client can read it.
async fn ready(State(app): State<Arc<AppState>>) -> (StatusCode, &'static str) {
    let readiness = Readiness::of(&app);
    let text = match readiness.state {
        ReadyState::Ready => "ready\n",
        ReadyState::Stopping => "stopping\n",
        ReadyState::Unready => "not ready\n",
    };
    (readiness.status_code(), text)
}

/// Whether the server accepts new clients.
pub(crate) fn is_ready(app: &AppState) -> bool {
    Readiness::of(app).state == ReadyState::Ready
}

/// Answers `/readyz` of the internal listener with the state of the engine and of the node: lines of text, or JSON if
/// the request accepts it.
pub(crate) async fn detailed_readiness(
    State(app): State<Arc<AppState>>,
    headers: HeaderMap,
) -> Response {
    let readiness = Readiness::of(&app);
    let accepted = headers.get(header::ACCEPT);
    let is_json = accepted.is_some_and(|types| {
        let types = types.as_bytes();
        let json = b"application/json";
        types.windows(json.len()).any(|part| part == json)
    });
    let status = readiness.status_code();
    match is_json {
        true => (status, Json(readiness)).into_response(),
        false => (status, readiness.text()).into_response(),
    }
}

/// Whether the server accepts new clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum ReadyState {
    Ready,
    Stopping,
    Unready,
}

/// The state of this node, with the reason if it accepts no new clients.
#[derive(Debug, Serialize)]
struct Readiness {
    state: ReadyState,
    /// Why the node is not ready.
    reason: Option<String>,
    draining: bool,
    version: &'static str,
    /// The state of the node in its cluster.
    cluster: Option<ClusterReadiness>,
}

/// The state of this node in its cluster.
#[derive(Debug, Serialize)]
struct ClusterReadiness {
    node: String,
    url: String,
    epoch: u32,
    /// The address of the engine, without its login.
    engine: Option<String>,
    engine_answers: bool,
    engine_down_secs: u64,
    nodes_alive: usize,
    nodes_lapsed: usize,
}

impl Readiness {
    fn of(app: &AppState) -> Self {
        let draining = !app.ready.load(Ordering::Relaxed);
        let status = app.shards.status();
        let address = app.config.engine.url.address().map(ToString::to_string);
        let engine_reason = status
            .as_ref()
            .and_then(|status| unready_reason(status, address.as_deref()));
        let (state, reason) = match (draining, engine_reason) {
            (true, _) => (ReadyState::Stopping, None),
            (false, Some(reason)) => (ReadyState::Unready, Some(reason)),
            (false, None) => (ReadyState::Ready, None),
        };
        let cluster = status.map(|status| ClusterReadiness::new(&status, address));
        Self {
            state,
            reason,
            draining,
            version: env!("CARGO_PKG_VERSION"),
            cluster,
        }
    }

    fn status_code(&self) -> StatusCode {
        match self.state {
            ReadyState::Ready => StatusCode::OK,
            ReadyState::Stopping | ReadyState::Unready => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn text(&self) -> String {
        let state = match self.state {
            ReadyState::Ready => "ready",
            ReadyState::Stopping => "stopping",
            ReadyState::Unready => "not ready",
        };
        let reason = self.reason.as_ref();
        let reason = reason.map(|reason| format!(": {reason}"));
        let drain = if self.draining { "on" } else { "off" };
        let (reason, version) = (reason.unwrap_or_default(), self.version);
        let cluster = self.cluster.as_ref().map(ClusterReadiness::text);
        let cluster = cluster.unwrap_or_else(|| "engine: none, a single node\n".to_owned());
        format!("{state}{reason}\ndrain: {drain}\nversion: {version}\n{cluster}")
    }
}

impl ClusterReadiness {
    fn new(status: &Status, engine: Option<String>) -> Self {
        let alive = status.nodes.iter().filter(|line| line.is_alive).count();
        Self {
            node: status.node.to_string(),
            url: status.url.clone(),
            epoch: status.epoch,
            engine,
            engine_answers: status.is_connected(),
            engine_down_secs: status.down_for.unwrap_or_default().as_secs(),
            nodes_alive: alive,
            nodes_lapsed: status.nodes.len() - alive,
        }
    }

    fn text(&self) -> String {
        let engine = self.engine.as_deref().unwrap_or("of the host program");
        let answer = match self.engine_answers {
            true => "answers".to_owned(),
            false => format!("has not answered for {} s", self.engine_down_secs),
        };
        format!(
            "node: {} at {}, epoch {}\nengine: {engine} {answer}\nnodes: {} alive, {} lapsed\n",
            self.node, self.url, self.epoch, self.nodes_alive, self.nodes_lapsed
        )
    }
}

/// Says why the engine makes this node unready; `None` while it is ready.
fn unready_reason(status: &Status, address: Option<&str>) -> Option<String> {
    let state = match status.down_for {
        // The engine gives the node the secret of the cluster. A node without it has never reached the engine, and
        // cannot serve any room.
        _ if status.secret.is_none() => "has not been reached yet".to_owned(),
        Some(down_for) if down_for >= ENGINE_TIMEOUT => {
            format!("has not answered for {} s", down_for.as_secs())
        }
        Some(_) | None => return None,
    };
    let location = address
        .map(|address| format!(" at {address}"))
        .unwrap_or_default();
    // An error of several lines is joined to one.
    let error: Vec<_> = status.last_error.split_whitespace().collect();
    let error = if error.is_empty() {
        String::new()
    } else {
        format!(": {}", error.join(" "))
    };
    Some(format!("the engine{location} {state}{error}"))
}

/// The metrics in the text format of Prometheus, version 0.0.4.
pub(crate) async fn metrics(State(app): State<Arc<AppState>>) -> impl IntoResponse {
    let shards = &app.shards;
    let queued = app.context.queue_memory.used();
    let mut text = shards.registry().text() + &load_metrics(shards.local_counts(), queued);
    text += &policy_metrics(shards.policies());
    if let Some(status) = shards.status() {
        text += &engine_metrics(&status);
    }
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], text)
}

/// The gauges of this node's rooms, members and queues, which are counted when they are read.
fn load_metrics((rooms, members): (usize, usize), queued: usize) -> String {
    let registry = MetricsRegistry::default();
    for (name, help, value) in [
        ("rooms", "Rooms that this node has members in.", rooms),
        ("members", "Members of this node in all rooms.", members),
        (
            "queued_bytes",
            "Bytes queued for clients, as limits.memory_max counts them.",
            queued,
        ),
    ] {
        let gauge = registry.gauge(name, help);
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    }
    registry.text()
}

/// The metrics of room policies.
fn policy_metrics(policies: &SharedRoomPolicies) -> String {
    let registry = MetricsRegistry::default();
    let counters = registry.counters(
        "room_policy_refusals_total",
        "Joins, claims and lists that a room policy or access.duplicate_identity has refused, by reason.",
        &["reason"],
    );
    for (reason, count) in policies.refused() {
        counters.with_label_values(&[reason.as_str()]).inc_by(count);
    }
    registry.text()
}

/// The metrics of the engine and the cluster, made from its status.
fn engine_metrics(status: &Status) -> String {
    let registry = MetricsRegistry::default();
    let alive = status.nodes.iter().filter(|line| line.is_alive).count();
    let lapsed = status.nodes.len() - alive;
    let this = status.own_line();
    let down_for = status.down_for.unwrap_or_default();
    for (name, help, value) in [
        (
            "engine_down_seconds",
            "Seconds that the engine has not answered; 0 while it does.",
            down_for,
        ),
        (
            "engine_lag_seconds",
            "Seconds that the engine took to answer the last time.",
            status.lag,
        ),
    ] {
        let gauge = registry.register(Gauge::new(name, help));
        gauge.set(value.as_secs_f64());
    }
    for (name, help, value) in [
        (
            "engine_up",
            "Whether the engine answers: 1 or 0.",
            usize::from(status.is_connected()),
        ),
        (
            "engine_queue",
            "Commands that wait to be sent to the engine.",
            status.queue,
        ),
        ("engine_nodes", "Nodes with a valid lease.", alive),
        (
            "engine_nodes_other_format",
            "Nodes with a valid lease to which no messages are sent, because their release has another format.",
            status.incompatible_nodes().count(),
        ),
        (
            "engine_nodes_lapsed",
            "Nodes whose lease has expired and whose members are not all removed yet.",
            lapsed,
        ),
        (
            "engine_rooms",
            "Rooms that this node has members in.",
            this.map_or(0, |line| line.rooms),
        ),
        (
            "engine_members",
            "Members of this node in all rooms.",
            this.map_or(0, |line| line.members),
        ),
    ] {
        let gauge = registry.gauge(name, help);
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    }
    for (name, help, value) in [
        (
            "engine_unavailable_total",
            "Joins and frames rejected because the engine was unreachable or overloaded.",
            status.unavailable_total,
        ),
        (
            "engine_messages_discarded_total",
            "Times that messages of another node were discarded: malformed, or of another format version.",
            status.discarded_total,
        ),
        (
            "engine_reconnects_total",
            "Connections to the engine that were lost and re-established.",
            status.reconnects_total,
        ),
        (
            "engine_lapses_total",
            "Times that this node lost its lease and started a new epoch.",
            u64::from(status.epoch.saturating_sub(1)),
        ),
    ] {
        registry.counter(name, help).inc_by(value);
    }
    registry.text()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use switchboard_cluster::{CloseFuture, Engine, EngineHandler, NodeLine, ProposeOutcome};
    use switchboard_core::{Change, LogId, NodeId, NodeMessage, Position};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::{Config, Listener, Server};

    /// An engine that commits at once and reports the status that the test gives.
    #[derive(Debug)]
    struct FakeEngine(Mutex<Option<Status>>);

    impl Engine for FakeEngine {
        fn attach(&self, _sink: Arc<dyn EngineHandler>) {}

        fn propose(&self, _log: &LogId, at: Position, _change: &Change) -> ProposeOutcome {
            ProposeOutcome::Committed(at.next())
        }

        fn send(&self, _to: NodeId, message: NodeMessage) -> Option<NodeMessage> {
            Some(message)
        }

        fn status(&self) -> Option<Status> {
            self.0.lock().expect("not poisoned").clone()
        }

        fn close(&self) -> CloseFuture<'_> {
            Box::pin(std::future::ready(()))
        }
    }

    fn status() -> Status {
        let mut this = NodeLine::new(NodeId::from(1), 2, "http://10.0.0.1:8080");
        (this.rooms, this.members) = (3, 7);
        let mut other = NodeLine::new(NodeId::from(2), 1, "http://10.0.0.2:8080");
        other.message_format = 200;
        let mut lapsed = NodeLine::new(NodeId::from(3), 1, "http://10.0.0.3:8080");
        lapsed.is_alive = false;
        Status {
            node: this.node,
            epoch: this.epoch,
            url: this.url.clone(),
            down_for: None,
            last_error: String::new(),
            nodes: vec![this, other, lapsed],
            queue: 5,
            lag: Duration::from_micros(1500),
            unavailable_total: 11,
            discarded_total: 6,
            reconnects_total: 4,
            secret: Some("WHISPERED".to_owned()),
        }
    }

    fn down_for(secs: u64, error: &str) -> Status {
        Status {
            down_for: Some(Duration::from_secs(secs)),
            last_error: error.to_owned(),
            ..status()
        }
    }

    /// The response, head and body, of the internal listener of a server whose engine reports this status.
    async fn get(path: &str, status: Option<Status>) -> String {
        get_with(path, "", status, Server::serve_internal).await
    }

    /// The response of a listener for clients.
    async fn public_get(path: &str, status: Option<Status>) -> String {
        get_with(path, "", status, Server::serve).await
    }

    /// The response to a request with these additional headers, each with its line end.
    async fn get_with(
        path: &str,
        headers: &str,
        status: Option<Status>,
        serve: fn(&Server, Listener),
    ) -> String {
        let mut config = Config::default();
        let url = "redis://ada:GEHEIM@cache:6379";
        assert_eq!(config.set("--engine", "engine.url", url), Ok(()));
        let engine = Arc::new(FakeEngine(Mutex::new(status)));
        let server = Server::builder()
            .config(config)
            .engine(engine, Some("http://127.0.0.1:1".to_owned()))
            .build()
            .expect("valid settings");
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = listener.address();
        serve(&server, listener);
        let mut stream = tokio::net::TcpStream::connect(address)
            .await
            .expect("a connection");
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n");
        stream
            .write_all(head.as_bytes())
            .await
            .expect("the server reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    #[tokio::test]
    async fn node_is_ready_until_its_engine_is_unreachable_for_the_timeout() {
        for fine in [
            None,
            Some(status()),
            Some(down_for(4, "connection refused")),
        ] {
            let answer = public_get("/readyz", fine.clone()).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(answer.ends_with("\r\n\r\nready\n"), "{answer}");
            let answer = get("/readyz", fine).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(answer.contains("\r\n\r\nready\ndrain: off\n"), "{answer}");
        }
        let answer = get("/readyz", Some(down_for(7, "connection\nrefused"))).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        let expected = "\r\n\r\nnot ready: the engine at redis://cache:6379 has not answered for 7 s: connection refused\n";
        assert!(answer.contains(expected), "{answer}");
        let answer = get("/readyz", Some(down_for(5, ""))).await;
        assert!(answer.contains("has not answered for 5 s\n"), "{answer}");
        let answer = get("/healthz", Some(down_for(99, "gone"))).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "it lives: {answer}");
    }

    #[tokio::test]
    async fn clients_read_no_address_and_no_error_of_the_engine() {
        let answer = public_get("/readyz", Some(down_for(7, "connection refused"))).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nnot ready\n"), "{answer}");
        let answer = public_get("/healthz", Some(down_for(7, "connection refused"))).await;
        assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
        let answer = public_get("/metrics", Some(status())).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    }

    #[tokio::test]
    async fn programs_read_the_readiness_as_json() {
        let accept = "Accept: application/json\r\n";
        let down = Some(down_for(7, "gone"));
        let answer = get_with("/readyz", accept, down, Server::serve_internal).await;
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["state"], "unready");
        assert_eq!(body["draining"], false);
        assert_eq!(body["cluster"]["engine"], "redis://cache:6379");
        assert_eq!(body["cluster"]["engine_down_secs"], 7);
        assert_eq!(body["cluster"]["nodes_alive"], 2);
        assert!(!answer.contains("WHISPERED") && !answer.contains("GEHEIM"));
    }

    #[tokio::test]
    async fn node_that_has_never_reached_its_engine_is_not_ready() {
        for (down, expected) in [
            (Some(Duration::ZERO), "connection refused"),
            (Some(Duration::from_secs(9)), "connection refused"),
            (None, ""),
        ] {
            let status = Status {
                secret: None,
                down_for: down,
                last_error: expected.to_owned(),
                ..status()
            };
            let answer = get("/readyz", Some(status)).await;
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
            let colon = if expected.is_empty() { "" } else { ": " };
            let expected = format!(
                "not ready: the engine at redis://cache:6379 has not been reached yet{colon}{expected}\n"
            );
            assert!(answer.contains(&expected), "{answer}");
        }
    }

    #[tokio::test]
    async fn metrics_include_the_engine_if_there_is_one() {
        let alone = get("/metrics", None).await;
        assert!(!alone.contains("engine"), "{alone}");
        assert!(alone.contains("\nswitchboard_joins_total 0\n"), "{alone}");
        let text = get("/metrics", Some(status())).await;
        for line in [
            "# HELP switchboard_engine_up Whether the engine answers: 1 or 0.",
            "# TYPE switchboard_engine_up gauge",
            "switchboard_engine_up 1",
            "switchboard_engine_down_seconds 0",
            "switchboard_engine_lag_seconds 0.0015",
            "switchboard_engine_queue 5",
            "switchboard_engine_nodes 2",
            "switchboard_engine_nodes_lapsed 1",
            "switchboard_engine_nodes_other_format 1",
            "switchboard_engine_rooms 3",
            "switchboard_engine_members 7",
            "# TYPE switchboard_engine_unavailable_total counter",
            "switchboard_engine_unavailable_total 11",
            "switchboard_engine_messages_discarded_total 6",
            "switchboard_engine_reconnects_total 4",
            "switchboard_engine_lapses_total 1",
            "switchboard_joins_total 0",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in {text}"
            );
        }
        assert!(!text.contains("WHISPERED"), "{text}");
        let text = get("/metrics", Some(down_for(7, "gone"))).await;
        assert!(text.contains("\nswitchboard_engine_up 0\n"), "{text}");
        assert!(text.contains("\nswitchboard_engine_down_seconds 7\n"));
    }
}
