//! The routers of a server: of all dialects with voice, pages and probes, and of one dialect alone.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Extension, Router,
    extract::{ConnectInfo, State},
    response::Response,
    routing::any,
};
use switchboard_dialects::Dialect;
use switchboard_transport::{ConnectionLimit, Counters, RefusalReason};
use switchboard_voice::VoiceBackend;

use crate::{
    admin::Admin,
    app_state::{AppState, connection_limit_response},
    handlers, ice, probes, request_guard,
    route_table::RouteTable,
    web, web_root,
};

/// The router of all dialects, `/ice-servers`, the pages, the probes, the calls of other nodes, and voice unless it is off.
pub(crate) fn main_router(
    app: &Arc<AppState>,
    voice: Option<&VoiceBackend>,
    admin: &Admin,
) -> Router {
    let left_out = app.left_out;
    let mut router = Router::new();
    router = router.route(ice::PATH, any(ice::answer));
    router = handlers::routes(router, &app.config.routes(), None);
    if let Some(voice) = voice {
        router = voice.add_routes(router);
    }
    router = admin.add_node_routes(router);
    let router = match &app.config.server.web_root {
        Some(root) => web_root::serve_folder(router, root, &app.config.server.web_root_policy),
        None if left_out.page => router,
        None => web::serve_page(router),
    };
    // Added after the guard, which does not check probes.
    let router = probes::routes(request_guard::protect(router, app), |_| !left_out.probes);
    router.with_state(app.clone())
}

/// The router of one dialect, with `/ice-servers` and the probes on the paths that the dialect does not use.
pub(crate) fn dialect_router(app: &Arc<AppState>, dialect: &'static dyn Dialect) -> Router {
    let routes = standalone_routes(dialect);
    let router = handlers::routes(Router::new(), &routes, Some(dialect.traits().name));
    let is_free = |path: &str| routes.at(path).is_none();
    let has_probes = !app.left_out.probes;
    let router = match is_free(ice::PATH) {
        true => router.route(ice::PATH, any(ice::answer)),
        false => router,
    };
    let router = request_guard::protect(router, app);
    let router = probes::routes(router, |path| has_probes && is_free(path));
    router.with_state(app.clone())
}

/// The router of a connection beyond the limits, which is accepted for health probes only: it has the probes of
/// [`main_router`], or of [`dialect_router`] if a dialect is given.
pub(crate) fn reserve_router(app: &Arc<AppState>, dialect: Option<&'static dyn Dialect>) -> Router {
    let routes = dialect.map(standalone_routes);
    let is_free = |path: &str| {
        routes
            .as_ref()
            .is_none_or(|routes| routes.at(path).is_none())
    };
    let has_probes = !app.left_out.probes;
    let router = probes::routes(Router::new(), |path| has_probes && is_free(path));
    let router = router.fallback(over_limit);
    router.with_state(app.clone())
}

/// The routes of a listener for this dialect only.
fn standalone_routes(dialect: &'static dyn Dialect) -> RouteTable {
    let home = [(dialect, vec![dialect.standalone_path().to_owned()])];
    RouteTable::new(&home, |_| false)
}

/// Answers a request that is not a health probe, on a connection beyond the limits.
async fn over_limit(
    State(app): State<Arc<AppState>>,
    Extension(full): Extension<ConnectionLimit>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
) -> Response {
    Counters::add(&app.counters().connections_refused_total, 1);
    let reason = RefusalReason::Limit(full);
    app.refused.log(Some(client.ip()), reason);
    connection_limit_response(full)
}
