//! This node as the admin API sees it, and the orders that it carries out.

use std::{collections::BTreeMap, fmt, sync::atomic::Ordering};

use axum::http::{HeaderMap, Request, header, request::Parts};
use futures_util::future::BoxFuture;
use switchboard_admin::{
    AdminCaller, AdminHost, ApiError, ApiErrorCode, MemberInfo, NodeCallError, NodeInfo, NodeState,
    RoomLock, RoomRef, SessionSummary, Settings, VoiceCallInfo, VoiceOverview, VoiceRoomInfo,
    VoiceUserInfo, space_text,
};
use switchboard_auth::{AuthError, Principal};
use switchboard_core::{Address, RoomId};
use switchboard_transport::HttpClient;
use switchboard_voice::{CallReport, RoomReport, User, VoiceBackend};

use super::{AdminKey, Secret, node_calls};
use crate::{
    Config,
    access::{AccessError, OwnPlaces, proven_name},
    app_state::{AppState, unix_ms},
    probes,
    rooms::Rooms,
    sessions::{SessionInfo, Sessions},
};

/// The id of the node of a server without a cluster.
const SINGLE_NODE: &str = "self";

/// The calls and rooms of voice in an answer.
const VOICE_MAX: usize = 1000;

/// The subject of callers with the admin key.
const KEY_SUBJECT: &str = "admin key";

/// This node, for the admin API.
pub(super) struct NodeAdmin {
    app: std::sync::Arc<AppState>,
    voice: Option<VoiceBackend>,
    key: Option<AdminKey>,
    secret: Secret,
    client: HttpClient,
}

impl fmt::Debug for NodeAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeAdmin").finish_non_exhaustive()
    }
}

impl NodeAdmin {
    pub(super) fn new(
        app: std::sync::Arc<AppState>,
        voice: Option<VoiceBackend>,
        key: Option<AdminKey>,
        secret: Secret,
    ) -> Self {
        Self {
            app,
            voice,
            key,
            secret,
            client: HttpClient::default(),
        }
    }

    fn rooms_api(&self) -> Rooms {
        Rooms::new(self.app.shards.clone(), self.app.context.sessions.clone())
    }

    fn sessions_api(&self) -> Sessions {
        Sessions::new(self.app.context.sessions.clone(), self.app.shards.clone())
    }

    /// The caller of a token.
    async fn caller(&self, request: &Parts) -> Result<AdminCaller, ApiError> {
        let token = bearer(&request.headers)?;
        if self.key.as_ref().is_some_and(|key| key.is(token)) {
            return Ok(AdminCaller {
                subject: KEY_SUBJECT.to_owned(),
                space: String::new(),
                grants: vec!["admin".to_owned()],
            });
        }
        if self.app.effective.get().access.is_open() {
            return Err(unauthorized("the access token is not valid"));
        }
        let address = self.app.client_address(request);
        let token_only = only_token(request);
        let access = self.app.access.get();
        let places = OwnPlaces::default();
        let authenticated = access.authenticate(&token_only, address, places).await;
        authenticated
            .map(|it| caller_of(&it.principal))
            .map_err(|refused| api_error(&refused.error))
    }
}

/// The token of the header `Authorization`. A token in the query or a cookie is not read: a query stands in logs, and a
/// browser sends a cookie with requests of other sites.
fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(unauthorized(
            "the request has more than one Authorization header",
        ));
    }
    let token = first.and_then(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        let token = token.trim();
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    });
    token.ok_or_else(|| unauthorized("an access token is required: Authorization: Bearer TOKEN"))
}

/// A request with the token of this one and without its query and cookies.
fn only_token(request: &Parts) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    if let Some(token) = request.headers.get(header::AUTHORIZATION) {
        parts.headers.insert(header::AUTHORIZATION, token.clone());
    }
    parts
}

fn caller_of(principal: &Principal) -> AdminCaller {
    AdminCaller {
        subject: principal
            .subject
            .as_deref()
            .unwrap_or("anonymous")
            .to_owned(),
        space: space_text(&principal.space),
        grants: principal.grants.to_texts(),
    }
}

fn too_many_attempts() -> ApiError {
    let text = "your address has sent too many wrong credentials; try again later";
    ApiError::new(ApiErrorCode::TooManyAttempts, text)
}

fn unauthorized(text: &str) -> ApiError {
    ApiError::new(ApiErrorCode::Unauthorized, text)
}

fn api_error(error: &AccessError) -> ApiError {
    let code = match error {
        AccessError::Credential(_) => ApiErrorCode::BadRequest,
        AccessError::Authentication(AuthError::Denied(_)) => ApiErrorCode::Forbidden,
        AccessError::Authentication(AuthError::Unavailable) => ApiErrorCode::Unavailable,
        AccessError::Authentication(
            AuthError::Missing | AuthError::Invalid(_) | AuthError::Expired,
        ) => ApiErrorCode::Unauthorized,
    };
    ApiError::new(code, error.to_string())
}

