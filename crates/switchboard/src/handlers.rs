//! HTTP handlers of the dialects' endpoints: a request begins a session, or gets a response.

use std::{borrow::Cow, sync::Arc};

use axum::{
    Router,
    extract::{FromRequestParts, RawPathParams, Request, State},
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use futures_util::future::{Either, FutureExt as _, OptionFuture};
use switchboard_core::{DialectName, JoiningClient, Power, RoomId, error_chain};
use switchboard_dialects::{
    Accepts, CorsPolicy, Dialect, DialectTable, Handshake, HttpAnswer, HttpReply, Query,
    SettingValue,
};
use switchboard_session::{ClientSession, CredentialFrames};
use switchboard_transport::{
    Counters, Permit, RefusalReason, Upgrade, log_text, upgrade, websocket,
};

use crate::{
    access::{
        Admission, FrameClientGuard, OwnPlaces,
        control::{AccessError, require},
        proven_name,
    },
    app_state::AppState,
    cors,
    events::{ClientInfo, ServerEvent},
    route_table::{Route, RouteTable, main_endpoint},
};

/// The prefix of a WebSocket subprotocol that names a dialect.
const SUBPROTOCOL: &str = "switchboard.";

/// The dialect's name in logs and events until the first frame of the client selects a dialect.
const UNDETECTED: &str = "undetected";

/// The answer to a connection without a credential if too many of its address wait for their first frame.
const TOO_MANY_UNAUTHENTICATED: &str = "Too many connections of your address have not sent an access token yet (access.unauthenticated_per_address).\n";

/// Adds the routes of the dialects to a router. On a listener of one dialect, `sole_dialect` is that dialect, and clients
/// can select no other.
pub(crate) fn routes(
    router: Router<Arc<AppState>>,
    routes: &RouteTable,
    sole_dialect: Option<DialectName>,
) -> Router<Arc<AppState>> {
    for conflict in routes.conflicts() {
        let (dialect, error) = (conflict.dialect, error_chain(&conflict.error));
        tracing::error!(dialect, error, "route conflict");
    }
    routes.iter().fold(router, |router, route| {
        let shared = Arc::new((route.clone(), sole_dialect));
        let handler = move |State(app): State<Arc<AppState>>, request: Request| async move {
            let (route, sole_dialect) = &*shared;
            handle_request(&app, route, *sole_dialect, request).await
        };
        let method_router = match (route.accepts, route.cors) {
            (Accepts::Sockets | Accepts::Nothing, _) => any(handler),
            (Accepts::Requests | Accepts::Both, CorsPolicy::SameOrigin) => get(handler),
            // axum would answer other methods with a 405 without CORS headers. The fallback lets the handler answer
            // them, so that pages of other origins can read the 405.
            (Accepts::Requests | Accepts::Both, CorsPolicy::AnyOrigin | CorsPolicy::Listed(_)) => {
                get(handler.clone()).fallback(handler)
            }
        };
        router.route(&route.path, method_router)
    })
}

async fn handle_request(
    app: &AppState,
    route: &Route,
    sole_dialect: Option<DialectName>,
    request: Request,
) -> Response {
    let (mut parts, _body) = request.into_parts();
    let Some(origins) = app.cors_origins(route) else {
        return route_request(app, route, sole_dialect, &mut parts).await;
    };
    let mut response = match cors::preflight(&parts.method, &parts.headers) {
        Some(response) => response,
        None => route_request(app, route, sole_dialect, &mut parts).await,
    };
    cors::allow(response.headers_mut(), &parts.headers, &origins);
    response
}

async fn route_request(
    app: &AppState,
    route: &Route,
    sole_dialect: Option<DialectName>,
    parts: &mut Parts,
) -> Response {
    let wants_socket = match route.accepts {
        Accepts::Sockets => true,
        Accepts::Requests => false,
        Accepts::Both => upgrade::is_requested(&parts.headers),
        Accepts::Nothing => return respond(HttpReply::not_found()),
    };
    let result = match (wants_socket, route.only()) {
        (false, Some(dialect)) => answer_request(app, dialect, route, parts).await,
        _ => begin_session(app, route, sole_dialect, parts).await,
    };
    result.unwrap_or_else(|error| *error)
}

/// The 405 response to a request that is neither GET nor HEAD (RFC 9110, section 15.5.6); `None` for GET and HEAD.
pub(crate) fn reject_method(method: &Method) -> Option<Box<Response>> {
    let allowed = HeaderValue::from_static("GET,HEAD,OPTIONS");
    let is_allowed = [Method::GET, Method::HEAD].contains(method);
    let rejected = || error_response((StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allowed)]));
    (!is_allowed).then(rejected)
}

