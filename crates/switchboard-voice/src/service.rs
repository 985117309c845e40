//! The voice service of one node: checks, authenticates and dispatches the requests of `gostream`, the voice dialect.

use std::{net::IpAddr, sync::Arc};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use switchboard_core::{Limits, SpaceName, error_chain};
use switchboard_transport::{ConnectionAbort, Counters, Heartbeat, RefusalCount, RefusalCounts};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::name_of,
    answer::{VoiceError, VoiceResult, json},
    audio_threads::AudioThreads,
    config::{Gostream, VoiceConfig, VoiceIdentity},
    endpoint::VoiceEndpoint,
    host::{AdmittedRequest, VoiceContext, VoiceHost},
    id::User,
    identity::{Caller, IdentityProvider},
    keys::ServerKey,
    metrics::VoiceMetrics,
    parameters::RequestParameters,
    signaling::RoomKey,
    state::VoiceState,
};

/// Request headers of the protocol that CORS must allow.
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static("PKey,CSRFToken");

/// Response header of nginx that turns off buffering in a reverse proxy.
pub(crate) const PROXY_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
pub(crate) const NOT_BUFFERED: HeaderValue = HeaderValue::from_static("no");

/// Response to a source that sends audio as a request body, when the server shuts down.
pub(crate) const SERVER_STOPS: &str = "The server stops.\n";

/// State and services that all voice requests share.
#[derive(Debug)]
pub(crate) struct VoiceService {
    pub(crate) identity: IdentityProvider,
    pub(crate) server_key: ServerKey,
    pub(crate) state: Arc<VoiceState>,
    pub(crate) audio_threads: Arc<AudioThreads>,
    pub(crate) host: Arc<dyn VoiceHost>,
    pub(crate) config: Arc<VoiceConfig>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) metrics: VoiceMetrics,
    /// The response to `/voice/mode`, JSON.
    pub(crate) mode: String,
    /// Cancelled when the server shuts down.
    pub(crate) drain: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// The value of `Access-Control-Allow-Origin`.
    origin: HeaderValue,
    /// Rejected requests since the last log line of each address.
    rejected: RefusalCounts,
}

impl VoiceService {
    /// Returns `None` if voice is off or its configuration is invalid.
    pub(crate) fn new(context: VoiceContext) -> Option<Arc<Self>> {
        let identity = IdentityProvider::new(&context.config.gostream)
            .inspect_err(|error| {
                tracing::error!(
                    error = error_chain(error),
                    "voice disabled: invalid configuration"
                );
            })
            .ok()??;
        let late_seconds = context.metrics.mixer_late_seconds.clone();
        let audio_threads = Arc::new(AudioThreads::new(context.tasks.clone(), late_seconds));
        Some(Self::with_identity(identity, audio_threads, context))
    }

    /// Creates a service with the same configuration, without calls, rooms or login challenges.
    pub(crate) fn with_fresh_state(&self) -> Arc<Self> {
        let identity = self.identity.with_fresh_state(&self.config.gostream);
        let context = VoiceContext {
            host: self.host.clone(),
            config: self.config.clone(),
            limits: self.limits.clone(),
            heartbeat: self.heartbeat,
            metrics: self.metrics.clone(),
            drain: self.drain.clone(),
            tasks: self.tasks.clone(),
        };
        Self::with_identity(identity, self.audio_threads.clone(), context)
    }

    fn with_identity(
        identity: IdentityProvider,
        audio_threads: Arc<AudioThreads>,
        context: VoiceContext,
    ) -> Arc<Self> {
        let gostream = &context.config.gostream;
        Arc::new(Self {
            state: VoiceState::new(&context, identity.users()),
            audio_threads,
            identity,
            server_key: ServerKey::generate(),
            mode: mode(gostream),
            origin: HeaderValue::from_str(&gostream.origin())
                .unwrap_or(HeaderValue::from_static("null")),
            rejected: RefusalCounts::default(),
            host: context.host,
            config: context.config,
            limits: context.limits,
            heartbeat: context.heartbeat,
            metrics: context.metrics,
            drain: context.drain,
            tasks: context.tasks,
        })
    }

