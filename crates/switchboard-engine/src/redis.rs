//! Carries what a cluster asks of its store to Redis, or to a Redis Cluster (Redis 7.0 or newer, or
//! Valkey).
//!
//! Every request is one command: what changes something is a script, which runs in one atomic step.
//! What is called how there stands in `keys.rs`; nothing stays there but the deployment's secret
//! when the last node has left in good order.

use std::{collections::BTreeSet, sync::Arc};

use ::redis::{Value, cmd};
use rand::RngExt as _;
use switchboard_core::{LogId, NodeId};
use tokio::sync::{Mutex, mpsc};

mod address;
mod engine;
mod error;
mod keys;
mod plan;
mod pushes;
mod script;
mod servers;
mod wire;

pub use address::{Address, AddressError};
pub use engine::{Redis, RedisSettings};
pub use error::Error;
pub use pushes::Push;

use crate::cluster::store::{Answer, NodeStatus, Request};
use keys::Keys;
use plan::{Planner, Stage, log_of, plain};
use pushes::Pushes;
use script::Script;
use servers::{Command, Servers};

/// How many pushes may wait for the node.
const QUEUE: usize = 16 * 1024;

const SECRET_BYTES: usize = 32;

/// A node's connection to its store. It lasts until the first error: after one, or after
/// [`Push::Lost`], the node drops it and opens another.
#[derive(Debug)]
pub struct Connection {
    node: NodeId,
    keys: Keys,
    servers: Servers,
    pushes: Arc<Pushes>,
    /// Whose batch is under way; and the logs of which it was said that they are spoilt.
    turn: Mutex<BTreeSet<LogId>>,
}

impl Connection {
    /// Connects a node, which gets its mail from now on.
    ///
    /// # Errors
    ///
    /// If Redis cannot be reached within a few seconds, or is too old, or does not let us in.
    pub async fn open(
        address: &Address,
        prefix: &str,
        node: NodeId,
    ) -> Result<(Self, mpsc::Receiver<Push>), Error> {
        Self::open_with_queue(address, prefix, node, QUEUE).await
    }

    /// The same, with room for `queue` pushes.
    ///
    /// # Errors
    ///
    /// As [`Connection::open`].
    pub async fn open_with_queue(
        address: &Address,
        prefix: &str,
        node: NodeId,
        queue: usize,
    ) -> Result<(Self, mpsc::Receiver<Push>), Error> {
        let keys = Keys::new(prefix);
        let (pushes, receiver) = Pushes::new(keys.clone(), node, queue);
        let pushes = Arc::new(pushes);
        let on_push = {
            let pushes = Arc::clone(&pushes);
            Arc::new(move |push| pushes.take(&push))
        };
        let servers = Servers::connect(address, on_push).await?;
        let connection = Self {
            node,
            keys,
            servers,
            pushes,
            turn: Mutex::default(),
        };
        let subscribe = connection.planner().sharded("SUBSCRIBE");
        let mail = plain(subscribe, &connection.keys.mail(node), None);
        connection.servers.run(&[&mail]).await?;
        Ok((connection, receiver))
    }

    /// Carries out requests in their order and answers them in it, in one round trip. (Where the
    /// logs are spread over a Redis Cluster, the order is that of each log and of each receiver of
    /// posts, and opening, posting or closing takes a round trip more.) Batches follow each other in
    /// the order of the calls.
    ///
    /// # Errors
    ///
    /// Then some of the requests may have been carried out and some not, and the connection is over.
    pub async fn execute(&self, batch: &[Request]) -> Result<Vec<Answer>, Error> {
        let mut spoilt = self.turn.lock().await;
        if let Some(why) = self.pushes.lost() {
            return Err(Error::Unreachable(why));
        }
        let done = self.carry_out(batch).await;
        match &done {
            Ok(answers) => warn_of_spoilt(&mut spoilt, batch, answers),
            Err(why) => self.pushes.lose(&why.to_string()),
        }
        done
    }

    /// The secret that all nodes of this prefix share; the first who asks makes it.
    ///
    /// # Errors
    ///
    /// If Redis does not answer, or answers nonsense.
    pub async fn secret(&self) -> Result<String, Error> {
        let bytes: [u8; SECRET_BYTES] = rand::rng().random();
        let fresh: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = self.keys.secret();
        let set = Command {
            cmd: cmd("SET").arg(&key).arg(fresh).arg("NX").take(),
            slot: keys::slot(&key),
            is_script: false,
            is_of_log: false,
        };
        let answers = self.servers.run(&[&set, &plain("GET", &key, None)]).await?;
        let secret = wire::text(answers.last().unwrap_or(&Value::Nil))?;
        let is_secret =
            secret.len() == 2 * SECRET_BYTES && secret.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_secret
            .then(|| secret.to_owned())
            .ok_or(Error::garbage("a secret"))
    }

    fn planner(&self) -> Planner<'_> {
        Planner {
            keys: &self.keys,
            servers: &self.servers,
            node: self.node,
        }
    }

    async fn carry_out(&self, batch: &[Request]) -> Result<Vec<Answer>, Error> {
        let plan = self.planner().plan(batch);
        for request in batch {
            if let Request::Close(node, log) = request
                && *node == self.node
            {
                self.pushes.expect_silence(self.keys.news(log));
            }
        }
        let mut values = vec![Value::Nil; plan.steps.len()];
        let stages: &[&[Stage]] = if self.servers.is_cluster() {
            &[&[Stage::Opening], &[Stage::Logs], &[Stage::Closing]]
        } else {
            &[&[Stage::Opening, Stage::Logs, Stage::Closing]]
        };
        for stages in stages {
            let due = |at: &usize| stages.contains(&plan.steps[*at].stage);
            let due: Vec<_> = (0..plan.steps.len()).filter(due).collect();
            let commands: Vec<_> = due.iter().map(|at| &plan.steps[*at].command).collect();
            let answers = self.servers.run(&commands).await?;
            for (at, answer) in due.into_iter().zip(answers) {
                values[at] = answer;
            }
        }
        plan.answers(&self.keys, batch, &values)
    }
}

/// Once per log.
fn warn_of_spoilt(spoilt: &mut BTreeSet<LogId>, batch: &[Request], answers: &[Answer]) {
    for (request, answer) in batch.iter().zip(answers) {
        if let Answer::Failed(why) = answer
            && let Some(log) = log_of(request)
            && spoilt.insert(log.clone())
        {
            tracing::warn!(why, "a log cannot be read or changed");
        }
    }
}

/// The nodes on the list of this prefix, asked from outside the cluster.
///
/// # Errors
///
/// As [`Connection::open`].
pub async fn list_nodes(address: &Address, prefix: &str) -> Result<Vec<NodeStatus>, Error> {
    let servers = Servers::connect(address, Arc::new(|_| ())).await?;
    let list = plain("HGETALL", &Keys::new(prefix).nodes(), None);
    let answers = servers.run(&[&list]).await?;
    wire::nodes(answers.first().unwrap_or(&Value::Nil))
}
