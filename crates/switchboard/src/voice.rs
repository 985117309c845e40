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
use switchboard_transport::{AddressRates, Counters, Exchange, Hangup, Heartbeat, Permit};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::JoinRequest,
    config::{Config, VoiceIdentity},
    server::Server,
    shards::Shards,
};

mod answer;
mod audio;
mod away;
mod calls;
mod connections;
mod desk;
mod display_names;
mod identity;
mod keys;
mod parameters;
mod price;
mod remainder;
mod rooms;
mod seat;
mod shared;
mod site;
mod streams;
mod studio;
mod upload;

use answer::{Answer, Refusal, json};
use desk::Desk;
use identity::{Caller, Identity};
use keys::ServerKey;
use parameters::{ParameterName, Parameters};
use remainder::Remainder;
use seat::Goal;
use shared::Shared;

pub(crate) use shared::{Nodes, duty_log};

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
pub(crate) enum Front {
    /// This node is the only one.
    Alone(Arc<Voice>),
    /// One of several does it.
    Shared(Arc<Shared>),
}

impl Front {
    /// None where it is off. Without other `nodes`, all is done here.
    pub(crate) fn new(
        config: &Arc<Config>,
        limits: &Arc<Limits>,
        shards: &Arc<Shards>,
        rates: &Arc<AddressRates>,
        drain: &CancellationToken,
        tasks: &TaskTracker,
        nodes: Option<Nodes>,
    ) -> Option<Self> {
        let voice = Voice::new(config, limits, shards, rates, drain, tasks)?;
        Some(match nodes {
            None => Self::Alone(voice),
            Some(nodes) => Self::Shared(Shared::new(&voice, config.clone(), nodes)),
        })
    }

    /// Ends all streams and calls: the server stops.
    pub(crate) fn end(&self) {
        match self {
            Self::Alone(voice) => voice.desk.end(),
            Self::Shared(shared) => shared.end(),
        }
    }

    async fn serve(self, server: &Server, endpoint: Endpoint, request: Request) -> Response {
        match self {
            Self::Alone(voice) => voice.serve(server, endpoint, request).await,
            Self::Shared(shared) => shared.serve(server, endpoint, request).await,
        }
    }
}

/// What a source is told whose server stops.
const STOPS: &str = "The server stops.\n";

