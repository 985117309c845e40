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

pub use address::{RedisAddress, RedisAddressError};
pub use engine::{Redis, RedisSettings};
pub use error::StoreError;
pub use pushes::StorePush;

use crate::cluster::store::{NodeStatus, StoreRequest, StoreResponse};
use keys::KeyNames;
use plan::{CommandStage, Planner, log_of, single_key_command};
use pushes::PushQueue;
use script::Script;
use servers::{RedisCommand, RedisServers};

/// How many pushes may wait for the node.
const QUEUE: usize = 16 * 1024;

const SECRET_BYTES: usize = 32;

/// A node's connection to its store. It lasts until the first error: after one, or after
/// [`StorePush::Lost`], the node drops it and opens another.
#[derive(Debug)]
pub struct StoreConnection {
    node: NodeId,
    keys: KeyNames,
    servers: RedisServers,
    pushes: Arc<PushQueue>,
    /// Whose batch is under way; and the logs of which it was said that they are spoilt.
    batch_lock: Mutex<BTreeSet<LogId>>,
}

impl StoreConnection {
    /// Connects a node, which gets its mail from now on.
    ///
    /// # Errors
    ///
    /// If Redis cannot be reached within a few seconds, or is too old, or does not let us in.
    pub async fn open(
        address: &RedisAddress,
        prefix: &str,
        node: NodeId,
    ) -> Result<(Self, mpsc::Receiver<StorePush>), StoreError> {
        Self::open_with_queue(address, prefix, node, QUEUE).await
    }

    /// The same, with room for `queue` pushes.
    ///
    /// # Errors
    ///
    /// As [`StoreConnection::open`].
    pub async fn open_with_queue(
        address: &RedisAddress,
        prefix: &str,
        node: NodeId,
        queue: usize,
    ) -> Result<(Self, mpsc::Receiver<StorePush>), StoreError> {
        let keys = KeyNames::new(prefix);
        let (pushes, receiver) = PushQueue::new(keys.clone(), node, queue);
        let pushes = Arc::new(pushes);
        let on_push = {
            let pushes = Arc::clone(&pushes);
            Arc::new(move |push| pushes.handle_push(&push))
        };
        let servers = RedisServers::connect(address, on_push).await?;
        let connection = Self {
            node,
            keys,
            servers,
            pushes,
            batch_lock: Mutex::default(),
        };
        let subscribe = connection.planner().sharded("SUBSCRIBE");
        let mail = single_key_command(subscribe, &connection.keys.node_channel(node), None);
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
    pub async fn execute(&self, batch: &[StoreRequest]) -> Result<Vec<StoreResponse>, StoreError> {
        let mut spoilt = self.batch_lock.lock().await;
        if let Some(why) = self.pushes.close_reason() {
            return Err(StoreError::Unreachable(why));
        }
        let done = self.carry_out(batch).await;
        match &done {
            Ok(answers) => warn_of_spoilt(&mut spoilt, batch, answers),
            Err(why) => self.pushes.close(&why.to_string()),
        }
        done
    }

    /// The secret that all nodes of this prefix share; the first who asks makes it.
    ///
    /// # Errors
    ///
    /// If Redis does not answer, or answers nonsense.
    pub async fn secret(&self) -> Result<String, StoreError> {
        let bytes: [u8; SECRET_BYTES] = rand::rng().random();
        let fresh: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = self.keys.secret();
        let set = RedisCommand {
            cmd: cmd("SET").arg(&key).arg(fresh).arg("NX").take(),
            slot: keys::slot(&key),
            is_script: false,
            is_of_log: false,
        };
        let answers = self
            .servers
            .run(&[&set, &single_key_command("GET", &key, None)])
            .await?;
        let secret = wire::text(answers.last().unwrap_or(&Value::Nil))?;
        let is_secret =
            secret.len() == 2 * SECRET_BYTES && secret.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_secret
            .then(|| secret.to_owned())
            .ok_or(StoreError::malformed("a secret"))
    }

    fn planner(&self) -> Planner<'_> {
        Planner {
            keys: &self.keys,
            servers: &self.servers,
            node: self.node,
        }
    }

    async fn carry_out(&self, batch: &[StoreRequest]) -> Result<Vec<StoreResponse>, StoreError> {
        let plan = self.planner().plan(batch);
        for request in batch {
            if let StoreRequest::Unsubscribe(node, log) = request
                && *node == self.node
            {
                self.pushes.expect_unsubscribe(self.keys.log_channel(log));
            }
        }
        let mut values = vec![Value::Nil; plan.steps.len()];
        let stages: &[&[CommandStage]] = if self.servers.is_cluster() {
            &[
                &[CommandStage::Subscribe],
                &[CommandStage::Change],
                &[CommandStage::Unsubscribe],
            ]
        } else {
            &[&[
                CommandStage::Subscribe,
                CommandStage::Change,
                CommandStage::Unsubscribe,
            ]]
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
fn warn_of_spoilt(spoilt: &mut BTreeSet<LogId>, batch: &[StoreRequest], answers: &[StoreResponse]) {
    for (request, answer) in batch.iter().zip(answers) {
        if let StoreResponse::Failed(why) = answer
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
/// As [`StoreConnection::open`].
pub async fn list_nodes(
    address: &RedisAddress,
    prefix: &str,
) -> Result<Vec<NodeStatus>, StoreError> {
    let servers = RedisServers::connect(address, Arc::new(|_| ())).await?;
    let list = single_key_command("HGETALL", &KeyNames::new(prefix).nodes(), None);
    let answers = servers.run(&[&list]).await?;
    wire::nodes(answers.first().unwrap_or(&Value::Nil))
}
