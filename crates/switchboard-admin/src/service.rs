//! The admin API over the whole cluster: a call is carried out on this node and sent to the others, and the answers are
//! joined. A node that does not answer is named in the answer.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    bans::{Ban, BanTable, BanTarget},
    caller::{AdminCaller, Need},
    error::{ApiError, ApiErrorCode},
    events::{EventKind, EventLog},
    host::AdminHost,
    node_call::{MembersPart, NodeAction, NodeCall, SessionPart, SyncPart, from_value},
    paging::{page_of_rooms, page_of_sessions},
    requests::{
        BanRequest, CloseRequest, KickRequest, KickTarget, LockRequest, MESSAGE_LENGTH_MAX,
        MessageRequest, RoomQuery, SessionQuery, check_room, reason,
    },
    types::{
        BanList, MemberInfo, NodeFailure, NodeInfo, NodeList, NodeState, Outcome, RoomDetail,
        RoomLock, RoomPage, RoomRef, RoomSummary, SessionDetail, SessionPage, SessionSummary,
        Settings, VoiceOverview,
    },
};

/// The time that another node has to answer.
const NODE_TIMEOUT: Duration = Duration::from_secs(5);

/// The event streams that a node serves at a time.
const STREAMS_MAX: usize = 32;

/// The time between two exchanges of bans and locks with the other nodes.
const SYNC_INTERVAL: Duration = Duration::from_secs(15);

/// The parts of a node that the admin API works on.
#[derive(Clone, Debug)]
pub struct AdminContext {
    /// The application.
    pub host: Arc<dyn AdminHost>,
    /// The bans of this node.
    pub bans: Arc<BanTable>,
    /// The events of this node.
    pub events: Arc<EventLog>,
    /// Cancelled when the server shuts down.
    pub drain: CancellationToken,
}

/// The admin API of a node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AdminService {
    pub(crate) context: AdminContext,
    pub(crate) streams: Arc<Semaphore>,
}

/// The answers of all nodes, and those that have not answered.
pub(crate) struct NodeAnswers<T> {
    /// The answers, with the node's id.
    pub(crate) parts: Vec<(String, T)>,
    pub(crate) failed: Vec<NodeFailure>,
}

