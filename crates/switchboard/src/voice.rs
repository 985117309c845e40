//! Voice calls and rooms for clients that speak only HTTP: the dialect `gostream`.
//!
//! A request is admitted like any connection, its parameters are read, its caller is authenticated
//! (`identity.rs`), and [`VoiceState`] (`state.rs`) updates its calls and rooms and sends the resulting
//! events. Audio bypasses [`VoiceState`]: it goes from a source to its mixer (`room_mixer.rs`), which runs on
//! threads of its own (`audio_threads.rs`), and from there to the bounded queues of the listeners.
//!
//! In a cluster, the elected voice leader serves all voice requests (`clustered.rs`). The other nodes
//! forward theirs to it (`forwarder.rs`).

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::any,
};
use rand::RngExt;
use switchboard_core::{Limits, PeerId, RoomId, SpaceName};
use switchboard_transport::{
    AddressRates, ConnectionAbort, Counters, Heartbeat, Permit, error_chain,
};
use switchboard_voice::{RoomKey, VoiceRoomId};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::{HostContext, JoinRequest},
    config::{Config, VoiceIdentity},
    server::Server,
    shards::Shards,
};

mod answer;
mod attachment;
mod audio;
mod audio_threads;
mod calls;
mod clustered;
mod connections;
mod cost;
mod display_names;
mod drain_on_drop;
mod forwarder;
mod identity;
mod keys;
mod parameters;
mod room_mixer;
mod rooms;
mod site;
mod source_decoder;
mod state;
mod streams;
mod upload;

use answer::{VoiceError, VoiceResult, json};
use attachment::AudioTarget;
use audio_threads::AudioThreads;
use clustered::ClusteredVoice;
use drain_on_drop::DrainOnDrop;
use identity::{Caller, IdentityProvider};
use keys::ServerKey;
use parameters::{ParameterName, RequestParameters};
use state::VoiceState;

pub(crate) use clustered::{ClusterContext, election_log};

pub use keys::{PublicKey, SecretKey};

/// Interval of the keep-alive comments on an idle event stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Non-standard request headers that CORS allows.
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static("PKey,CSRFToken");

/// Response header of nginx that turns off buffering in a reverse proxy.
const PROXY_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const NOT_BUFFERED: HeaderValue = HeaderValue::from_static("no");

/// Serves voice requests, locally or in a cluster.
#[derive(Clone, Debug)]
pub(crate) enum VoiceBackend {
    /// This node is the only one.
    Local(Arc<VoiceService>),
    /// One elected node of the cluster serves voice.
    Clustered(Arc<ClusteredVoice>),
}

impl VoiceBackend {
    /// Returns `None` if voice is off. Without `nodes`, this node serves all voice requests itself.
    pub(crate) fn new(
        config: &Arc<Config>,
        limits: &Arc<Limits>,
        shards: &Arc<Shards>,
        rates: &Arc<AddressRates>,
        drain: &CancellationToken,
        tasks: &TaskTracker,
        nodes: Option<ClusterContext>,
    ) -> Option<Self> {
        let voice = VoiceService::new(config, limits, shards, rates, drain, tasks)?;
        Some(match nodes {
            None => Self::Local(voice),
            Some(nodes) => Self::Clustered(ClusteredVoice::new(&voice, config.clone(), nodes)),
        })
    }

    /// Ends all streams and calls when the server shuts down.
    pub(crate) fn end(&self) {
        match self {
            Self::Local(voice) => voice.state.end(),
            Self::Clustered(shared) => shared.end(),
        }
    }

    async fn serve(self, server: &Server, endpoint: VoiceEndpoint, request: Request) -> Response {
        match self {
            Self::Local(voice) => voice.serve(server, endpoint, request).await,
            Self::Clustered(shared) => shared.serve(server, endpoint, request).await,
        }
    }
}

/// Response to the body of a source when the server shuts down.
const SERVER_STOPS: &str = "The server stops.\n";

