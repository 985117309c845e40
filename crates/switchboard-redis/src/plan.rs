//! Translates store requests to Redis commands, and the replies of Redis to store responses.

use redis::{Cmd, Value, cmd};
use switchboard_core::{LeaveCause, LogId, NodeId, error_chain};

use super::{
    DATA_FORMAT, DATA_FORMAT_EXPIRY_SECS, Script, StoreError,
    keys::{self, KeyNames},
    servers::{CommandKind, RedisCommand, RedisServers},
    wire,
};
use switchboard_cluster::store::{
    Lease, LogVersion, MemberSpec, Proposal, StoreRequest, StoreResponse,
};

/// The Redis commands of a batch of requests.
#[derive(Debug, Default)]
pub(super) struct CommandPlan {
    pub(super) commands: Vec<RedisCommand>,
    /// The stage of each command.
    pub(super) stages: Vec<CommandStage>,
    /// For each request, the index of the command whose reply answers it.
    reply_indices: Vec<usize>,
}

/// The order of commands on a Redis Cluster: a stage begins when the stage before it has ended.
///
/// The set of logs to which a node is subscribed is stored, so that other nodes find its members if it crashes. A
/// subscription must therefore be stored before the node's first member joins the log, and be removed only after its
/// last member has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CommandStage {
    /// Stores subscriptions. Sends messages, which must arrive before their sender leaves.
    Subscribe,
    /// Reads and changes logs. Starts and stops the pub/sub delivery of their events, in order with the changes.
    Change,
    /// Reads and removes stored subscriptions. Fences and removes nodes.
    Unsubscribe,
}

impl CommandStage {
    /// All stages, in their order.
    pub(super) const ALL: [Self; 3] = [Self::Subscribe, Self::Change, Self::Unsubscribe];
}

/// Plans the commands of one node.
#[derive(Debug)]
pub(super) struct Planner<'a> {
    pub(super) keys: &'a KeyNames,
    pub(super) servers: &'a RedisServers,
    pub(super) node: NodeId,
}