/// Everything of voice that requests share.
#[derive(Debug)]
pub(crate) struct Voice {
    identity: Identity,
    server_key: ServerKey,
    desk: Arc<Desk>,
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

impl Voice {
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
        let identity = Identity::new(gostream)
            .inspect_err(|error| tracing::error!(%error, "voice is off"))
            .ok()??;
        Some(Arc::new(Self {
            desk: Desk::new(&config.voice, identity.users(), shards.clone()),
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
            desk: Desk::new(&config.voice, identity.users(), self.shards.clone()),
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
    async fn may_enter(&self, caller: &Caller, room: &RoomKey) -> Result<(), Refusal> {
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
            .ok_or(Refusal::forbidden("You may not enter this room."))
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
enum Endpoint {
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
    Up(Goal),
    Join(Goal),
}

/// Every path of voice. The page is served elsewhere.
const ENDPOINTS: [(&str, Endpoint); 18] = [
    ("/messages", Endpoint::Messages),
    ("/getCallTicket", Endpoint::Ticket),
    ("/tokenCheck", Endpoint::TokenCheck),
    ("/keyXCHG", Endpoint::KeyExchange),
    ("/newCall", Endpoint::NewCall),
    ("/answer", Endpoint::Answer),
    ("/answer2", Endpoint::Answer2),
    ("/acceptCall", Endpoint::Accept),
    ("/rejectCall", Endpoint::Reject),
    ("/hangupCall", Endpoint::HangUp),
    ("/listRoom", Endpoint::ListRooms),
    ("/listMembers", Endpoint::ListMembers),
    ("/voice/mode", Endpoint::Mode),
    ("/voice/name", Endpoint::DisplayName),
    ("/upCall", Endpoint::Up(Goal::Call)),
    ("/upRoom", Endpoint::Up(Goal::Room)),
    ("/joinCall", Endpoint::Join(Goal::Call)),
    ("/joinRoom", Endpoint::Join(Goal::Room)),
];

impl Endpoint {
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
            Self::Up(Goal::Call) => &[
                ParameterName::Destination,
                ParameterName::Rate,
                ParameterName::Channels,
            ],
            Self::Up(Goal::Room) => &[
                ParameterName::Room,
                ParameterName::Rate,
                ParameterName::Channels,
            ],
            Self::Join(Goal::Call) => &[ParameterName::Destination, ParameterName::Format],
            Self::Join(Goal::Room) => &[ParameterName::Room, ParameterName::Format],
        }
    }
}

/// Whether a path is one of voice's.
pub(crate) fn is_taken(path: &str) -> bool {
    ENDPOINTS.iter().any(|(taken, _)| *taken == path)
}

/// The paths of voice.
pub(crate) fn routes(router: Router<Server>, front: &Front) -> Router<Server> {
    ENDPOINTS
        .into_iter()
        .fold(router, |router, (path, endpoint)| {
            let front = front.clone();
            let handler = move |server: axum::extract::State<Server>, request: Request| async move {
                let request = Remainder::of(request);
                front.serve(&server.0, endpoint, request).await
            };
            router.route(path, any(handler))
        })
}

impl Voice {
    async fn serve(
        self: Arc<Self>,
        server: &Server,
        endpoint: Endpoint,
        request: Request,
    ) -> Response {
        let answer = self.respond(server, endpoint, request).await;
        self.dress(endpoint, answer)
    }

    /// The response, with what every one of voice's has.
    fn dress(&self, endpoint: Endpoint, answer: Answer) -> Response {
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
    fn answer_at_the_door(&self, endpoint: Endpoint, method: &Method) -> Option<Answer> {
        let methods = endpoint.methods();
        if method == Method::OPTIONS {
            let allowed = [(header::ACCESS_CONTROL_ALLOW_METHODS, join(methods))];
            return Some(Ok((allowed, ()).into_response()));
        }
        if !methods.contains(method) {
            let allow = [(header::ALLOW, join(methods))];
            let words = format!("This path takes {}.\n", join(methods));
            let refusal = (StatusCode::METHOD_NOT_ALLOWED, allow, words);
            return Some(Err(Refusal::from(refusal.into_response())));
        }
        self.drain.is_cancelled().then(|| {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Err(Refusal::new(status, "The server stops. Come back soon."))
        })
    }

    async fn respond(
        self: &Arc<Self>,
        server: &Server,
        endpoint: Endpoint,
        request: Request,
    ) -> Answer {
        if let Some(answer) = self.answer_at_the_door(endpoint, request.method()) {
            return answer;
        }
        let (parts, body) = request.into_parts();
        let guest = Guest::admit(server, &parts).await?;
        self.attend_within_rate(endpoint, guest, parts, body).await
    }

    /// Does what an admitted request asks.
    async fn attend(
        self: &Arc<Self>,
        endpoint: Endpoint,
        guest: Guest,
        parts: Parts,
        body: Body,
    ) -> Answer {
        let Guest { permit, address } = guest;
        let hangup = parts
            .extensions
            .get::<Hangup>()
            .cloned()
            .unwrap_or_default();
        // A microphone's body is audio, and its parameters stand before it.
        let (asked, audio) = if let Endpoint::Up(_) = endpoint {
            (Parameters::of_head(&parts), body)
        } else {
            (Parameters::read(&parts, body).await?, Body::empty())
        };
        asked.refuse_misspelt(endpoint.parameters())?;
        let is_head = parts.method == Method::HEAD;
        match endpoint {
            Endpoint::Messages if is_head => self.messages_head(&asked).await,
            Endpoint::Join(goal) if is_head => self.join_head(goal, &asked).await,
            Endpoint::Messages => self.messages(&asked, hangup, address, permit).await,
            Endpoint::Ticket => self.ticket(&asked),
            Endpoint::TokenCheck => self.token_check(&asked).await,
            Endpoint::KeyExchange => self.key_exchange(&asked),
            Endpoint::NewCall => self.new_call(&asked, address).await,
            Endpoint::Answer => self.answer(&asked).await,
            Endpoint::Answer2 => self.answer2(&asked).await,
            Endpoint::Accept => self.accept(&asked).await,
            Endpoint::Reject => self.reject(&asked).await,
            Endpoint::HangUp => self.hang_up(&asked).await,
            Endpoint::ListRooms => self.list_rooms(),
            Endpoint::ListMembers => self.list_members(&asked),
            Endpoint::Mode => Ok(json(self.mode.clone())),
            Endpoint::DisplayName => self.set_display_name(&asked).await,
            Endpoint::Up(goal) => self.up(goal, &asked, parts, audio, permit).await,
            Endpoint::Join(goal) => self.join(goal, &asked, hangup, permit).await,
        }
    }
}

/// A request that is admitted.
struct Guest {
    permit: Permit,
    /// The client's, if it is known.
    address: Option<IpAddr>,
}

impl Guest {
    /// Admits a request as a connection is admitted. Voice knows one space, the default one.
    async fn admit(server: &Server, parts: &Parts) -> Result<Self, Refusal> {
        let (permit, _, space) = server.admit(parts).await.map_err(Refusal::from)?;
        if space != SpaceName::default() {
            return Err(Refusal::forbidden("Your space has no voice."));
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