impl AdminService {
    /// The admin API of this node.
    #[must_use]
    pub fn new(context: AdminContext) -> Self {
        Self {
            context,
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }

    /// Records an event of this node.
    pub fn record_event(&self, kind: EventKind) {
        self.context.record(kind);
    }

    /// Carries out the call of another node, which has proven that it is one. The body is JSON, and so is the answer.
    pub async fn answer_node(&self, body: &[u8]) -> Vec<u8> {
        let call = serde_json::from_slice::<NodeCall>(body);
        let answer = match call {
            Ok(call) => self.context.perform(call).await,
            Err(error) => Err(ApiError::bad_request(format!("malformed call: {error}"))),
        };
        serde_json::to_vec(&answer).unwrap_or_default()
    }

    /// Exchanges bans and locks with the other nodes until the server shuts down.
    pub async fn keep_in_sync(self) {
        let caller = AdminCaller::node();
        loop {
            let synced = self.sync(&caller).await;
            // A node that starts knows no other one before it has reached the store.
            let pause = if synced {
                SYNC_INTERVAL
            } else {
                Duration::from_secs(1)
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.context.drain.cancelled() => return,
            }
        }
    }

    /// Takes over the bans and locks of the other nodes. Returns whether this node knows its cluster.
    async fn sync(&self, caller: &AdminCaller) -> bool {
        let nodes = self.context.host.nodes();
        let others = self.others(&nodes);
        let action = NodeAction::Sync {
            digest: self.context.digest(),
        };
        let asked = others
            .into_iter()
            .map(|node| self.ask(node, caller, &action));
        for (_, part) in join_all(asked).await {
            if let Ok(part) = part.and_then(from_value::<Option<SyncPart>>) {
                self.merge(part);
            }
        }
        nodes.len() > 1
    }

    fn merge(&self, part: Option<SyncPart>) {
        let Some(part) = part else { return };
        let context = &self.context;
        context.bans.merge(part.bans, context.host.now_ms());
        for lock in &part.locks {
            if let Err(error) = context.host.set_lock(lock) {
                tracing::warn!(%error, "lock of another node not taken over");
            }
        }
    }

    fn others<'a>(&self, nodes: &'a [NodeInfo]) -> Vec<&'a NodeInfo> {
        let this = self.context.host.this_node();
        let others = nodes.iter().filter(|node| node.id != this && node.alive);
        others.collect()
    }

    async fn ask<'a>(
        &self,
        node: &'a NodeInfo,
        caller: &AdminCaller,
        action: &NodeAction,
    ) -> (&'a str, Result<Value, ApiError>) {
        let asked = async {
            let unavailable = |text: String| ApiError::new(ApiErrorCode::Unavailable, text);
            let url = node.url.as_deref().filter(|url| !url.is_empty());
            let url = url.ok_or_else(|| unavailable("the node advertises no URL".to_owned()))?;
            let call = NodeCall {
                caller: caller.clone(),
                action: action.clone(),
            };
            let body = serde_json::to_vec(&call);
            let body = body.map_err(|error| unavailable(error.to_string()))?;
            let wait = NODE_TIMEOUT + action.wait();
            let answer = timeout(wait, self.context.host.ask(url, body)).await;
            let answer = answer.map_err(|_| unavailable("no answer in time".to_owned()))?;
            let answer = answer.map_err(|error| unavailable(error.0))?;
            let answer = serde_json::from_slice::<Result<Value, ApiError>>(&answer);
            answer.unwrap_or_else(|_| Err(unavailable("the answer is unreadable".to_owned())))
        };
        (&node.id, asked.await)
    }

    /// Asks one other node.
    pub(crate) async fn ask_node(
        &self,
        node: &NodeInfo,
        caller: &AdminCaller,
        action: &NodeAction,
    ) -> Result<Value, ApiError> {
        self.ask(node, caller, action).await.1
    }

    pub(crate) async fn here<T: DeserializeOwned>(
        &self,
        caller: &AdminCaller,
        action: &NodeAction,
    ) -> Result<T, ApiError> {
        let call = NodeCall {
            caller: caller.clone(),
            action: action.clone(),
        };
        from_value(self.context.perform(call).await?)
    }

    /// Carries out an action on all nodes.
    ///
    /// # Errors
    /// The error of this node, such as a missing grant. Then no other node is asked.
    async fn everywhere<T: DeserializeOwned>(
        &self,
        caller: &AdminCaller,
        action: &NodeAction,
    ) -> Result<NodeAnswers<T>, ApiError> {
        let here = self.here(caller, action).await?;
        let mut parts = vec![(self.context.host.this_node(), here)];
        let mut failed = Vec::new();
        let nodes = self.context.host.nodes();
        let others = self.others(&nodes).into_iter();
        let asked = join_all(others.map(|node| self.ask(node, caller, action))).await;
        for (node, answer) in asked {
            match answer.and_then(from_value) {
                Ok(part) => parts.push((node.to_owned(), part)),
                Err(error) => failed.push(NodeFailure {
                    node: node.to_owned(),
                    error: error.message,
                }),
            }
        }
        Ok(NodeAnswers { parts, failed })
    }

    /// Carries out an order that counts what it affects on all nodes.
    async fn order(&self, caller: &AdminCaller, action: &NodeAction) -> Result<Outcome, ApiError> {
        let answers = self.everywhere::<usize>(caller, action).await?;
        Ok(Outcome {
            count: answers.parts.iter().map(|(_, count)| count).sum(),
            ban: None,
            failed_nodes: answers.failed,
        })
    }

    fn record(&self, caller: &AdminCaller, order: &str, target: impl Into<String>) {
        let (by, target) = (caller.subject.clone(), target.into());
        tracing::info!(by, order, target, "admin order");
        self.context.record(EventKind::Ordered {
            by,
            order: order.to_owned(),
            target,
        });
    }
}