impl AdminHost for NodeAdmin {
    fn authenticate<'a>(
        &'a self,
        request: &'a Parts,
    ) -> BoxFuture<'a, Result<AdminCaller, ApiError>> {
        Box::pin(async {
            let refused = match self.caller(request).await {
                Ok(caller) => return Ok(caller),
                Err(error) => error,
            };
            self.app.admin_refused.inc();
            let address = self.app.client_address(request);
            let client = address.map(tracing::field::display);
            tracing::debug!(client, error = %refused, "admin call refused");
            let has_token = request.headers.contains_key(header::AUTHORIZATION);
            if refused.code == ApiErrorCode::Unauthorized && has_token {
                let delayed = self.app.delay_failed_auth(address).await;
                delayed.map_err(|_| too_many_attempts())?;
            }
            Err(refused)
        })
    }

    fn now_ms(&self) -> u64 {
        unix_ms()
    }

    fn this_node(&self) -> String {
        let status = self.app.shards.status();
        status.map_or_else(|| SINGLE_NODE.to_owned(), |status| status.node.to_string())
    }

    fn nodes(&self) -> Vec<NodeInfo> {
        let Some(status) = self.app.shards.status() else {
            return vec![this_node(SINGLE_NODE.to_owned(), self.app.url.clone())];
        };
        let listed = status.nodes.iter().map(|line| NodeInfo {
            id: line.node.to_string(),
            url: Some(line.url.clone()).filter(|url| !url.is_empty()),
            alive: line.is_alive,
            version: line.version.clone(),
            state: None,
        });
        let mut nodes: Vec<_> = listed.collect();
        if status.own_line().is_none() {
            nodes.push(this_node(status.node.to_string(), Some(status.url)));
        }
        nodes
    }

    fn ask<'a>(
        &'a self,
        url: &'a str,
        call: Vec<u8>,
    ) -> BoxFuture<'a, Result<Vec<u8>, NodeCallError>> {
        Box::pin(node_calls::send(&self.client, &self.secret, url, call))
    }

    fn state(&self) -> NodeState {
        let counters = self.app.counters();
        let status = self.app.shards.status();
        let connections = counters.connections.get();
        NodeState {
            ready: probes::is_ready(&self.app),
            draining: !self.app.ready.load(Ordering::Relaxed),
            uptime_secs: self.app.started.elapsed().as_secs(),
            connections: u64::try_from(connections).unwrap_or_default(),
            connections_max: self.app.limits().connections as u64,
            rooms: self.app.shards.rooms().len() as u64,
            voice: self.voice.as_ref().is_some_and(VoiceBackend::is_leading),
            engine_down_secs: status.and_then(|it| Some(it.down_for?.as_secs())),
            frames_in: counters.frames_in_total.get(),
            frames_out: counters.frames_out_total.get(),
            connections_total: counters.connections_total.get(),
            connections_refused: counters.connections_refused_total.get(),
            refused: counters.refused_total.get(),
            paused: counters.paused_total.get(),
            slow: counters.slow_total.get(),
        }
    }

    fn rooms(&self) -> Vec<(RoomId, usize)> {
        self.app.shards.rooms()
    }

    fn members(&self, room: &RoomId) -> Vec<MemberInfo> {
        let node = self.this_node();
        let members = self.app.shards.members(room);
        let sessions = &self.app.context.sessions;
        let info = |member: &std::sync::Arc<switchboard_core::Member>| {
            let here = sessions.find(member.peer);
            MemberInfo {
                session: member.peer.to_string(),
                address: member.address.as_str().to_owned(),
                name: member.name.as_ref().map(|name| name.as_str().to_owned()),
                dialect: member.dialect.name.to_owned(),
                identity: proven_name(&member.identity).as_deref().map(str::to_owned),
                node: here.as_ref().map(|_| node.clone()),
                client_address: here.and_then(|it| Some(it.client?.to_string())),
            }
        };
        members.iter().map(info).collect()
    }

    fn sessions(&self) -> Vec<SessionSummary> {
        let node = self.this_node();
        let sessions = self.sessions_api().list().into_iter();
        sessions.map(|session| summary(&session, &node)).collect()
    }

    fn voice(&self) -> VoiceOverview {
        let Some(voice) = &self.voice else {
            return VoiceOverview::default();
        };
        let report = voice.report(VOICE_MAX);
        VoiceOverview {
            calls: report.calls.iter().map(voice_call).collect(),
            rooms: report.rooms.into_iter().map(voice_room).collect(),
            more: report.has_more,
            failed_nodes: Vec::new(),
        }
    }

    fn end_session(&self, id: &str, reason: &str) -> bool {
        let id = id.parse();
        id.is_ok_and(|id| self.app.context.sessions.end(id, reason))
    }

    fn end_voice_user(&self, user: &str) -> usize {
        let voice = self.voice.as_ref().zip(User::parse(user));
        voice.map_or(0, |(voice, user)| voice.end_user(&user))
    }

    fn evict(&self, room: &RoomId, address: &str, reason: &str) -> bool {
        let address = Address::parse(address, 0);
        address.is_ok_and(|address| self.rooms_api().kick(room, &address, reason))
    }

    fn broadcast(&self, room: &RoomId, text: &str) -> usize {
        self.rooms_api().broadcast(room, text)
    }

    fn locks(&self) -> Vec<RoomLock> {
        self.app.rules.locks.list()
    }

    fn set_lock(&self, lock: &RoomLock) -> Result<(), ApiError> {
        self.app.rules.locks.set(lock)
    }

    fn set_draining(&self, is_draining: bool) {
        self.app.ready.store(!is_draining, Ordering::Relaxed);
    }

    fn settings(&self) -> Settings {
        let toml = self.app.effective.get().to_toml();
        let default = values(&Config::default().to_toml());
        let changed = values(&toml).into_iter();
        let changed = changed.filter(|(key, value)| default.get(key) != Some(value));
        let changed = changed.map(|(key, _)| key).collect();
        Settings { toml, changed }
    }
}