impl Planner<'_> {
    pub(super) fn plan(&self, batch: &[StoreRequest]) -> CommandPlan {
        let mut plan = CommandPlan::default();
        for (index, request) in batch.iter().enumerate() {
            self.add(request, &batch[..index], &mut plan);
        }
        plan
    }

    fn add(&self, request: &StoreRequest, earlier: &[StoreRequest], plan: &mut CommandPlan) {
        let (stage, command) = match request {
            StoreRequest::Subscribe(node, log) => {
                return self.plan_subscribe(*node, log, earlier, plan);
            }
            StoreRequest::Unsubscribe(node, log) => return self.plan_unsubscribe(*node, log, plan),
            StoreRequest::Heartbeat {
                lease,
                counter,
                status,
            } => (
                CommandStage::Change,
                self.nodes_command("beat", *lease, *counter, status),
            ),
            StoreRequest::Fence {
                lease,
                last_heartbeat: counter,
            } => (
                CommandStage::Unsubscribe,
                self.nodes_command("bury", *lease, *counter, ""),
            ),
            StoreRequest::RemoveNode(lease) => (
                CommandStage::Unsubscribe,
                self.nodes_command("forget", *lease, 0, ""),
            ),
            StoreRequest::SubscribedLogs(node) => {
                let members = self.servers.single_key_command(
                    "SMEMBERS",
                    &self.keys.subscriptions(*node),
                    None,
                );
                (CommandStage::Unsubscribe, members)
            }
            StoreRequest::Post(node, envelope) => {
                let publish = self.sharded("PUBLISH");
                let post = self.servers.single_key_command(
                    publish,
                    &self.keys.node_channel(*node),
                    Some(envelope),
                );
                (CommandStage::Subscribe, post)
            }
            StoreRequest::Read(log) => (
                CommandStage::Change,
                self.log_command(Script::Read, log, None, |_| ()),
            ),
            StoreRequest::Evict(log, lease) => {
                let evict = self.log_command(Script::Evict, log, Some(*lease), |_| ());
                (CommandStage::Change, evict)
            }
            StoreRequest::Change {
                log,
                lease,
                proposal,
                members_max,
            } => {
                let arguments =
                    |command: &mut Cmd| append_change_arguments(command, proposal, *members_max);
                let change = self.log_command(Script::Change, log, Some(*lease), arguments);
                (CommandStage::Change, change)
            }
            StoreRequest::Sync {
                log,
                lease,
                known_version,
                wanted,
                members_max,
            } => {
                let arguments = |command: &mut Cmd| {
                    append_sync_arguments(command, *known_version, wanted, *members_max)
                };
                let sync = self.log_command(Script::Sync, log, Some(*lease), arguments);
                (CommandStage::Change, sync)
            }
        };
        plan.push_answering(stage, command);
    }

    fn plan_subscribe(
        &self,
        node: NodeId,
        log: &LogId,
        earlier: &[StoreRequest],
        plan: &mut CommandPlan,
    ) {
        if node == self.node {
            let subscribe = self.sharded("SUBSCRIBE");
            plan.push(
                CommandStage::Change,
                self.servers
                    .single_key_command(subscribe, &self.keys.log_channel(log), None),
            );
        }
        // An earlier `Unsubscribe` of this batch removes the stored subscription in the last stage. The subscription
        // is stored again after that.
        let is_unsubscribe = |other: &StoreRequest| matches!(other, StoreRequest::Unsubscribe(n, l) if *n == node && l == log);
        if self.servers.is_cluster() && earlier.iter().any(is_unsubscribe) {
            plan.push(
                CommandStage::Unsubscribe,
                self.subscriptions_command("SADD", node, log),
            );
        }
        plan.push_answering(
            CommandStage::Subscribe,
            self.subscriptions_command("SADD", node, log),
        );
    }

    fn plan_unsubscribe(&self, node: NodeId, log: &LogId, plan: &mut CommandPlan) {
        if node == self.node {
            let unsubscribe = self.sharded("UNSUBSCRIBE");
            plan.push(
                CommandStage::Change,
                self.servers
                    .single_key_command(unsubscribe, &self.keys.log_channel(log), None),
            );
        }
        plan.push_answering(
            CommandStage::Unsubscribe,
            self.subscriptions_command("SREM", node, log),
        );
    }

    /// The name of a pub/sub command: its sharded variant on a Redis Cluster.
    pub(super) fn sharded(&self, name: &'static str) -> &'static str {
        match (self.servers.is_cluster(), name) {
            (true, "SUBSCRIBE") => "SSUBSCRIBE",
            (true, "UNSUBSCRIBE") => "SUNSUBSCRIBE",
            (true, "PUBLISH") => "SPUBLISH",
            (_, name) => name,
        }
    }

    /// A change of the node list. `nodes.lua` defines the verbs.
    fn nodes_command(&self, verb: &str, lease: Lease, counter: u64, status: &str) -> RedisCommand {
        let keys = [
            self.keys.nodes(),
            self.keys.subscriptions(lease.node),
            self.keys.format(),
        ];
        let mut command = self.script_call(Script::Nodes, &keys);
        command.arg(verb).arg(lease.node.to_string());
        command.arg(lease.epoch).arg(counter).arg(status);
        command.arg(DATA_FORMAT).arg(DATA_FORMAT_EXPIRY_SECS);
        RedisCommand {
            cmd: command,
            slot: self.servers.slot(&keys[0]),
            kind: CommandKind {
                is_script: true,
                is_of_log: false,
            },
        }
    }

    fn log_command(
        &self,
        script: Script,
        log: &LogId,
        lease: Option<Lease>,
        arguments: impl FnOnce(&mut Cmd),
    ) -> RedisCommand {
        let keys = [self.keys.log(log)];
        let mut command = self.script_call(script, &keys);
        if let Some(lease) = lease {
            command
                .arg(self.sharded("PUBLISH"))
                .arg(self.keys.log_channel(log));
            command.arg(lease.node.to_string()).arg(lease.epoch);
        }
        arguments(&mut command);
        RedisCommand {
            cmd: command,
            slot: self.servers.slot(&keys[0]),
            kind: CommandKind {
                is_script: true,
                is_of_log: true,
            },
        }
    }

    fn script_call(&self, script: Script, keys: &[String]) -> Cmd {
        let name = match script {
            Script::Read => "EVALSHA_RO",
            Script::Nodes | Script::Change | Script::Sync | Script::Evict => "EVALSHA",
        };
        let mut command = cmd(name);
        command
            .arg(self.servers.sha(script))
            .arg(keys.len())
            .arg(keys);
        command
    }

    fn subscriptions_command(&self, name: &str, node: NodeId, log: &LogId) -> RedisCommand {
        let member = keys::log_text(log);
        self.servers.single_key_command(
            name,
            &self.keys.subscriptions(node),
            Some(member.as_bytes()),
        )
    }
}

impl CommandPlan {
    /// Adds a command whose reply is ignored.
    fn push(&mut self, stage: CommandStage, command: RedisCommand) {
        self.commands.push(command);
        self.stages.push(stage);
    }