/// The calls of the API, one function for each.
impl AdminService {
    pub(crate) async fn nodes(&self, caller: &AdminCaller) -> Result<NodeList, ApiError> {
        let answers = self
            .everywhere::<NodeState>(caller, &NodeAction::State)
            .await?;
        let mut nodes = self.context.host.nodes();
        for (id, state) in answers.parts {
            if let Some(node) = nodes.iter_mut().find(|node| node.id == id) {
                node.state = Some(state);
            }
        }
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(NodeList {
            this: self.context.host.this_node(),
            nodes,
            failed_nodes: answers.failed,
        })
    }

    pub(crate) async fn rooms(
        &self,
        caller: &AdminCaller,
        query: RoomQuery,
    ) -> Result<RoomPage, ApiError> {
        let limit = query.check()?;
        let query = RoomQuery {
            limit: Some(limit),
            ..query
        };
        let action = NodeAction::Rooms(query.clone());
        let answers = self.everywhere::<Vec<RoomSummary>>(caller, &action).await?;
        let rooms = answers.parts.into_iter().flat_map(|(_, rooms)| rooms);
        let (rooms, next) = page_of_rooms(rooms.collect(), &query, limit)?;
        Ok(RoomPage {
            rooms,
            next,
            failed_nodes: answers.failed,
        })
    }

    pub(crate) async fn room(
        &self,
        caller: &AdminCaller,
        room: RoomRef,
    ) -> Result<RoomDetail, ApiError> {
        check_room(&room)?;
        let action = NodeAction::Members(room.clone());
        let answers = self.everywhere::<MembersPart>(caller, &action).await?;
        let parts = answers.parts.into_iter().map(|(_, part)| part);
        let parts: Vec<MembersPart> = parts.collect();
        let total = parts.iter().map(|part| part.total).max();
        let members = join_members(parts.into_iter().map(|part| part.members));
        let locks = self.context.host.locks();
        let locked = locks.iter().find(|lock| lock.room == room);
        let locked = locked.and_then(|lock| lock.locked);
        if members.is_empty() && locked.is_none() && answers.failed.is_empty() {
            return Err(ApiError::not_found("there is no such room"));
        }
        Ok(RoomDetail {
            room,
            total: total.unwrap_or_default(),
            members,
            locked,
            failed_nodes: answers.failed,
        })
    }

    pub(crate) async fn sessions(
        &self,
        caller: &AdminCaller,
        query: SessionQuery,
    ) -> Result<SessionPage, ApiError> {
        let limit = query.check()?;
        let query = SessionQuery {
            limit: Some(limit),
            ..query
        };
        let action = NodeAction::Sessions(query.clone());
        let answers = self.everywhere::<Vec<SessionSummary>>(caller, &action);
        let answers = answers.await?;
        let sessions = answers.parts.into_iter().flat_map(|(_, sessions)| sessions);
        let (sessions, next) = page_of_sessions(sessions.collect(), &query, limit)?;
        Ok(SessionPage {
            sessions,
            next,
            failed_nodes: answers.failed,
        })
    }

    pub(crate) async fn session(
        &self,
        caller: &AdminCaller,
        id: String,
    ) -> Result<SessionDetail, ApiError> {
        let action = NodeAction::Session(id);
        let answers = self.everywhere::<SessionPart>(caller, &action).await?;
        let mut detail = SessionDetail {
            session: None,
            events: Vec::new(),
            failed_nodes: answers.failed,
        };
        for (_, part) in answers.parts {
            detail.session = detail.session.or(part.session);
            detail.events.extend(part.events);
        }
        detail.events.sort_by_key(|event| event.time_ms);
        if detail.session.is_none() && detail.events.is_empty() && detail.failed_nodes.is_empty() {
            return Err(ApiError::not_found("there is no such session"));
        }
        Ok(detail)
    }

