//! Requests as commands, and the answers to these as answers.

use redis::{Cmd, Value, cmd};
use switchboard_core::{LeaveCause, LogId, NodeId};

use super::{
    Script, StoreError,
    keys::{self, KeyNames},
    servers::{RedisCommand, RedisServers},
    wire,
};
use crate::cluster::store::{Lease, LogVersion, MemberSpec, Proposal, StoreRequest, StoreResponse};

/// The commands of a batch.
#[derive(Debug, Default)]
pub(super) struct CommandPlan {
    pub(super) steps: Vec<PlannedCommand>,
    /// Per request the step that is answered.
    answered: Vec<usize>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct PlannedCommand {
    pub(super) command: RedisCommand,
    pub(super) stage: CommandStage,
}

/// When a step is due where there are several servers: each stage begins when the one before it
/// has ended. A node must be known to have opened a log before it has a seat there, and until it
/// has none, or nobody would know after its crash where to look for its seats. What somebody says goes out
/// before it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CommandStage {
    Subscribe,
    Change,
    Unsubscribe,
}

/// What makes plans, for one node.
#[derive(Debug)]
pub(super) struct Planner<'a> {
    pub(super) keys: &'a KeyNames,
    pub(super) servers: &'a RedisServers,
    pub(super) node: NodeId,
}