/// Accepts a WebSocket and begins its session. If the route has several dialects, the first frame selects one.
async fn begin_session(
    app: &AppState,
    route: &Route,
    sole_dialect: Option<DialectName>,
    parts: &mut Parts,
) -> Result<Response, Box<Response>> {
    let upgrade = Upgrade::from_parts(parts).map_err(|error| {
        app.log_refused(parts, RefusalReason::Handshake);
        error_response(error)
    })?;
    let mut handshake = read_handshake(app, route, parts).await?;
    let chosen = choose(upgrade, &handshake, (route, sole_dialect));
    let dialect = chosen.as_ref().ok().and_then(|(_, dialect)| *dialect);
    let is_elsewhere = |dialect: &&dyn Dialect| !route.has_dialect(dialect.traits().name);
    if let Some(dialect) = dialect.filter(is_elsewhere) {
        // The endpoint and the path parameters are those of other dialects.
        handshake.endpoint = main_endpoint(dialect);
        handshake.params = Query::default();
    }
    let places = OwnPlaces::of_socket(dialect, &handshake);
    let (permit, admission) = admit_request(app, parts, places).await?;
    handshake.identity = admission.identity();
    let frames = app.expect_credential(parts, &handshake, &admission)?;
    let (upgrade, dialect) =
        chosen.inspect_err(|_| app.log_refused(parts, RefusalReason::Dialect))?;
    if app.uses_webhook(dialect, route) {
        app.charge(parts)?;
    }
    let name = dialect.map_or(UNDETECTED, |dialect| dialect.traits().name);
    let client = ClientInfo {
        session: handshake.peer,
        address: app.client_address(parts),
        dialect: name,
        identity: proven_name(&handshake.identity),
        context: admission.context.clone(),
    };
    let events = app.shards.events().clone();
    let contexts = app.shards.contexts();
    let access = admission.session_access();
    let context = contexts.keep(handshake.peer, admission.context);
    let kept = (context.is_some() || frames.is_some()).then_some((context, frames));
    let opened = ClientSession::open(dialect, handshake, access);
    let (response, connecting) = upgrade.accept(app.limits().frame_bytes);
    let context = app.context().clone();
    let serving = async move {
        let socket = connecting.socket().await?;
        // Logged only now: a client that is lost before the upgrade is complete is never logged as disconnected.
        log_connected(&client);
        events.send(|| Some(ServerEvent::Connected(client)));
        let serving = websocket::serve(socket, opened, context, permit);
        Some(match kept {
            None => Either::Left(serving),
            Some(kept) => Either::Right(Box::pin(serving.map(|()| drop(kept)))),
        })
    };
    // The connection gets a task of its own, because this one keeps its memory for the handshake. Its first part is boxed,
    // so that its memory is free when the socket is open.
    let serving = Box::pin(serving.map(OptionFuture::from)).flatten();
    app.tasks().spawn(serving.map(drop));
    Ok(response)
}

fn log_connected(client: &ClientInfo) {
    let address = client.address.map(tracing::field::display);
    let user = client.identity.as_deref().map(log_text);
    let (peer, dialect) = (client.session, client.dialect);
    tracing::info!(client = address, %peer, dialect, user, "connected");
}

