//! Executes the store requests of a cluster on Redis, or on a Redis Cluster (Redis 7.0 or newer, or
//! Valkey).
//!
//! Every request is one command. A request that changes data is a script, which runs in one atomic
//! step. `keys.rs` defines the keys. When the last node has closed, only the secret of the
//! deployment stays in Redis.

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

/// Maximum number of pushes queued for the node.
const QUEUE: usize = 16 * 1024;

const SECRET_BYTES: usize = 32;

/// The connection of a node to its store. It ends at the first error: after an error or
/// [`StorePush::Lost`], the node drops it and opens another.
#[derive(Debug)]
pub struct StoreConnection {
    node: NodeId,
    keys: KeyNames,
    servers: RedisServers,
    pushes: Arc<PushQueue>,
    /// Held while a batch runs. Contains the logs whose corruption has been logged.
    batch_lock: Mutex<BTreeSet<LogId>>,
}

impl StoreConnection {
    /// Connects a node and subscribes to its channel.
    ///
    /// # Errors
    ///
    /// If Redis cannot be reached within a few seconds, is too old, or rejects the login.
    pub async fn open(
        address: &RedisAddress,
        prefix: &str,
        node: NodeId,
    ) -> Result<(Self, mpsc::Receiver<StorePush>), StoreError> {
        Self::open_with_queue(address, prefix, node, QUEUE).await
    }

    /// Like [`StoreConnection::open`], with a limit of `queue` queued pushes.
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
        let node_channel = single_key_command(subscribe, &connection.keys.node_channel(node), None);
        connection.servers.run(&[&node_channel]).await?;
        Ok((connection, receiver))
    }

    /// Executes a batch of requests in order and returns the responses in the same order, in one
    /// round trip. On a Redis Cluster, the order holds per log and per receiver of messages, and a
    /// batch that subscribes, posts or unsubscribes takes additional round trips. Batches are
    /// executed in the order of the calls.
    ///
    /// # Errors
    ///
    /// If the connection fails. Some of the requests may have been executed, and the connection is
    /// closed.
    pub async fn execute(&self, batch: &[StoreRequest]) -> Result<Vec<StoreResponse>, StoreError> {
        let mut corrupt_logs = self.batch_lock.lock().await;
        if let Some(reason) = self.pushes.close_reason() {
            return Err(StoreError::Unreachable(reason));
        }
        let result = self.run_batch(batch).await;
        match &result {
            Ok(responses) => log_corrupt_logs(&mut corrupt_logs, batch, responses),
            Err(reason) => self.pushes.close(&reason.to_string()),
        }
        result
    }

    /// The secret that all nodes of this prefix share. The first call creates it.
    ///
    /// # Errors
    ///
    /// If Redis does not answer, or the stored secret is malformed.
    pub async fn secret(&self) -> Result<String, StoreError> {
        let bytes: [u8; SECRET_BYTES] = rand::rng().random();
        let new_secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = self.keys.secret();
        let set = RedisCommand {
            cmd: cmd("SET").arg(&key).arg(new_secret).arg("NX").take(),
            slot: keys::slot(&key),
            is_script: false,
            is_of_log: false,
        };
        let responses = self
            .servers
            .run(&[&set, &single_key_command("GET", &key, None)])
            .await?;
        let secret = wire::text(responses.last().unwrap_or(&Value::Nil))?;
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

    async fn run_batch(&self, batch: &[StoreRequest]) -> Result<Vec<StoreResponse>, StoreError> {
        let plan = self.planner().plan(batch);
        for request in batch {
            if let StoreRequest::Unsubscribe(node, log) = request
                && *node == self.node
            {
                self.pushes.expect_unsubscribe(self.keys.log_channel(log));
            }
        }
        let mut values = vec![Value::Nil; plan.commands.len()];
        let groups: &[&[CommandStage]] = if self.servers.is_cluster() {
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
        for group in groups {
            let is_due = |index: &usize| group.contains(&plan.commands[*index].stage);
            let indices: Vec<_> = (0..plan.commands.len()).filter(is_due).collect();
            let commands: Vec<_> = indices
                .iter()
                .map(|index| &plan.commands[*index].command)
                .collect();
            let responses = self.servers.run(&commands).await?;
            for (index, response) in indices.into_iter().zip(responses) {
                values[index] = response;
            }
        }
        plan.parse_responses(&self.keys, batch, &values)
    }
}

/// Logs each corrupt log once.
fn log_corrupt_logs(
    corrupt_logs: &mut BTreeSet<LogId>,
    batch: &[StoreRequest],
    responses: &[StoreResponse],
) {
    for (request, response) in batch.iter().zip(responses) {
        if let StoreResponse::Failed(reason) = response
            && let Some(log) = log_of(request)
            && corrupt_logs.insert(log.clone())
        {
            tracing::warn!(
                error = reason,
                "corrupt membership log in Redis; joins to this room fail"
            );
        }
    }
}

/// Reads the node list of this prefix without joining the cluster.
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
    let responses = servers.run(&[&list]).await?;
    wire::nodes(responses.first().unwrap_or(&Value::Nil))
}