    pub(crate) async fn voice(&self, caller: &AdminCaller) -> Result<VoiceOverview, ApiError> {
        let answers = self.everywhere::<VoiceOverview>(caller, &NodeAction::Voice);
        let answers = answers.await?;
        let mut all = VoiceOverview {
            failed_nodes: answers.failed,
            ..VoiceOverview::default()
        };
        for (_, part) in answers.parts {
            all.calls.extend(part.calls);
            all.rooms.extend(part.rooms);
            all.more |= part.more;
        }
        Ok(all)
    }

    pub(crate) async fn kick(
        &self,
        caller: &AdminCaller,
        request: KickRequest,
    ) -> Result<Outcome, ApiError> {
        let target = request.target()?;
        request.room.as_ref().map_or(Ok(()), check_room)?;
        let reason = reason(request.reason.as_deref(), "removed by an operator")?;
        let text = describe(&target, request.room.as_ref());
        let room = request.room;
        let action = NodeAction::Kick {
            target,
            room,
            reason,
        };
        let outcome = self.order(caller, &action).await?;
        self.record(caller, "kick", text);
        Ok(outcome)
    }

    pub(crate) async fn ban(
        &self,
        caller: &AdminCaller,
        request: BanRequest,
    ) -> Result<Outcome, ApiError> {
        let (kick, ttl_ms) = (request.kick(), request.ttl_ms()?);
        let target = kick.target()?;
        let room = kick.room.clone();
        room.as_ref().map_or(Ok(()), check_room)?;
        caller.check(room.as_ref().map_or(Need::Admin, Need::Moderate))?;
        let reason = reason(kick.reason.as_deref(), "banned by an operator")?;
        let now_ms = self.context.host.now_ms();
        let ban = Ban {
            id: format!("{:016x}", rand::random::<u64>()),
            target: self.ban_target(&target, room.as_ref()).await?,
            room: room.clone(),
            reason: reason.clone(),
            by: caller.subject.clone(),
            created_ms: now_ms,
            expires_ms: now_ms.saturating_add(ttl_ms),
            removed: false,
        };
        let added = self.order(caller, &NodeAction::AddBan(ban.clone())).await?;
        let target = match &ban.target {
            BanTarget::Identity(name) => KickTarget::Identity(name.clone()),
            BanTarget::Network(net) => KickTarget::Network(*net),
        };
        let text = describe(&target, room.as_ref());
        let action = NodeAction::Kick {
            target,
            room,
            reason,
        };
        let kicked = self.order(caller, &action).await?;
        self.record(caller, "ban", text);
        let mut failed_nodes = added.failed_nodes;
        failed_nodes.extend(kicked.failed_nodes);
        failed_nodes.sort();
        failed_nodes.dedup_by(|a, b| a.node == b.node);
        Ok(Outcome {
            count: kicked.count,
            ban: Some(ban),
            failed_nodes,
        })
    }