/// Answers an HTTP request that does not ask for a WebSocket.
async fn answer_request(
    app: &AppState,
    dialect: &'static dyn Dialect,
    route: &Route,
    parts: &mut Parts,
) -> Result<Response, Box<Response>> {
    reject_method(&parts.method).map_or(Ok(()), Err)?;
    let mut handshake = read_handshake(app, route, parts).await?;
    let places = OwnPlaces::of_request(dialect, &handshake);
    let (_permit, admission) = admit_request(app, parts, places).await?;
    handshake.identity = admission.identity();
    let reply = match dialect.respond(route.endpoint, &handshake) {
        HttpAnswer::Ready(reply) => reply,
        HttpAnswer::Members {
            room: name,
            scope,
            reply,
            refused,
        } => {
            app.charge(parts)?;
            require(Power::List, &admission.grants(), &name)?;
            let lister = JoiningClient {
                dialect: dialect.traits().name,
                reveals_members: true,
                identity: &handshake.identity,
                policy: admission.room_policy(),
                is_grouped: false,
                is_returning: false,
            };
            if app.shards.policies().check_list(&name, &lister).is_err() {
                return Ok(respond(refused));
            }
            let space = admission.space();
            let room = RoomId { space, name, scope };
            let reply = reply(&app.shards.members(&room));
            app.charge_for_length(parts, reply.body.len());
            reply
        }
    };
    Ok(respond(reply))
}

