//! Voice calls and rooms for clients that speak only HTTP: the dialect `gostream`.
//!
//! A request is admitted as every connection is, then its parameters are read, then who asks is
//! proven (`identity.rs`), then the desk (`desk.rs`) changes its machines and tells whom it concerns.
//! Audio goes past the desk: from a source straight into its mixer (`studio.rs`), from there to
//! bounded queues of listeners.
//!
//! Of several nodes one does all of this (`shared.rs`), and the others bring it what they are asked
//! (`away.rs`).

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
use switchboard_core::{Limits, PeerId, RoomId, RoomKey, SpaceName, VoiceRoomId};
use switchboard_transport::{
    AddressRates, ConnectionAbort, Counters, Heartbeat, NodeHandle, Permit,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::JoinRequest,
    config::{Config, VoiceIdentity},
    server::Server,
    shards::Shards,
};

mod answer;
mod attachment;
mod audio;
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
mod state;
mod streams;
mod upload;

use answer::{VoiceError, VoiceResult, json};
use attachment::AudioTarget;
use clustered::ClusteredVoice;
use drain_on_drop::DrainOnDrop;
use identity::{Caller, IdentityProvider};
use keys::ServerKey;
use parameters::{ParameterName, RequestParameters};
use state::VoiceState;

pub(crate) use clustered::{ClusterContext, election_log};

pub use keys::{PublicKey, SecretKey};

/// How often an event stream shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a page of the site may send besides the usual.
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static("PKey,CSRFToken");

/// Tells a reverse proxy to pass on what comes as it comes, as nginx has it.
const PROXY_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const NOT_BUFFERED: HeaderValue = HeaderValue::from_static("no");

/// Voice as requests meet it.
#[derive(Clone, Debug)]
pub(crate) enum VoiceBackend {
    /// This node is the only one.
    Local(Arc<VoiceService>),
    /// One of several does it.
    Clustered(Arc<ClusteredVoice>),
}

impl VoiceBackend {
    /// None where it is off. Without other `nodes`, all is done here.
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