    /// The identity of a session or member, or its address if it has none.
    async fn ban_target(
        &self,
        target: &KickTarget,
        room: Option<&RoomRef>,
    ) -> Result<BanTarget, ApiError> {
        let known = match (target, room) {
            (KickTarget::Identity(_) | KickTarget::Network(_), _) => {
                return target.ban_target().ok_or_else(no_session);
            }
            (KickTarget::Session(id), _) => {
                let action = NodeAction::Session(id.clone());
                let answers = self
                    .everywhere::<SessionPart>(&AdminCaller::node(), &action)
                    .await?;
                let mut parts = answers.parts.into_iter();
                let session = parts.find_map(|(_, part)| part.session);
                // A moderator bans members of the room only.
                let session = session.filter(|it| room.is_none_or(|room| it.rooms.contains(room)));
                session.map(|session| (session.identity, session.address))
            }
            (KickTarget::Member(address), Some(room)) => {
                let (room, address) = (room.clone(), address.clone());
                let action = NodeAction::Member { room, address };
                let node = AdminCaller::node();
                let answers = self.everywhere::<Option<MemberInfo>>(&node, &action);
                let parts = answers.await?.parts.into_iter();
                let parts = parts.map(|(_, member)| member.into_iter().collect());
                join_members(parts)
                    .into_iter()
                    .next()
                    .map(|member| (member.identity, member.client_address))
            }
            (KickTarget::Member(_), None) => None,
        };
        let (identity, address) = known.ok_or_else(no_session)?;
        if let Some(name) = identity {
            return Ok(BanTarget::Identity(name));
        }
        let net = address.and_then(|text| crate::requests::network(&text).ok());
        let net = net.ok_or_else(|| {
            ApiError::not_found("the session has no identity, and its address is not known")
        })?;
        Ok(BanTarget::Network(net))
    }

    pub(crate) fn bans(&self, caller: &AdminCaller) -> Result<BanList, ApiError> {
        caller.check(Need::Admin)?;
        let bans = self.context.bans.list(self.context.host.now_ms());
        Ok(BanList { bans })
    }

    pub(crate) async fn unban(
        &self,
        caller: &AdminCaller,
        id: String,
    ) -> Result<Outcome, ApiError> {
        let now = self.context.host.now_ms();
        let ban = self.context.bans.get(&id, now);
        let room = ban.as_ref().and_then(|ban| ban.room.clone());
        // Without the grant, the answer does not tell whether there is such a ban.
        caller.check(room.as_ref().map_or(Need::Admin, Need::Moderate))?;
        if ban.is_none() {
            return Err(ApiError::not_found("there is no such ban"));
        }
        let action = NodeAction::RemoveBan {
            id: id.clone(),
            room,
        };
        let answers = self.everywhere::<bool>(caller, &action).await?;
        self.record(caller, "unban", id);
        Ok(Outcome {
            count: 1,
            ban: None,
            failed_nodes: answers.failed,
        })
    }

    pub(crate) async fn close(
        &self,
        caller: &AdminCaller,
        request: CloseRequest,
    ) -> Result<Outcome, ApiError> {
        let CloseRequest {
            room,
            reason: given,
            lock,
        } = request;
        check_room(&room)?;
        let reason = reason(given.as_deref(), "the room was closed")?;
        let mut failed = Vec::new();
        if lock {
            let locked = self.set_lock(caller, room.clone(), Some(true)).await?;
            failed = locked.failed_nodes;
        }
        let text = room.name.clone();
        let action = NodeAction::Close { room, reason };
        let mut outcome = self.order(caller, &action).await?;
        self.record(caller, "close", text);
        outcome.failed_nodes.extend(failed);
        outcome.failed_nodes.sort();
        outcome.failed_nodes.dedup_by(|a, b| a.node == b.node);
        Ok(outcome)
    }

    pub(crate) async fn lock(
        &self,
        caller: &AdminCaller,
        request: LockRequest,
    ) -> Result<Outcome, ApiError> {
        let LockRequest { room, locked } = request;
        let text = room.name.clone();
        let order = match locked {
            Some(true) => "lock",
            Some(false) => "unlock",
            None => "release lock",
        };
        let outcome = self.set_lock(caller, room, locked).await?;
        self.record(caller, order, text);
        Ok(outcome)
    }

    async fn set_lock(
        &self,
        caller: &AdminCaller,
        room: RoomRef,
        locked: Option<bool>,
    ) -> Result<Outcome, ApiError> {
        check_room(&room)?;
        let lock = RoomLock {
            room,
            locked,
            changed_ms: self.context.host.now_ms(),
        };
        let outcome = self.order(caller, &NodeAction::Lock(lock)).await?;
        Ok(Outcome {
            count: 1,
            ..outcome
        })
    }