    /// Identifies the caller as [`IdentityProvider::identify`] does, and refuses a banned one.
    pub(crate) async fn identify(&self, params: &RequestParameters) -> Result<Caller, VoiceError> {
        let caller = self.identity.identify(params).await?;
        self.refuse_banned(caller)
    }

    /// Identifies the caller as [`IdentityProvider::authenticate`] does, and refuses a banned one.
    pub(crate) async fn authenticate(
        &self,
        params: &RequestParameters,
    ) -> Result<Caller, VoiceError> {
        let caller = self.identity.authenticate(params).await?;
        self.refuse_banned(caller)
    }

    /// Identifies the caller as [`IdentityProvider::identify_listener`] does, and refuses a banned one.
    pub(crate) async fn identify_listener(
        &self,
        params: &RequestParameters,
    ) -> Result<Caller, VoiceError> {
        let caller = self.identity.identify_listener(params).await?;
        self.refuse_banned(caller)
    }

    fn refuse_banned(&self, caller: Caller) -> Result<Caller, VoiceError> {
        match self.host.check_user(&caller.user) {
            Ok(()) => Ok(caller),
            Err(reason) => Err(VoiceError::new(StatusCode::FORBIDDEN, &reason.0)),
        }
    }

    /// Checks the policies of a room that a user wants to enter, and asks the host program, which embeds this library.
    /// Returns the max number of its members, 0 for no limit.
    pub(crate) async fn check_entry(
        &self,
        user: &User,
        room: &RoomKey,
    ) -> Result<usize, VoiceError> {
        let name = name_of(room);
        let is_member = self
            .state
            .with(|state, _| state.rooms.has_member(room, user));
        let members_max = self.host.check_room_policy(user, &name, is_member);
        let denied = |text: Arc<str>| VoiceError::new(StatusCode::FORBIDDEN, &text);
        let members_max = members_max.map_err(denied)?;
        let Some(check) = self.host.check_join(user, name) else {
            return Ok(members_max);
        };
        let checked = check.await.map_err(|text| match text {
            Some(text) => denied(text),
            None => VoiceError::forbidden("You may not enter this room."),
        });
        checked.map(|()| members_max)
    }
}

/// Response to `/voice/mode`: tells the voice page whether users are identified by their keys or by accounts of a
/// website.
fn mode(gostream: &Gostream) -> String {
    let is_site = gostream.identity == VoiceIdentity::Site;
    let identity = if is_site { "site" } else { "keys" };
    let site = is_site.then(|| gostream.origin());
    serde_json::json!({ "identity": identity, "site": site }).to_string()
}

impl VoiceService {
    pub(crate) async fn serve(
        self: Arc<Self>,
        endpoint: VoiceEndpoint,
        request: Request,
    ) -> Response {
        let (parts, body) = request.into_parts();
        let client = self.host.client_address(&parts);
        let answer = self
            .respond(endpoint, Request::from_parts(parts, body))
            .await;
        self.finish_response(endpoint, client, answer)
    }

    /// Counts an error and logs it, at most once a minute for each address. Adds the headers that every voice response
    /// has.
    pub(crate) fn finish_response(
        &self,
        endpoint: VoiceEndpoint,
        client: Option<IpAddr>,
        answer: VoiceResult,
    ) -> Response {
        let mut response = answer.unwrap_or_else(|refusal| {
            Counters::add(&self.host.counters().refused_total, 1);
            let response = refusal.into_response();
            if let Some(RefusalCount { client, count }) = self.rejected.add(client) {
                let status = response.status().as_u16();
                tracing::info!(%client, ?endpoint, status, count, "voice request rejected");
            }
            response
        });
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        response
    }

    /// Admits a request by the same rules as a connection. Voice exists in the default space (namespace of rooms) only.
    pub(crate) async fn admit(&self, parts: &Parts) -> Result<AdmittedRequest, VoiceError> {
        let admitted = self.host.admit(parts).await?;
        if admitted.space != SpaceName::default() {
            return Err(VoiceError::forbidden(
                "Voice is not available in your space.",
            ));
        }
        Ok(admitted)
    }