    /// Ends all streams and calls: the server stops.
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

/// What a source is told whose server stops.
const SERVER_STOPS: &str = "The server stops.\n";

/// Everything of voice that requests share.
#[derive(Debug)]
pub(crate) struct VoiceService {
    identity: IdentityProvider,
    server_key: ServerKey,
    state: Arc<VoiceState>,
    shards: Arc<Shards>,
    origin: HeaderValue,
    audio_bytes_per_second: u32,
    limits: Arc<Limits>,
    /// Of expensive requests.
    rates: Arc<AddressRates>,
    heartbeat: Heartbeat,
    mode: String,
    drain: CancellationToken,
    tasks: TaskTracker,
}

impl VoiceService {
    /// None where it is off.
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
            .inspect_err(|error| tracing::error!(%error, "voice is off"))
            .ok()??;
        Some(Arc::new(Self {
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

    /// One like this, that nobody has called or entered yet.
    fn anew(&self, config: &Config) -> Arc<Self> {
        let identity = self.identity.anew(&config.voice.gostream);
        Arc::new(Self {
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

    /// Whether the host program lets the caller into a room.
    async fn may_enter(&self, caller: &Caller, room: &RoomKey) -> Result<(), VoiceError> {
        let name = match room {
            RoomKey::Named(name) => name.clone(),
            RoomKey::Numbered(number) => VoiceRoomId::from(*number).into(),
        };
        let request = || JoinRequest {
            peer: PeerId::from_random(rand::rng().random()),
            identity: Some(caller.user.as_str().into()),
            dialect: "gostream",
            room: RoomId::shared(SpaceName::default(), name),
        };
        let may = match self.shards.access().may_enter(request) {
            Some(check) => check.await,
            None => true,
        };
        may.then_some(())
            .ok_or(VoiceError::forbidden("You may not enter this room."))
    }
}

/// What the page must know: who vouches for users.
fn mode(config: &Config) -> String {
    let gostream = &config.voice.gostream;
    let is_site = gostream.identity == VoiceIdentity::Site;
    let identity = if is_site { "site" } else { "keys" };
    let site = is_site.then(|| gostream.origin());
    serde_json::json!({ "identity": identity, "site": site }).to_string()
}

/// One path.
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

/// Every path of voice. The page is served elsewhere.
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
            // GET too, for a player that is given an address and nothing else.
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

    /// The parameters that it reads, besides those of identity.
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

/// Whether a path is one of voice's.
pub(crate) fn is_reserved_path(path: &str) -> bool {
    ENDPOINTS.iter().any(|(taken, _)| *taken == path)
}

/// The paths of voice.
pub(crate) fn routes(router: Router<Server>, front: &VoiceBackend) -> Router<Server> {
    ENDPOINTS
        .into_iter()
        .fold(router, |router, (path, endpoint)| {
            let front = front.clone();
            let handler = move |server: axum::extract::State<Server>, request: Request| async move {
                let request = DrainOnDrop::of(request);
                front.serve(&server.0, endpoint, request).await
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

    /// The response, with what every one of voice's has.
    fn add_headers(&self, endpoint: VoiceEndpoint, answer: VoiceResult) -> Response {
        let mut response = answer.unwrap_or_else(|refusal| {
            Counters::add(&self.shards.counters().refused_total, 1);
            let response = refusal.into_response();
            tracing::info!(
                ?endpoint,
                status = response.status().as_u16(),
                "request refused"
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

    /// What is answered to a request that goes no further.
    fn answer_without_body(&self, endpoint: VoiceEndpoint, method: &Method) -> Option<VoiceResult> {
        let methods = endpoint.methods();
        if method == Method::OPTIONS {
            let allowed = [(header::ACCESS_CONTROL_ALLOW_METHODS, join(methods))];
            return Some(Ok((allowed, ()).into_response()));
        }
        if !methods.contains(method) {
            let allow = [(header::ALLOW, join(methods))];
            let words = format!("This path takes {}.\n", join(methods));
            let refusal = (StatusCode::METHOD_NOT_ALLOWED, allow, words);
            return Some(Err(VoiceError::from(refusal.into_response())));
        }
        self.drain.is_cancelled().then(|| {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Err(VoiceError::new(status, "The server stops. Come back soon."))
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
        let guest = AdmittedRequest::admit(server, &parts).await?;
        self.dispatch_within_rate(endpoint, guest, parts, body)
            .await
    }

    /// Does what an admitted request asks.
    async fn dispatch(
        self: &Arc<Self>,
        endpoint: VoiceEndpoint,
        guest: AdmittedRequest,
        parts: Parts,
        body: Body,
    ) -> VoiceResult {
        let AdmittedRequest { permit, address } = guest;
        let hangup = parts
            .extensions
            .get::<ConnectionAbort>()
            .cloned()
            .unwrap_or_default();
        // A microphone's body is audio, and its parameters stand before it.
        let (asked, audio) = if let VoiceEndpoint::Up(_) = endpoint {
            (RequestParameters::of_head(&parts), body)
        } else {
            (RequestParameters::read(&parts, body).await?, Body::empty())
        };
        asked.refuse_misspelt(endpoint.parameters())?;
        let is_head = parts.method == Method::HEAD;
        match endpoint {
            VoiceEndpoint::Messages if is_head => self.messages_head(&asked).await,
            VoiceEndpoint::Join(goal) if is_head => self.join_head(goal, &asked).await,
            VoiceEndpoint::Messages => self.messages(&asked, hangup, address, permit).await,
            VoiceEndpoint::Ticket => self.ticket(&asked),
            VoiceEndpoint::TokenCheck => self.token_check(&asked).await,
            VoiceEndpoint::KeyExchange => self.key_exchange(&asked),
            VoiceEndpoint::NewCall => self.new_call(&asked, address).await,
            VoiceEndpoint::Answer => self.answer(&asked).await,
            VoiceEndpoint::Answer2 => self.answer2(&asked).await,
            VoiceEndpoint::Accept => self.accept(&asked).await,
            VoiceEndpoint::Reject => self.reject(&asked).await,
            VoiceEndpoint::HangUp => self.hang_up(&asked).await,
            VoiceEndpoint::ListRooms => self.list_rooms(),
            VoiceEndpoint::ListMembers => self.list_members(&asked),
            VoiceEndpoint::Mode => Ok(json(self.mode.clone())),
            VoiceEndpoint::DisplayName => self.set_display_name(&asked).await,
            VoiceEndpoint::Up(goal) => self.up(goal, &asked, parts, audio, permit).await,
            VoiceEndpoint::Join(goal) => self.join(goal, &asked, hangup, permit).await,
        }
    }
}

/// A request that is admitted.
struct AdmittedRequest {
    permit: Permit,
    /// The client's, if it is known.
    address: Option<IpAddr>,
}

impl AdmittedRequest {
    /// Admits a request as a connection is admitted. Voice knows one space, the default one.
    async fn admit(server: &Server, parts: &Parts) -> Result<Self, VoiceError> {
        let (permit, _, space) = server.admit(parts).await.map_err(VoiceError::from)?;
        if space != SpaceName::default() {
            return Err(VoiceError::forbidden("Your space has no voice."));
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