    /// Adds the command whose reply answers the next request.
    fn push_answering(&mut self, stage: CommandStage, command: RedisCommand) {
        self.reply_indices.push(self.commands.len());
        self.push(stage, command);
    }

    /// Translates the replies to the commands into the responses to the batch. A malformed reply
    /// about one log becomes [`StoreResponse::Failed`] for its request only.
    pub(super) fn parse_responses(
        &self,
        keys: &KeyNames,
        batch: &[StoreRequest],
        replies: &[Value],
    ) -> Result<Vec<StoreResponse>, StoreError> {
        let replies = self.reply_indices.iter().map(|index| &replies[*index]);
        let pairs = batch.iter().zip(replies);
        let responses = pairs.map(|(request, reply)| match parse_response(request, reply) {
            Err(error)
                if error.is_malformed()
                    && let Some(log) = log_of(request) =>
            {
                let error = error.in_key(&keys.log(log));
                Ok(StoreResponse::Failed(error_chain(&error)))
            }
            response => response,
        });
        responses.collect()
    }
}

/// The log of a request that concerns exactly one log.
pub(super) fn log_of(request: &StoreRequest) -> Option<&LogId> {
    match request {
        StoreRequest::Read(log)
        | StoreRequest::Change { log, .. }
        | StoreRequest::Sync { log, .. }
        | StoreRequest::Evict(log, _) => Some(log),
        // These concern the subscriptions of a node, or its channels.
        StoreRequest::Subscribe(..)
        | StoreRequest::Unsubscribe(..)
        | StoreRequest::Heartbeat { .. }
        | StoreRequest::Fence { .. }
        | StoreRequest::RemoveNode(_)
        | StoreRequest::SubscribedLogs(_)
        | StoreRequest::Post(..) => None,
    }
}

fn append_change_arguments(command: &mut Cmd, proposal: &Proposal, members_max: usize) {
    command.arg(members_max);
    match proposal {
        Proposal::Join(wanted) => {
            command.arg("join").arg(wanted.peer.to_string());
            command.arg(wanted.address.as_str()).arg(&wanted.metadata);
        }
        Proposal::Leave(peer, cause) => {
            let is_eviction = matches!(cause, LeaveCause::Evicted(_));
            command.arg("leave").arg(peer.to_string());
            command
                .arg(wire::leave_cause_text(*cause))
                .arg(u8::from(is_eviction));
        }
    }
}

fn append_sync_arguments(
    command: &mut Cmd,
    known_version: LogVersion,
    wanted: &[MemberSpec],
    members_max: usize,
) {
    command
        .arg(known_version.generation)
        .arg(known_version.head.get())
        .arg(members_max);
    for wanted in wanted {
        let since = wanted.since.map(|since| since.get().to_string());
        command
            .arg(wanted.peer.to_string())
            .arg(wanted.address.as_str());
        command.arg(since.unwrap_or_default()).arg(&wanted.metadata);
    }
}

fn parse_response(request: &StoreRequest, reply: &Value) -> Result<StoreResponse, StoreError> {
    let reply = wire::require_no_error(reply)?;
    Ok(match request {
        StoreRequest::Heartbeat { .. } => {
            let [valid, was_listed, nodes] = wire::array(reply)?;
            StoreResponse::Heartbeat {
                valid: wire::flag(valid)?,
                was_listed: wire::flag(was_listed)?,
                nodes: wire::nodes(nodes)?,
            }
        }
        StoreRequest::Fence { .. } => StoreResponse::Fenced(wire::flag(reply)?),
        StoreRequest::SubscribedLogs(_) => StoreResponse::Logs(wire::logs(reply)?),
        StoreRequest::Read(_) => StoreResponse::Read(wire::snapshot(reply)?),
        StoreRequest::Change { .. } => StoreResponse::Changed {
            outcome: wire::outcome(reply)?,
        },
        StoreRequest::Sync { .. } => {
            let [fenced, rejected, snapshot] = wire::array(reply)?;
            StoreResponse::Synced {
                fenced: wire::flag(fenced)?,
                rejected: wire::rejected_joins(rejected)?,
                snapshot: wire::snapshot(snapshot)?,
            }
        }
        StoreRequest::Post(..) => StoreResponse::Posted(wire::count(reply)?),
        StoreRequest::RemoveNode(_)
        | StoreRequest::Subscribe(..)
        | StoreRequest::Unsubscribe(..)
        | StoreRequest::Evict(..) => {
            wire::flag(reply)?;
            StoreResponse::Done
        }
    })
}