    /// The response to a request that is answered without reading its body: CORS preflight, wrong method, or shutdown.
    /// `None` for other requests.
    pub(crate) fn answer_without_body(
        &self,
        endpoint: VoiceEndpoint,
        method: &Method,
    ) -> Option<VoiceResult> {
        let methods = endpoint.methods();
        if method == Method::OPTIONS {
            let allowed = [(header::ACCESS_CONTROL_ALLOW_METHODS, join(methods))];
            return Some(Ok((allowed, ()).into_response()));
        }
        if !methods.contains(method) {
            let allow = [(header::ALLOW, join(methods))];
            let message = format!("This path accepts {}.\n", join(methods));
            let refusal = (StatusCode::METHOD_NOT_ALLOWED, allow, message);
            return Some(Err(VoiceError::from(refusal.into_response())));
        }
        self.drain.is_cancelled().then(|| {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Err(VoiceError::new(
                status,
                "The server is shutting down. Retry soon.",
            ))
        })
    }

    async fn respond(self: &Arc<Self>, endpoint: VoiceEndpoint, request: Request) -> VoiceResult {
        if let Some(answer) = self.answer_without_body(endpoint, request.method()) {
            return answer;
        }
        let (parts, body) = request.into_parts();
        let admitted = self.admit(&parts).await?;
        self.dispatch_within_rate(endpoint, admitted, parts, body)
            .await
    }

    /// Reads the parameters of an admitted request and calls its handler.
    pub(crate) async fn dispatch(
        self: &Arc<Self>,
        endpoint: VoiceEndpoint,
        admitted: AdmittedRequest,
        parts: Parts,
        body: Body,
    ) -> VoiceResult {
        let abort_handle = parts
            .extensions
            .get::<ConnectionAbort>()
            .cloned()
            .unwrap_or_default();
        // The body of an upload is audio, so its parameters are in the head only.
        let (params, audio) = if let VoiceEndpoint::Publish(_) = endpoint {
            (RequestParameters::from_head(&parts), body)
        } else {
            (RequestParameters::read(&parts, body).await?, Body::empty())
        };
        params.reject_misspelled(endpoint.parameters())?;
        let grants = admitted.access.grants.clone();
        self.check_grants(endpoint, &grants, &params)?;
        let is_head = parts.method == Method::HEAD;
        match endpoint {
            VoiceEndpoint::Messages if is_head => self.messages_head(&params).await,
            VoiceEndpoint::Subscribe(target) if is_head => {
                self.subscribe_head(target, &params).await
            }
            VoiceEndpoint::Messages => self.messages(&params, abort_handle, admitted).await,
            VoiceEndpoint::Ticket => self.ticket(&params),
            VoiceEndpoint::TokenCheck => self.token_check(&params).await,
            VoiceEndpoint::KeyExchange => self.key_exchange(&params),
            VoiceEndpoint::NewCall => self.new_call(&params, admitted.address).await,
            VoiceEndpoint::Answer => self.answer(&params).await,
            VoiceEndpoint::Answer2 => self.answer2(&params).await,
            VoiceEndpoint::Accept => self.accept(&params).await,
            VoiceEndpoint::Reject => self.reject(&params).await,
            VoiceEndpoint::HangUp => self.hang_up(&params).await,
            VoiceEndpoint::ListRooms => self.list_rooms(&grants),
            VoiceEndpoint::ListMembers => self.list_members(&grants, &params),
            VoiceEndpoint::Mode => Ok(json(self.mode.clone())),
            VoiceEndpoint::DisplayName => self.set_display_name(&params).await,
            VoiceEndpoint::Publish(target) => {
                self.publish(target, &params, parts, audio, admitted).await
            }
            VoiceEndpoint::Subscribe(target) => {
                self.subscribe(target, &params, abort_handle, admitted)
                    .await
            }
        }
    }
}

fn join(methods: &[Method]) -> String {
    methods
        .iter()
        .map(Method::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}