    pub(crate) async fn message(
        &self,
        caller: &AdminCaller,
        request: MessageRequest,
    ) -> Result<Outcome, ApiError> {
        check_room(&request.room)?;
        let length = request.text.chars().count();
        if length == 0 || length > MESSAGE_LENGTH_MAX {
            let text =
                format!("`text` has {length} characters; 1 to {MESSAGE_LENGTH_MAX} are allowed");
            return Err(ApiError::bad_request(text));
        }
        let name = request.room.name.clone();
        let action = NodeAction::Message {
            room: request.room,
            text: request.text,
        };
        let outcome = self.send_once(caller, &action).await?;
        self.record(caller, "message", name);
        Ok(outcome)
    }

    /// Sends a message from one node with members in the room: it reaches the members of all nodes.
    async fn send_once(
        &self,
        caller: &AdminCaller,
        action: &NodeAction,
    ) -> Result<Outcome, ApiError> {
        let mut failed_nodes = Vec::new();
        let mut count: Option<usize> = self.here(caller, action).await?;
        let nodes = self.context.host.nodes();
        for node in self.others(&nodes) {
            if count.is_some() {
                break;
            }
            match self
                .ask_node(node, caller, action)
                .await
                .and_then(from_value)
            {
                Ok(sent) => count = sent,
                Err(error) => failed_nodes.push(NodeFailure {
                    node: node.id.clone(),
                    error: error.message,
                }),
            }
        }
        match count {
            None if failed_nodes.is_empty() => Err(ApiError::not_found("the room has no members")),
            Some(_) | None => Ok(Outcome {
                count: count.unwrap_or_default(),
                ban: None,
                failed_nodes,
            }),
        }
    }

    pub(crate) async fn drain(
        &self,
        caller: &AdminCaller,
        id: &str,
        is_draining: bool,
    ) -> Result<Outcome, ApiError> {
        caller.check(Need::Admin)?;
        let action = NodeAction::Drain(is_draining);
        let this = self.context.host.this_node();
        if id == this || id == "self" {
            self.here::<usize>(caller, &action).await?;
        } else {
            let nodes = self.context.host.nodes();
            let node = nodes.iter().find(|node| node.id == id);
            let node = node.ok_or_else(|| ApiError::not_found("there is no such node"))?;
            self.ask_node(node, caller, &action).await?;
        }
        let order = if is_draining { "drain" } else { "end drain" };
        self.record(caller, order, id);
        Ok(Outcome {
            count: 1,
            ..Outcome::default()
        })
    }

    pub(crate) fn settings(&self, caller: &AdminCaller) -> Result<Settings, ApiError> {
        caller.check(Need::Admin)?;
        Ok(self.context.host.settings())
    }
}

fn no_session() -> ApiError {
    ApiError::not_found("there is no such session or member")
}

/// Joins what several nodes know of the members of a room: the node of a session knows most of it.
fn join_members(parts: impl Iterator<Item = Vec<MemberInfo>>) -> Vec<MemberInfo> {
    let mut joined: Vec<MemberInfo> = Vec::new();
    let mut places = BTreeMap::new();
    for member in parts.flatten() {
        match places.get(&member.session) {
            Some(&place) => {
                let known: &mut MemberInfo = &mut joined[place];
                if known.node.is_none() {
                    *known = member;
                }
            }
            None => {
                places.insert(member.session.clone(), joined.len());
                joined.push(member);
            }
        }
    }
    joined
}

/// The target of an order, for the log.
fn describe(target: &KickTarget, room: Option<&RoomRef>) -> String {
    let target = match target {
        KickTarget::Session(id) => format!("session {id}"),
        KickTarget::Identity(name) => format!("identity {name}"),
        KickTarget::Network(net) => format!("network {net}"),
        KickTarget::Member(address) => format!("member {address}"),
    };
    match room {
        Some(room) => format!("{target} in {}", room.name),
        None => target,
    }
}