/// State and services that all voice requests share.
#[derive(Debug)]
pub(crate) struct VoiceService {
    identity: IdentityProvider,
    server_key: ServerKey,
    state: Arc<VoiceState>,
    audio_threads: Arc<AudioThreads>,
    shards: Arc<Shards>,
    origin: HeaderValue,
    audio_bytes_per_second: u32,
    limits: Arc<Limits>,
    /// Rate limits of expensive requests, by address.
    rates: Arc<AddressRates>,
    heartbeat: Heartbeat,
    mode: String,
    drain: CancellationToken,
    tasks: TaskTracker,
}

impl VoiceService {
    /// Returns `None` if voice is off or its configuration is invalid.
    fn new(
        config: &Config,
        limits: &Arc<Limits>,
        shards: &Arc<Shards>,
        rates: &Arc<AddressRates>,
        drain: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Option<Arc<Self>> {
        let gostream = &config.voice.gostream;
        let identity = IdentityProvider::new(gostream)
            .inspect_err(|error| {
                tracing::error!(
                    error = error_chain(error),
                    "voice disabled: invalid configuration"
                )
            })
            .ok()??;
        let late_seconds = shards.counters().voice_mixer_late_seconds.clone();
        Some(Arc::new(Self {
            audio_threads: Arc::new(AudioThreads::new(tasks.clone(), late_seconds)),
            state: VoiceState::new(&config.voice, identity.users(), shards.clone()),
            identity,
            server_key: ServerKey::generate(),
            shards: shards.clone(),
            origin: HeaderValue::from_str(&gostream.origin())
                .unwrap_or(HeaderValue::from_static("null")),
            audio_bytes_per_second: gostream.audio_bytes_per_second,
            limits: limits.clone(),
            rates: rates.clone(),
            heartbeat: config.heartbeat,
            mode: mode(config),
            drain: drain.clone(),
            tasks: tasks.clone(),
        }))
    }

    /// Creates a service with the same configuration, without calls, rooms or challenges.
    fn with_fresh_state(&self, config: &Config) -> Arc<Self> {
        let identity = self.identity.with_fresh_state(&config.voice.gostream);
        Arc::new(Self {
            audio_threads: self.audio_threads.clone(),
            state: VoiceState::new(&config.voice, identity.users(), self.shards.clone()),
            identity,
            server_key: ServerKey::generate(),
            shards: self.shards.clone(),
            origin: self.origin.clone(),
            audio_bytes_per_second: self.audio_bytes_per_second,
            limits: self.limits.clone(),
            rates: self.rates.clone(),
            heartbeat: self.heartbeat,
            mode: self.mode.clone(),
            drain: self.drain.clone(),
            tasks: self.tasks.clone(),
        })
    }

    /// Asks the host program whether the caller may enter a room.
    async fn may_enter(&self, caller: &Caller, room: &RoomKey) -> Result<(), VoiceError> {
        let name = match room {
            RoomKey::Named(name) => name.clone(),
            RoomKey::Numbered(number) => VoiceRoomId::from(*number).to_name(),
        };
        let request = || JoinRequest {
            peer: PeerId::from_random(rand::rng().random()),
            identity: Some(caller.user.as_str().into()),
            dialect: "gostream",
            room: RoomId::shared(SpaceName::default(), name),
            context: HostContext::default(),
        };
        let Some(check) = self.shards.access().may_enter(request) else {
            return Ok(());
        };
        check.await.map_err(|text| match text {
            Some(text) => VoiceError::new(StatusCode::FORBIDDEN, &text),
            None => VoiceError::forbidden("You may not enter this room."),
        })
    }
}

/// Response to `/voice/mode`: tells the voice page whether users are keys or accounts of a website.
fn mode(config: &Config) -> String {
    let gostream = &config.voice.gostream;
    let is_site = gostream.identity == VoiceIdentity::Site;
    let identity = if is_site { "site" } else { "keys" };
    let site = is_site.then(|| gostream.origin());
    serde_json::json!({ "identity": identity, "site": site }).to_string()
}

/// An HTTP endpoint of voice.
#[derive(Clone, Copy, Debug)]
enum VoiceEndpoint {
    Messages,
    Ticket,
    TokenCheck,
    KeyExchange,
    NewCall,
    Answer,
    Answer2,
    Accept,
    Reject,
    HangUp,
    ListRooms,
    ListMembers,
    Mode,
    DisplayName,
    Up(AudioTarget),
    Join(AudioTarget),
}

/// The path of each endpoint. The voice page is served by another module.
const ENDPOINTS: [(&str, VoiceEndpoint); 18] = [
    ("/messages", VoiceEndpoint::Messages),
    ("/getCallTicket", VoiceEndpoint::Ticket),
    ("/tokenCheck", VoiceEndpoint::TokenCheck),
    ("/keyXCHG", VoiceEndpoint::KeyExchange),
    ("/newCall", VoiceEndpoint::NewCall),
    ("/answer", VoiceEndpoint::Answer),
    ("/answer2", VoiceEndpoint::Answer2),
    ("/acceptCall", VoiceEndpoint::Accept),
    ("/rejectCall", VoiceEndpoint::Reject),
    ("/hangupCall", VoiceEndpoint::HangUp),
    ("/listRoom", VoiceEndpoint::ListRooms),
    ("/listMembers", VoiceEndpoint::ListMembers),
    ("/voice/mode", VoiceEndpoint::Mode),
    ("/voice/name", VoiceEndpoint::DisplayName),
    ("/upCall", VoiceEndpoint::Up(AudioTarget::Call)),
    ("/upRoom", VoiceEndpoint::Up(AudioTarget::Room)),
    ("/joinCall", VoiceEndpoint::Join(AudioTarget::Call)),
    ("/joinRoom", VoiceEndpoint::Join(AudioTarget::Room)),
];

impl VoiceEndpoint {
    fn methods(self) -> &'static [Method] {
        match self {
            Self::Messages
            | Self::Ticket
            | Self::TokenCheck
            | Self::ListRooms
            | Self::ListMembers
            | Self::Mode => &[Method::GET, Method::HEAD],
            // GET is for media players that accept a URL only.
            Self::Join(_) | Self::KeyExchange => &[Method::POST, Method::GET, Method::HEAD],
            Self::Up(_) => &[Method::GET, Method::HEAD, Method::POST, Method::PUT],
            Self::NewCall
            | Self::Answer
            | Self::Answer2
            | Self::Accept
            | Self::Reject
            | Self::HangUp
            | Self::DisplayName => &[Method::POST],
        }
    }