impl Planner<'_> {
    pub(super) fn plan(&self, batch: &[StoreRequest]) -> CommandPlan {
        let mut plan = CommandPlan::default();
        for (at, request) in batch.iter().enumerate() {
            self.add(request, &batch[..at], &mut plan);
        }
        plan
    }

    fn add(&self, request: &StoreRequest, before: &[StoreRequest], plan: &mut CommandPlan) {
        let (stage, command) = match request {
            StoreRequest::Subscribe(node, log) => return self.open(*node, log, before, plan),
            StoreRequest::Unsubscribe(node, log) => return self.close(*node, log, plan),
            StoreRequest::Heartbeat {
                lease,
                counter: beat,
                status,
            } => (
                CommandStage::Change,
                self.of_nodes("beat", *lease, *beat, status),
            ),
            StoreRequest::Fence {
                lease,
                last_heartbeat: beat,
            } => (
                CommandStage::Unsubscribe,
                self.of_nodes("bury", *lease, *beat, ""),
            ),
            StoreRequest::RemoveNode(lease) => (
                CommandStage::Unsubscribe,
                self.of_nodes("forget", *lease, 0, ""),
            ),
            StoreRequest::SubscribedLogs(node) => {
                let members = single_key_command("SMEMBERS", &self.keys.subscriptions(*node), None);
                (CommandStage::Unsubscribe, members)
            }
            StoreRequest::Post(node, mail) => {
                let publish = self.sharded("PUBLISH");
                let post = single_key_command(publish, &self.keys.node_channel(*node), Some(mail));
                (CommandStage::Subscribe, post)
            }
            StoreRequest::Read(log) => (
                CommandStage::Change,
                self.of_log(Script::Read, log, None, |_| ()),
            ),
            StoreRequest::Evict(log, lease) => {
                let evict = self.of_log(Script::Evict, log, Some(*lease), |_| ());
                (CommandStage::Change, evict)
            }
            StoreRequest::Change {
                log,
                lease,
                proposal,
                members_max: seats,
            } => {
                let arguments = |call: &mut Cmd| change(call, proposal, *seats);
                let change = self.of_log(Script::Change, log, Some(*lease), arguments);
                (CommandStage::Change, change)
            }
            StoreRequest::Sync {
                log,
                lease,
                known_version: known,
                wanted,
                members_max: seats,
            } => {
                let arguments = |call: &mut Cmd| sync(call, *known, wanted, *seats);
                let sync = self.of_log(Script::Sync, log, Some(*lease), arguments);
                (CommandStage::Change, sync)
            }
        };
        plan.answer(stage, command);
    }

    fn open(&self, node: NodeId, log: &LogId, before: &[StoreRequest], plan: &mut CommandPlan) {
        if node == self.node {
            let begin = self.sharded("SUBSCRIBE");
            plan.step(
                CommandStage::Change,
                single_key_command(begin, &self.keys.log_channel(log), None),
            );
        }
        let is_closing = |other: &StoreRequest| matches!(other, StoreRequest::Unsubscribe(n, l) if *n == node && l == log);
        if self.servers.is_cluster() && before.iter().any(is_closing) {
            plan.step(CommandStage::Unsubscribe, self.of_opened("SADD", node, log));
        }
        plan.answer(CommandStage::Subscribe, self.of_opened("SADD", node, log));
    }

    fn close(&self, node: NodeId, log: &LogId, plan: &mut CommandPlan) {
        if node == self.node {
            let end = self.sharded("UNSUBSCRIBE");
            plan.step(
                CommandStage::Change,
                single_key_command(end, &self.keys.log_channel(log), None),
            );
        }
        plan.answer(CommandStage::Unsubscribe, self.of_opened("SREM", node, log));
    }

    /// The command as it is called for channels that have a slot.
    pub(super) fn sharded(&self, verb: &'static str) -> &'static str {
        match (self.servers.is_cluster(), verb) {
            (true, "SUBSCRIBE") => "SSUBSCRIBE",
            (true, "UNSUBSCRIBE") => "SUNSUBSCRIBE",
            (true, "PUBLISH") => "SPUBLISH",
            (_, verb) => verb,
        }
    }

    fn of_nodes(&self, verb: &str, lease: Lease, beat: u64, status: &str) -> RedisCommand {
        let keys = [self.keys.nodes(), self.keys.subscriptions(lease.node)];
        let mut call = self.call(Script::Nodes, &keys);
        call.arg(verb).arg(lease.node.to_string());
        call.arg(lease.epoch).arg(beat).arg(status);
        RedisCommand {
            cmd: call,
            slot: keys::slot(&keys[0]),
            is_script: true,
            is_of_log: false,
        }
    }

    fn of_log(
        &self,
        which: Script,
        log: &LogId,
        lease: Option<Lease>,
        arguments: impl FnOnce(&mut Cmd),
    ) -> RedisCommand {
        let keys = [self.keys.log(log)];
        let mut call = self.call(which, &keys);
        if let Some(lease) = lease {
            call.arg(self.sharded("PUBLISH"))
                .arg(self.keys.log_channel(log));
            call.arg(lease.node.to_string()).arg(lease.epoch);
        }
        arguments(&mut call);
        RedisCommand {
            cmd: call,
            slot: keys::slot(&keys[0]),
            is_script: true,
            is_of_log: true,
        }
    }

    fn call(&self, which: Script, keys: &[String]) -> Cmd {
        let verb = match which {
            Script::Read => "EVALSHA_RO",
            Script::Nodes | Script::Change | Script::Sync | Script::Evict => "EVALSHA",
        };
        let mut call = cmd(verb);
        call.arg(self.servers.sha(which)).arg(keys.len()).arg(keys);
        call
    }

    fn of_opened(&self, verb: &str, node: NodeId, log: &LogId) -> RedisCommand {
        let member = keys::log_text(log);
        single_key_command(
            verb,
            &self.keys.subscriptions(node),
            Some(member.as_bytes()),
        )
    }
}

impl CommandPlan {
    fn step(&mut self, stage: CommandStage, command: RedisCommand) {
        self.steps.push(PlannedCommand { command, stage });
    }

    fn answer(&mut self, stage: CommandStage, command: RedisCommand) {
        self.answered.push(self.steps.len());
        self.step(stage, command);
    }

    /// What the batch is answered, if this is what its steps are answered. What is wrong about one
    /// log is the answer to who asked about it.
    pub(super) fn answers(
        &self,
        keys: &KeyNames,
        batch: &[StoreRequest],
        values: &[Value],
    ) -> Result<Vec<StoreResponse>, StoreError> {
        let values = self.answered.iter().map(|step| &values[*step]);
        let answers = batch.iter().zip(values);
        let answers = answers.map(|(request, value)| match answer(request, value) {
            Err(StoreError::Malformed(why)) if let Some(log) = log_of(request) => {
                Ok(StoreResponse::Failed(format!("{}: {why}", keys.log(log))))
            }
            answered => answered,
        });
        answers.collect()
    }
}

