//! Requests as commands, and the answers to these as answers.

use redis::{Cmd, Value, cmd};
use switchboard_core::{Departure, LogId, NodeId};

use super::{
    Error, Script,
    keys::{self, Keys},
    servers::{Command, Servers},
    wire,
};
use crate::cluster::store::{Answer, Lease, Proposal, Request, Wanted};

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
/// has none, or nobody would know after its crash where to look for its seats.
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
        match request {
            Request::Beat {
                lease,
                beat,
                status,
            } => {
                plan.answer(Stage::Logs, self.of_nodes("beat", *lease, *beat, status));
            }
            Request::Bury { lease, beat } => {
                plan.answer(Stage::Closing, self.of_nodes("bury", *lease, *beat, ""));
            }
            Request::Forget(lease) => {
                plan.answer(Stage::Closing, self.of_nodes("forget", *lease, 0, ""));
            }
            Request::Logs(node) => {
                plan.answer(
                    Stage::Closing,
                    plain("SMEMBERS", &self.keys.opened(*node), None),
                );
            }
            Request::Open(node, log) => self.open(*node, log, before, plan),
            Request::Close(node, log) => {
                if *node == self.node {
                    let end = self.sharded("UNSUBSCRIBE");
                    plan.step(Stage::Logs, plain(end, &self.keys.news(log), None));
                }
                plan.answer(Stage::Closing, self.of_opened("SREM", *node, log));
            }
            Request::Read(log) => {
                plan.answer(Stage::Logs, self.of_log(Script::Read, log, None, |_| ()));
            }
            Request::Change {
                log,
                lease,
                proposal,
                seats,
                snapshot,
            } => {
                let call = |call: &mut Cmd| change(call, proposal, *seats, *snapshot);
                plan.answer(
                    Stage::Logs,
                    self.of_log(Script::Change, log, Some(*lease), call),
                );
            }
            Request::Sync {
                log,
                lease,
                known,
                wanted,
                seats,
            } => {
                let call = |call: &mut Cmd| {
                    call.arg(known.generation).arg(known.head.get()).arg(*seats);
                    wanted.iter().for_each(|wanted| add_wanted(call, wanted));
                };
                plan.answer(
                    Stage::Logs,
                    self.of_log(Script::Sync, log, Some(*lease), call),
                );
            }
            Request::Evict(log, lease) => {
                plan.answer(
                    Stage::Logs,
                    self.of_log(Script::Evict, log, Some(*lease), |_| ()),
                );
            }
            Request::Post(node, mail) => {
                let publish = self.sharded("PUBLISH");
                plan.answer(
                    Stage::Logs,
                    plain(publish, &self.keys.mail(*node), Some(mail)),
                );
            }
        }
    }

    fn open(&self, node: NodeId, log: &LogId, before: &[Request], plan: &mut Plan) {
        if node == self.node {
            let begin = self.sharded("SUBSCRIBE");
            plan.step(Stage::Logs, plain(begin, &self.keys.news(log), None));
        }
        let is_opener =
            |other: &Request| matches!(other, Request::Close(n, l) if *n == node && l == log);
        if self.servers.is_cluster() && before.iter().any(is_opener) {
            plan.step(Stage::Closing, self.of_opened("SADD", node, log));
        }
        plan.answer(Stage::Opening, self.of_opened("SADD", node, log));
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
        script(call, &keys[0])
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
        script(call, &keys[0])
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

    /// What the batch is answered, if this is what its steps are answered.
    pub(super) fn answers(
        &self,
        batch: &[Request],
        values: &[Value],
    ) -> Result<Vec<Answer>, Error> {
        let values = self.answered.iter().map(|step| &values[*step]);
        let answers = batch.iter().zip(values);
        answers
            .map(|(request, value)| answer(request, value))
            .collect()
    }
}

fn script(cmd: Cmd, key: &str) -> Command {
    Command {
        cmd,
        slot: keys::slot(key),
        is_script: true,
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
    }
}

fn change(call: &mut Cmd, proposal: &Proposal, seats: usize, snapshot: bool) {
    call.arg(seats).arg(u8::from(snapshot));
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

fn add_wanted(call: &mut Cmd, wanted: &Wanted) {
    let since = wanted.since.map(|since| since.get().to_string());
    call.arg(wanted.peer.to_string())
        .arg(wanted.address.as_str());
    call.arg(since.unwrap_or_default()).arg(&wanted.card);
}

fn answer(request: &Request, value: &Value) -> Result<Answer, Error> {
    Ok(match request {
        Request::Beat { .. } => {
            let [valid, nodes] = wire::array(value)?;
            Answer::Beaten {
                valid: wire::flag(valid)?,
                nodes: wire::nodes(nodes)?,
            }
        }
        Request::Bury { .. } => Answer::Buried(wire::flag(value)?),
        Request::Logs(_) => Answer::Logs(wire::logs(value)?),
        Request::Read(_) => Answer::Read(wire::snapshot(value)?),
        Request::Change { .. } => {
            let [outcome, snapshot] = wire::array(value)?;
            Answer::Changed {
                outcome: wire::outcome(outcome)?,
                snapshot: wire::snapshot(snapshot)?,
            }
        }
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
