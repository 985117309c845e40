//! Requests as commands, and the answers to these as answers.

use redis::{Cmd, Value, cmd};
use switchboard_core::{Departure, LogId, NodeId};

use super::{
    Error, Script,
    keys::{self, Keys},
    servers::{Command, Servers},
    wire,
};
use crate::cluster::store::{Answer, Known, Lease, Proposal, Request, Wanted};

/// The commands of a batch.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// Per request the step that is answered.
    answered: Vec<usize>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) command: Command,
    pub(super) stage: Stage,
}

/// When a step is due where there are several servers: each stage begins when the one before it
/// has ended. A node must be known to have opened a log before it has a seat there, and until it
/// has none, or nobody would know after its crash where to look for its seats. What somebody says goes out
/// before it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Opening,
    Logs,
    Closing,
}

/// What makes plans, for one node.
#[derive(Debug)]
pub(super) struct Planner<'a> {
    pub(super) keys: &'a Keys,
    pub(super) servers: &'a Servers,
    pub(super) node: NodeId,
}

impl Planner<'_> {
    pub(super) fn plan(&self, batch: &[Request]) -> Plan {
        let mut plan = Plan::default();
        for (at, request) in batch.iter().enumerate() {
            self.add(request, &batch[..at], &mut plan);
        }
        plan
    }

    fn add(&self, request: &Request, before: &[Request], plan: &mut Plan) {
        let (stage, command) = match request {
            Request::Open(node, log) => return self.open(*node, log, before, plan),
            Request::Close(node, log) => return self.close(*node, log, plan),
            Request::Beat {
                lease,
                beat,
                status,
            } => (Stage::Logs, self.of_nodes("beat", *lease, *beat, status)),
            Request::Bury { lease, beat } => {
                (Stage::Closing, self.of_nodes("bury", *lease, *beat, ""))
            }
            Request::Forget(lease) => (Stage::Closing, self.of_nodes("forget", *lease, 0, "")),
            Request::Logs(node) => {
                let members = plain("SMEMBERS", &self.keys.opened(*node), None);
                (Stage::Closing, members)
            }
            Request::Post(node, mail) => {
                let publish = self.sharded("PUBLISH");
                let post = plain(publish, &self.keys.mail(*node), Some(mail));
                (Stage::Opening, post)
            }
            Request::Read(log) => (Stage::Logs, self.of_log(Script::Read, log, None, |_| ())),
            Request::Evict(log, lease) => {
                let evict = self.of_log(Script::Evict, log, Some(*lease), |_| ());
                (Stage::Logs, evict)
            }
            Request::Change {
                log,
                lease,
                proposal,
                seats,
            } => {
                let arguments = |call: &mut Cmd| change(call, proposal, *seats);
                let change = self.of_log(Script::Change, log, Some(*lease), arguments);
                (Stage::Logs, change)
            }
            Request::Sync {
                log,
                lease,
                known,
                wanted,
                seats,
            } => {
                let arguments = |call: &mut Cmd| sync(call, *known, wanted, *seats);
                let sync = self.of_log(Script::Sync, log, Some(*lease), arguments);
                (Stage::Logs, sync)
            }
        };
        plan.answer(stage, command);
    }

    fn open(&self, node: NodeId, log: &LogId, before: &[Request], plan: &mut Plan) {
        if node == self.node {
            let begin = self.sharded("SUBSCRIBE");
            plan.step(Stage::Logs, plain(begin, &self.keys.news(log), None));
        }
        let is_closing =
            |other: &Request| matches!(other, Request::Close(n, l) if *n == node && l == log);
        if self.servers.is_cluster() && before.iter().any(is_closing) {
            plan.step(Stage::Closing, self.of_opened("SADD", node, log));
        }
        plan.answer(Stage::Opening, self.of_opened("SADD", node, log));
    }

    fn close(&self, node: NodeId, log: &LogId, plan: &mut Plan) {
        if node == self.node {
            let end = self.sharded("UNSUBSCRIBE");
            plan.step(Stage::Logs, plain(end, &self.keys.news(log), None));
        }
        plan.answer(Stage::Closing, self.of_opened("SREM", node, log));
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

    fn of_nodes(&self, verb: &str, lease: Lease, beat: u64, status: &str) -> Command {
        let keys = [self.keys.nodes(), self.keys.opened(lease.node)];
        let mut call = self.call(Script::Nodes, &keys);
        call.arg(verb).arg(lease.node.to_string());
        call.arg(lease.epoch).arg(beat).arg(status);
        Command {
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
    ) -> Command {
        let keys = [self.keys.log(log)];
        let mut call = self.call(which, &keys);
        if let Some(lease) = lease {
            call.arg(self.sharded("PUBLISH")).arg(self.keys.news(log));
            call.arg(lease.node.to_string()).arg(lease.epoch);
        }
        arguments(&mut call);
        Command {
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

    fn of_opened(&self, verb: &str, node: NodeId, log: &LogId) -> Command {
        let member = keys::log_text(log);
        plain(verb, &self.keys.opened(node), Some(member.as_bytes()))
    }
}

impl Plan {
    fn step(&mut self, stage: Stage, command: Command) {
        self.steps.push(Step { command, stage });
    }

    fn answer(&mut self, stage: Stage, command: Command) {
        self.answered.push(self.steps.len());
        self.step(stage, command);
    }

    /// What the batch is answered, if this is what its steps are answered. What is wrong about one
    /// log is the answer to who asked about it.
    pub(super) fn answers(
        &self,
        keys: &Keys,
        batch: &[Request],
        values: &[Value],
    ) -> Result<Vec<Answer>, Error> {
        let values = self.answered.iter().map(|step| &values[*step]);
        let answers = batch.iter().zip(values);
        let answers = answers.map(|(request, value)| match answer(request, value) {
            Err(Error::Garbage(why)) if let Some(log) = log_of(request) => {
                Ok(Answer::Failed(format!("{}: {why}", keys.log(log))))
            }
            answered => answered,
        });
        answers.collect()
    }
}

/// The log that a request is about and nothing else.
pub(super) fn log_of(request: &Request) -> Option<&LogId> {
    match request {
        Request::Read(log)
        | Request::Change { log, .. }
        | Request::Sync { log, .. }
        | Request::Evict(log, _) => Some(log),
        // These are about what a node has opened, or its channels.
        Request::Open(..)
        | Request::Close(..)
        | Request::Beat { .. }
        | Request::Bury { .. }
        | Request::Forget(_)
        | Request::Logs(_)
        | Request::Post(..) => None,
    }
}

/// A command about one key or channel.
pub(super) fn plain(verb: &str, key: &str, argument: Option<&[u8]>) -> Command {
    let mut command = cmd(verb);
    command.arg(key);
    if let Some(argument) = argument {
        command.arg(argument);
    }
    Command {
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
            call.arg(wanted.address.as_str()).arg(&wanted.card);
        }
        Proposal::Leave(peer, departure) => {
            let is_eviction = matches!(departure, Departure::Evicted(_));
            call.arg("leave").arg(peer.to_string());
            call.arg(wire::departure_text(*departure))
                .arg(u8::from(is_eviction));
        }
    }
}

fn sync(call: &mut Cmd, known: Known, wanted: &[Wanted], seats: usize) {
    call.arg(known.generation).arg(known.head.get()).arg(seats);
    for wanted in wanted {
        let since = wanted.since.map(|since| since.get().to_string());
        call.arg(wanted.peer.to_string())
            .arg(wanted.address.as_str());
        call.arg(since.unwrap_or_default()).arg(&wanted.card);
    }
}

fn answer(request: &Request, value: &Value) -> Result<Answer, Error> {
    let value = wire::accepted(value)?;
    Ok(match request {
        Request::Beat { .. } => {
            let [valid, is_listed, nodes] = wire::array(value)?;
            Answer::Beaten {
                valid: wire::flag(valid)?,
                is_listed: wire::flag(is_listed)?,
                nodes: wire::nodes(nodes)?,
            }
        }
        Request::Bury { .. } => Answer::Buried(wire::flag(value)?),
        Request::Logs(_) => Answer::Logs(wire::logs(value)?),
        Request::Read(_) => Answer::Read(wire::snapshot(value)?),
        Request::Change { .. } => Answer::Changed {
            outcome: wire::outcome(value)?,
        },
        Request::Sync { .. } => {
            let [fenced, declined, snapshot] = wire::array(value)?;
            Answer::Synced {
                fenced: wire::flag(fenced)?,
                declined: wire::declined(declined)?,
                snapshot: wire::snapshot(snapshot)?,
            }
        }
        Request::Post(..) => Answer::Posted(wire::count(value)?),
        Request::Forget(_) | Request::Open(..) | Request::Close(..) | Request::Evict(..) => {
            wire::flag(value)?;
            Answer::Done
        }
    })
}