/// The log that a request is about and nothing else.
pub(super) fn log_of(request: &StoreRequest) -> Option<&LogId> {
    match request {
        StoreRequest::Read(log)
        | StoreRequest::Change { log, .. }
        | StoreRequest::Sync { log, .. }
        | StoreRequest::Evict(log, _) => Some(log),
        // These are about what a node has opened, or its channels.
        StoreRequest::Subscribe(..)
        | StoreRequest::Unsubscribe(..)
        | StoreRequest::Heartbeat { .. }
        | StoreRequest::Fence { .. }
        | StoreRequest::RemoveNode(_)
        | StoreRequest::SubscribedLogs(_)
        | StoreRequest::Post(..) => None,
    }
}

/// A command about one key or channel.
pub(super) fn single_key_command(verb: &str, key: &str, argument: Option<&[u8]>) -> RedisCommand {
    let mut command = cmd(verb);
    command.arg(key);
    if let Some(argument) = argument {
        command.arg(argument);
    }
    RedisCommand {
        cmd: command,
        slot: keys::slot(key),
        is_script: false,
        is_of_log: false,
    }
}

fn change(call: &mut Cmd, proposal: &Proposal, seats: usize) {
    call.arg(seats);
    match proposal {
        Proposal::Join(wanted) => {
            call.arg("join").arg(wanted.peer.to_string());
            call.arg(wanted.address.as_str()).arg(&wanted.metadata);
        }
        Proposal::Leave(peer, departure) => {
            let is_eviction = matches!(departure, LeaveCause::Evicted(_));
            call.arg("leave").arg(peer.to_string());
            call.arg(wire::leave_cause_text(*departure))
                .arg(u8::from(is_eviction));
        }
    }
}

fn sync(call: &mut Cmd, known: LogVersion, wanted: &[MemberSpec], seats: usize) {
    call.arg(known.generation).arg(known.head.get()).arg(seats);
    for wanted in wanted {
        let since = wanted.since.map(|since| since.get().to_string());
        call.arg(wanted.peer.to_string())
            .arg(wanted.address.as_str());
        call.arg(since.unwrap_or_default()).arg(&wanted.metadata);
    }
}

fn answer(request: &StoreRequest, value: &Value) -> Result<StoreResponse, StoreError> {
    let value = wire::accepted(value)?;
    Ok(match request {
        StoreRequest::Heartbeat { .. } => {
            let [valid, is_listed, nodes] = wire::array(value)?;
            StoreResponse::Heartbeat {
                valid: wire::flag(valid)?,
                is_listed: wire::flag(is_listed)?,
                nodes: wire::nodes(nodes)?,
            }
        }
        StoreRequest::Fence { .. } => StoreResponse::Fenced(wire::flag(value)?),
        StoreRequest::SubscribedLogs(_) => StoreResponse::Logs(wire::logs(value)?),
        StoreRequest::Read(_) => StoreResponse::Read(wire::snapshot(value)?),
        StoreRequest::Change { .. } => StoreResponse::Changed {
            outcome: wire::outcome(value)?,
        },
        StoreRequest::Sync { .. } => {
            let [fenced, declined, snapshot] = wire::array(value)?;
            StoreResponse::Synced {
                fenced: wire::flag(fenced)?,
                rejected: wire::rejected_joins(declined)?,
                snapshot: wire::snapshot(snapshot)?,
            }
        }
        StoreRequest::Post(..) => StoreResponse::Posted(wire::count(value)?),
        StoreRequest::RemoveNode(_)
        | StoreRequest::Subscribe(..)
        | StoreRequest::Unsubscribe(..)
        | StoreRequest::Evict(..) => {
            wire::flag(value)?;
            StoreResponse::Done
        }
    })
}