    /// The parameters that the endpoint reads, except those that identify the caller.
    fn parameters(self) -> &'static [ParameterName] {
        match self {
            Self::Messages
            | Self::Ticket
            | Self::TokenCheck
            | Self::KeyExchange
            | Self::ListRooms
            | Self::Mode
            | Self::DisplayName => &[],
            Self::NewCall
            | Self::Answer
            | Self::Answer2
            | Self::Accept
            | Self::Reject
            | Self::HangUp => &[ParameterName::Destination],
            Self::ListMembers => &[ParameterName::Room],
            Self::Up(AudioTarget::Call) => &[
                ParameterName::Destination,
                ParameterName::Rate,
                ParameterName::Channels,
            ],
            Self::Up(AudioTarget::Room) => &[
                ParameterName::Room,
                ParameterName::Rate,
                ParameterName::Channels,
            ],
            Self::Join(AudioTarget::Call) => &[ParameterName::Destination, ParameterName::Format],
            Self::Join(AudioTarget::Room) => &[ParameterName::Room, ParameterName::Format],
        }
    }
}

/// Whether a path belongs to a voice endpoint.
pub(crate) fn is_reserved_path(path: &str) -> bool {
    ENDPOINTS.iter().any(|(reserved, _)| *reserved == path)
}

/// Adds the routes of the voice endpoints to `router`.
pub(crate) fn routes(router: Router<Server>, backend: &VoiceBackend) -> Router<Server> {
    ENDPOINTS
        .into_iter()
        .fold(router, |router, (path, endpoint)| {
            let backend = backend.clone();
            let handler = move |server: axum::extract::State<Server>, request: Request| async move {
                let request = DrainOnDrop::wrap(request);
                backend.serve(&server.0, endpoint, request).await
            };
            router.route(path, any(handler))
        })
}

impl VoiceService {
    async fn serve(
        self: Arc<Self>,
        server: &Server,
        endpoint: VoiceEndpoint,
        request: Request,
    ) -> Response {
        let answer = self.respond(server, endpoint, request).await;
        self.add_headers(endpoint, answer)
    }

