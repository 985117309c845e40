//! The routes of the admin API.

use axum::{
    Json, Router,
    extract::{OriginalUri, RawPathParams, Request, State, rejection::RawPathParamsRejection},
    http::{HeaderValue, header, request::Parts},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{MethodRouter, delete, get, post},
};
use serde::Serialize;

use crate::{
    caller::AdminCaller,
    error::{ApiError, ApiErrorCode},
    extract::{body, query},
    openapi,
    service::AdminService,
};

/// The path of the API.
pub const PATH: &str = "/admin/v1";

/// Adds the routes of the admin API.
pub fn routes<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    service: &AdminService,
) -> Router<S> {
    let api = Router::new()
        .route("/openapi.json", only(get(openapi::answer_description)))
        .route("/nodes", only(get(nodes)))
        .route("/nodes/{id}/drain", only(post(drain).delete(undrain)))
        .route("/rooms", only(get(rooms)))
        .route("/room", only(get(room)))
        .route("/room/close", only(post(close)))
        .route("/room/lock", only(post(lock)))
        .route("/room/message", only(post(message)))
        .route("/sessions", only(get(sessions)))
        .route("/sessions/{id}", only(get(session)))
        .route("/voice", only(get(voice)))
        .route("/kick", only(post(kick)))
        .route("/bans", only(get(bans).post(ban)))
        .route("/bans/{id}", only(delete(unban)))
        .route("/events", only(get(events)))
        .route("/settings", only(get(settings)))
        .fallback(not_found)
        .layer(from_fn(add_headers))
        .with_state(service.clone());
    router.nest_service(PATH, api)
}

/// The methods of a path; other methods get 405.
fn only<S: Clone + Send + Sync + 'static>(methods: MethodRouter<S>) -> MethodRouter<S> {
    methods.fallback(async || {
        ApiError::new(
            ApiErrorCode::MethodNotAllowed,
            "this path has no such method",
        )
    })
}

async fn not_found(OriginalUri(uri): OriginalUri) -> ApiError {
    let path: String = uri.path().chars().take(128).collect();
    ApiError::not_found(format!("there is no path {path:?}"))
}

/// Adds the headers of every answer: it has data of users, so it is never stored, and is not for pages of other sites.
async fn add_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

impl AdminService {
    /// Authenticates the caller. It comes first, so that the answer to a caller without a token tells nothing.
    async fn admit(
        &self,
        request: Request,
    ) -> Result<(AdminCaller, Parts, axum::body::Body), ApiError> {
        let (parts, body) = request.into_parts();
        let caller = self.context.host.authenticate(&parts).await?;
        Ok((caller, parts, body))
    }
}

/// The answer of a call as JSON.
fn json<T: Serialize>(answer: T) -> Response {
    Json(answer).into_response()
}

type ApiAnswer = Result<Response, ApiError>;

type PathParams = Result<RawPathParams, RawPathParamsRejection>;

/// The parameter `id` of the path.
fn id(params: &PathParams) -> Result<String, ApiError> {
    let malformed = |_| ApiError::bad_request("the path is not UTF-8");
    let params = params.as_ref().map_err(malformed)?;
    let found = params.iter().find(|(name, _)| *name == "id");
    let id = found.map(|(_, id)| id.to_owned());
    id.ok_or_else(|| ApiError::bad_request("the path has no id"))
}

macro_rules! reads {
    ($($name:ident),+) => {
        $(async fn $name(State(service): State<AdminService>, request: Request) -> ApiAnswer {
            let (caller, parts, _) = service.admit(request).await?;
            Ok(json(service.$name(&caller, query(&parts)?).await?))
        })+
    };
}

macro_rules! orders {
    ($($name:ident),+) => {
        $(async fn $name(State(service): State<AdminService>, request: Request) -> ApiAnswer {
            let (caller, parts, content) = service.admit(request).await?;
            Ok(json(service.$name(&caller, body(&parts, content).await?).await?))
        })+
    };
}

reads!(rooms, room, sessions);
orders!(kick, ban, close, lock, message);

async fn nodes(State(service): State<AdminService>, request: Request) -> ApiAnswer {
    let (caller, ..) = service.admit(request).await?;
    Ok(json(service.nodes(&caller).await?))
}

async fn voice(State(service): State<AdminService>, request: Request) -> ApiAnswer {
    let (caller, ..) = service.admit(request).await?;
    Ok(json(service.voice(&caller).await?))
}

async fn session(
    State(service): State<AdminService>,
    params: PathParams,
    request: Request,
) -> ApiAnswer {
    let (caller, ..) = service.admit(request).await?;
    Ok(json(service.session(&caller, id(&params)?).await?))
}

async fn drain(
    State(service): State<AdminService>,
    params: PathParams,
    request: Request,
) -> ApiAnswer {
    let (caller, ..) = service.admit(request).await?;
    Ok(json(service.drain(&caller, &id(&params)?, true).await?))
}

async fn undrain(
    State(service): State<AdminService>,
    params: PathParams,
    request: Request,
) -> ApiAnswer {
    let (caller, ..) = service.admit(request).await?;
    Ok(json(service.drain(&caller, &id(&params)?, false).await?))
}

async fn bans(State(service): State<AdminService>, request: Request) -> ApiAnswer {
    let (caller, ..) = service.admit(request).await?;
    Ok(json(service.bans(&caller)?))
}

async fn unban(
    State(service): State<AdminService>,
    params: PathParams,
    request: Request,
) -> ApiAnswer {
    let (caller, ..) = service.admit(request).await?;
    Ok(json(service.unban(&caller, id(&params)?).await?))
}

async fn events(State(service): State<AdminService>, request: Request) -> ApiAnswer {
    let (caller, parts, _) = service.admit(request).await?;
    service.stream(&caller, &parts.headers)
}

async fn settings(State(service): State<AdminService>, request: Request) -> ApiAnswer {
    let (caller, ..) = service.admit(request).await?;
    Ok(json(service.settings(&caller)?))
}