fn this_node(id: String, url: Option<String>) -> NodeInfo {
    NodeInfo {
        id,
        url,
        alive: true,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: None,
    }
}

fn summary(session: &SessionInfo, node: &str) -> SessionSummary {
    let since = session.since.duration_since(std::time::UNIX_EPOCH);
    let since_ms = since.unwrap_or_default().as_millis();
    SessionSummary {
        id: session.id.to_string(),
        node: node.to_owned(),
        address: session.address.map(|it| it.to_string()),
        dialect: session.dialect.to_owned(),
        identity: proven_name(&session.identity).as_deref().map(str::to_owned),
        rooms: session.rooms.iter().map(RoomRef::of).collect(),
        since_ms: u64::try_from(since_ms).unwrap_or(u64::MAX),
        queued_bytes: session.queued_bytes,
    }
}

fn voice_call(call: &CallReport) -> VoiceCallInfo {
    let phase = if call.is_accepted { "call" } else { "ringing" };
    VoiceCallInfo {
        caller: call.caller.to_string(),
        callee: call.callee.to_string(),
        phase: phase.to_owned(),
    }
}

fn voice_room(room: RoomReport) -> VoiceRoomInfo {
    let users = room.users.into_iter();
    let users = users.map(|(user, microphone, headphones)| VoiceUserInfo {
        user: user.to_string(),
        microphone,
        headphones,
    });
    VoiceRoomInfo {
        id: room.id.get(),
        name: room.name,
        users: users.collect(),
    }
}

/// The settings of a TOML text of the server, by section and key.
fn values(toml: &str) -> BTreeMap<String, String> {
    let mut section = String::new();
    let mut values = BTreeMap::new();
    for line in toml.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            name.clone_into(&mut section);
        } else if let Some((key, value)) = line.split_once(" = ") {
            values.insert(format!("{section}.{key}"), value.to_owned());
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_read_from_one_header_only() {
        let headers = |values: &[&str]| {
            let values = values
                .iter()
                .map(|value| (header::AUTHORIZATION, value.parse().expect("a header")));
            let mut map = HeaderMap::new();
            values.for_each(|(name, value)| {
                map.append(name, value);
            });
            map
        };
        assert_eq!(bearer(&headers(&["bearer  abc "])), Ok("abc"));
        for bad in [
            &[][..],
            &["Bearer"],
            &["Bearer "],
            &["Basic abc"],
            &["Bearer a", "Bearer a"],
        ] {
            let error = bearer(&headers(bad)).expect_err("no token");
            assert_eq!(error.code, ApiErrorCode::Unauthorized);
        }
        let (parts, ()) = Request::get("/?access_token=abc")
            .header("cookie", "a=b")
            .header("authorization", "Bearer x")
            .body(())
            .expect("a request")
            .into_parts();
        let kept = only_token(&parts);
        assert_eq!((kept.uri.query(), kept.headers.len()), (None, 1));
    }

    #[test]
    fn settings_that_differ_are_found() {
        let mut config = Config::default();
        assert_eq!(config.set("--port", "server.port", "81"), Ok(()));
        let (all, default) = (
            values(&config.to_toml()),
            values(&Config::default().to_toml()),
        );
        let changed = all
            .iter()
            .filter(|(key, value)| default.get(*key) != Some(value));
        let changed: Vec<_> = changed.map(|(key, _)| key.as_str()).collect();
        assert_eq!(changed, ["server.port"]);
    }
}