fn respond(reply: HttpReply) -> Response {
    let mut response = reply.body.into_response();
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static(reply.content_type);
    headers.insert(header::CONTENT_TYPE, content_type);
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// The handshake data of a request, whose client is not known yet.
async fn read_handshake(
    app: &AppState,
    route: &Route,
    parts: &mut Parts,
) -> Result<Handshake, Box<Response>> {
    let params = RawPathParams::from_request_parts(parts, app).await;
    let params = params.map_err(error_response)?;
    let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let owned = |(key, value): (Cow<'_, str>, Cow<'_, str>)| (key.into_owned(), value.into_owned());
    let params = params
        .iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    Ok(Handshake {
        endpoint: route.endpoint,
        params: params.collect(),
        query: query.map(owned).collect(),
        ..app.handshake()
    })
}

/// Runs the admission checks on a request.
async fn admit_request(
    app: &AppState,
    parts: &Parts,
    places: OwnPlaces<'_>,
) -> Result<(Permit, Admission), Box<Response>> {
    app.admit_with(parts, places).await.map_err(|response| {
        Counters::add(&app.counters().connections_refused_total, 1);
        Box::new(response)
    })
}

impl AppState {
    /// Expects a credential in the first frame of a connection, if it may have one. The returned guard is kept while the
    /// connection lasts.
    fn expect_credential(
        &self,
        parts: &Parts,
        handshake: &Handshake,
        admission: &Admission,
    ) -> Result<Option<FrameClientGuard>, Box<Response>> {
        let is_required = match admission.frames {
            CredentialFrames::None | CredentialFrames::Renewals => return Ok(None),
            CredentialFrames::FirstFrame => false,
            CredentialFrames::RequiredFirstFrame => true,
        };
        let credentials = self
            .access
            .get()
            .credentials(parts, self.client_address(parts));
        let credentials = credentials.map_err(|error| error_response(AccessError::from(error)))?;
        let expected = self.frames.expect(handshake.peer, credentials, is_required);
        let guard = expected.map_err(|_| {
            Counters::add(&self.counters().connections_refused_total, 1);
            self.log_refused(parts, RefusalReason::UnauthenticatedLimit);
            error_response((StatusCode::TOO_MANY_REQUESTS, TOO_MANY_UNAUTHENTICATED))
        })?;
        Ok(Some(guard))
    }

    /// Whether a webhook is set for this dialect or, before the dialect is known, for one of the route's dialects.
    fn uses_webhook(&self, dialect: Option<&'static dyn Dialect>, route: &Route) -> bool {
        let has_webhook = |dialect: &&dyn Dialect| {
            let name = dialect.traits().name;
            let mut values = dialect
                .settings()
                .iter()
                .map(|setting| self.config.dialects.get(name, setting));
            values.any(|value| matches!(value, SettingValue::Url(url) if !url.is_empty()))
        };
        match dialect {
            Some(dialect) => has_webhook(&dialect),
            None => route
                .dialects
                .iter()
                .any(|dialect| has_webhook(&&**dialect)),
        }
    }
}

fn error_response(response: impl IntoResponse) -> Box<Response> {
    Box::new(response.into_response())
}

type ChosenDialect = (Upgrade, Option<&'static dyn Dialect>);

/// Selects the dialect that the client requests by `?dialect=` or subprotocol, else the dialect of the route. Also
/// selects one of the offered subprotocols: the one that names the dialect, else the first one, like the library `ws`
/// of Node.js. A browser closes the connection if it offers subprotocols and the server selects none.
fn choose(
    upgrade: Upgrade,
    handshake: &Handshake,
    (route, sole_dialect): (&Route, Option<DialectName>),
) -> Result<ChosenDialect, Box<Response>> {
    let is_served = |name: &str| match sole_dialect {
        Some(sole_dialect) => sole_dialect == name,
        None => handshake.settings.is_enabled(name),
    };
    let table = handshake.settings.table();
    let find = |name: &str| table.find(name).filter(|_| is_served(name));
    let unknown = |name: &str| error_response(unknown_dialect(name, table, is_served));
    let named = |name: &str| find(name).ok_or_else(|| unknown(name));
    let offers = upgrade.offers().iter();
    let offered: Vec<_> = offers
        .filter_map(|offer| offer.strip_prefix(SUBPROTOCOL))
        .collect();
    let wanted = match handshake.query.get("dialect") {
        Some(name) => Some(named(name)?),
        None => offered.iter().find_map(|name| find(name)),
    };
    let Some(dialect) = wanted else {
        return match offered.first() {
            Some(name) => Err(unknown(name)),
            None => Ok((upgrade.choose_first(), route.only())),
        };
    };
    let name = dialect.traits().name;
    if offered.contains(&name) {
        let upgrade = upgrade.choose(&format!("{SUBPROTOCOL}{name}"));
        return Ok((upgrade, Some(dialect)));
    }
    if offered.is_empty() {
        return Ok((upgrade.choose_first(), Some(dialect)));
    }
    Err(error_response((
        StatusCode::BAD_REQUEST,
        "?dialect= and the offered subprotocols name different dialects.\n",
    )))
}

fn unknown_dialect(
    name: &str,
    table: DialectTable,
    is_served: impl Fn(&str) -> bool,
) -> (StatusCode, String) {
    let names = table.iter().map(|dialect| dialect.traits().name);
    let names: Vec<_> = names.filter(|name| is_served(name)).collect();
    let name: String = name.chars().take(32).collect();
    (
        StatusCode::BAD_REQUEST,
        format!(
            "Unknown or disabled dialect {name:?}. Available: {}.\n",
            names.join(", ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::HeaderMap};
    use http_body_util::BodyExt as _;
    use switchboard_core::{DialectTraits, OfferPolicy, RoomName, RoomScope};
    use switchboard_dialects::{Content, Endpoint, Session, SessionOutput};
    use tower::ServiceExt as _;

    use super::*;
    use crate::{Builder, Denial};

    /// A dialect with HTTP endpoints only.
    #[derive(Debug)]
    struct Lobby;

    static LOBBY_TRAITS: DialectTraits = DialectTraits {
        name: "lobby",
        offer_policy: OfferPolicy::Unspecified,
        signals: false,
        messages: false,
        ..DialectTraits::DEFAULT
    };

    impl Dialect for Lobby {
        fn traits(&self) -> &'static DialectTraits {
            &LOBBY_TRAITS
        }

        fn paths(&self) -> &'static [&'static str] {
            &["/"]
        }

        fn endpoints(&self, base: &str) -> Vec<Endpoint> {
            vec![
                Endpoint::new(base, "/{key}/echo", "echo", Accepts::Requests),
                Endpoint::new(base, "/{key}/open", "open", Accepts::Requests)
                    .with_cors(CorsPolicy::AnyOrigin),
                Endpoint::new(base, "/{key}/old", "old", Accepts::Nothing)
                    .with_cors(CorsPolicy::AnyOrigin),
                Endpoint::new(base, "/{key}/count", "count", Accepts::Requests),
                Endpoint::new(base, "/any/{*path}", "any", Accepts::Both),
            ]
        }

        fn respond(&self, endpoint: &'static str, handshake: &Handshake) -> HttpAnswer {
            let key = handshake.params.get("key").unwrap_or_default();
            if endpoint == "count" {
                let room = RoomName::parse(key, 0).expect("a name");
                return HttpAnswer::Members {
                    room,
                    scope: RoomScope::Shared,
                    reply: |members| reply(members.len().to_string()),
                    refused: HttpReply::not_found(),
                };
            }
            let version = handshake.query.get("version").unwrap_or_default();
            let identity = &handshake.identity;
            HttpAnswer::Ready(reply(format!("{endpoint} {key} {version} {identity:?}")))
        }

        fn open(&self, _handshake: &Handshake, _output: &mut SessionOutput) -> Box<dyn Session> {
            unreachable!("no test opens a session")
        }

        fn parse_content<'a>(&self, _frame: &'a str) -> Option<Content<'a>> {
            None
        }
    }

    fn reply(body: String) -> HttpReply {
        HttpReply {
            // A status that the server itself never sends.
            status: 203,
            content_type: "text/html",
            body,
        }
    }

    fn router(builder: Builder) -> Router {
        let table = RouteTable::new(&[(&Lobby, vec!["/".to_owned()])], |_| false);
        let server = builder.build().expect("valid settings");
        routes(Router::new(), &table, None).with_state(server.state)
    }

    async fn send(router: &Router, method: Method, uri: &str) -> (StatusCode, HeaderMap, String) {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("origin", "https://a.example");
        let request = request.body(Body::empty()).expect("a request");
        let response = router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body = String::from_utf8(body.to_vec()).expect("text");
        (parts.status, parts.headers, body)
    }

    #[tokio::test]
    async fn http_request_is_answered_by_its_endpoint() {
        let router = router(Builder::default());
        let uri = "/a%20b/echo?version=1%2B";
        let (status, headers, body) = send(&router, Method::GET, uri).await;
        assert_eq!((status.as_u16(), &*body), (203, "echo a b 1+ Claimed"));
        assert_eq!(headers["content-type"], "text/html");
        assert!(!headers.contains_key("access-control-allow-origin"));
        let (_, _, count) = send(&router, Method::GET, "/r/count").await;
        assert_eq!(count, "0");
        let (status, _, body) = send(&router, Method::HEAD, uri).await;
        assert_eq!((status.as_u16(), &*body), (203, ""));
        let (status, ..) = send(&router, Method::POST, uri).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        let (status, ..) = send(&router, Method::GET, "/%ff/echo").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn every_response_of_an_any_origin_endpoint_has_cors_headers() {
        let deny = |_: crate::ConnectRequest| async { Err(Denial::default()) };
        let closed = router(Builder::default().on_connect(deny));
        let open = router(Builder::default());
        for (router, method, uri, expected) in [
            (&open, Method::GET, "/k/open", 203),
            (&open, Method::OPTIONS, "/k/open", 204),
            (&open, Method::POST, "/k/open", 405),
            (&open, Method::POST, "/k/old", 404),
            (&open, Method::OPTIONS, "/k/old", 204),
            (&closed, Method::GET, "/k/open", 403),
        ] {
            let (status, headers, _) = send(router, method.clone(), uri).await;
            assert_eq!(status, expected, "{method} {uri}");
            let origin = &headers["access-control-allow-origin"];
            assert_eq!(origin, "https://a.example", "{method} {uri}");
            assert!(!headers.contains_key("access-control-allow-credentials"));
            let mut vary = headers.get_all("vary").iter();
            assert!(vary.any(|vary| vary == "origin"), "{method} {uri}");
        }
        let (status, headers, _) = send(&open, Method::OPTIONS, "/k/echo").await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert!(!headers.contains_key("access-control-allow-origin"));
    }

    #[tokio::test]
    async fn denied_client_gets_403_from_an_http_endpoint() {
        let hook = |request: crate::ConnectRequest| async move {
            match request.uri.query() {
                Some("token=good") => Ok(Admission::as_identity("ada")),
                Some(_) | None => Err(Denial::default()),
            }
        };
        let router = router(Builder::default().on_connect(hook));
        let (status, ..) = send(&router, Method::GET, "/k/echo").await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let (_, _, body) = send(&router, Method::GET, "/k/echo?token=good").await;
        assert_eq!(body, "echo k  Proven(\"ada\")");
    }

    #[tokio::test]
    async fn upgrade_request_is_not_answered_as_an_http_request() {
        let router = router(Builder::default());
        let (_, _, body) = send(&router, Method::GET, "/any/x/y").await;
        assert!(body.starts_with("any "), "{body}");
        let request = Request::builder()
            .uri("/any/x/y")
            .header("connection", "upgrade")
            .header("upgrade", "WebSocket");
        let request = request.body(Body::empty()).expect("a request");
        let response = router.oneshot(request).await.expect("infallible");
        assert!(response.status().is_client_error(), "no socket to upgrade");
    }
}