    /// Counts and logs an error, and adds the headers that every voice response has.
    fn add_headers(&self, endpoint: VoiceEndpoint, answer: VoiceResult) -> Response {
        let mut response = answer.unwrap_or_else(|refusal| {
            Counters::add(&self.shards.counters().refused_total, 1);
            let response = refusal.into_response();
            tracing::info!(
                ?endpoint,
                status = response.status().as_u16(),
                "voice request rejected"
            );
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

    /// The response to a request whose body is not read: CORS preflight, wrong method, or shutdown.
    fn answer_without_body(&self, endpoint: VoiceEndpoint, method: &Method) -> Option<VoiceResult> {
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

    async fn respond(
        self: &Arc<Self>,
        server: &Server,
        endpoint: VoiceEndpoint,
        request: Request,
    ) -> VoiceResult {
        if let Some(answer) = self.answer_without_body(endpoint, request.method()) {
            return answer;
        }
        let (parts, body) = request.into_parts();
        let admitted = AdmittedRequest::admit(server, &parts).await?;
        self.dispatch_within_rate(endpoint, admitted, parts, body)
            .await
    }

    /// Reads the parameters of an admitted request and calls its handler.
    async fn dispatch(
        self: &Arc<Self>,
        endpoint: VoiceEndpoint,
        admitted: AdmittedRequest,
        parts: Parts,
        body: Body,
    ) -> VoiceResult {
        let AdmittedRequest { permit, address } = admitted;
        let abort_handle = parts
            .extensions
            .get::<ConnectionAbort>()
            .cloned()
            .unwrap_or_default();
        // The body of an upload is audio, so its parameters are in the head only.
        let (params, audio) = if let VoiceEndpoint::Up(_) = endpoint {
            (RequestParameters::from_head(&parts), body)
        } else {
            (RequestParameters::read(&parts, body).await?, Body::empty())
        };
        params.reject_misspelled(endpoint.parameters())?;
        let is_head = parts.method == Method::HEAD;
        match endpoint {
            VoiceEndpoint::Messages if is_head => self.messages_head(&params).await,
            VoiceEndpoint::Join(target) if is_head => self.join_head(target, &params).await,
            VoiceEndpoint::Messages => self.messages(&params, abort_handle, address, permit).await,
            VoiceEndpoint::Ticket => self.ticket(&params),
            VoiceEndpoint::TokenCheck => self.token_check(&params).await,
            VoiceEndpoint::KeyExchange => self.key_exchange(&params),
            VoiceEndpoint::NewCall => self.new_call(&params, address).await,
            VoiceEndpoint::Answer => self.answer(&params).await,
            VoiceEndpoint::Answer2 => self.answer2(&params).await,
            VoiceEndpoint::Accept => self.accept(&params).await,
            VoiceEndpoint::Reject => self.reject(&params).await,
            VoiceEndpoint::HangUp => self.hang_up(&params).await,
            VoiceEndpoint::ListRooms => self.list_rooms(),
            VoiceEndpoint::ListMembers => self.list_members(&params),
            VoiceEndpoint::Mode => Ok(json(self.mode.clone())),
            VoiceEndpoint::DisplayName => self.set_display_name(&params).await,
            VoiceEndpoint::Up(target) => self.up(target, &params, parts, audio, permit).await,
            VoiceEndpoint::Join(target) => self.join(target, &params, abort_handle, permit).await,
        }
    }
}

/// An admitted request: its permit and its client's address.
struct AdmittedRequest {
    permit: Permit,
    /// Address of the client, if known.
    address: Option<IpAddr>,
}

impl AdmittedRequest {
    /// Admits a request as a connection is admitted. Voice exists in the default space only.
    async fn admit(server: &Server, parts: &Parts) -> Result<Self, VoiceError> {
        let (permit, admission) = server.admit(parts).await.map_err(VoiceError::from)?;
        if admission.space != SpaceName::default() {
            return Err(VoiceError::forbidden(
                "Voice is not available in your space.",
            ));
        }
        let address = server.client_address(parts);
        Ok(Self { permit, address })
    }
}

fn join(methods: &[Method]) -> String {
    methods
        .iter()
        .map(Method::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}
