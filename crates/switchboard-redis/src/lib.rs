//! The [`Store`] in which the nodes of a Switchboard cluster keep their membership logs (the joins and leaves of each
//! room, claimed name and election): Redis, or a Redis Cluster (Redis 7.0 or newer, or Valkey). A
//! [`Driver`](switchboard_cluster::Driver) connects a node to a [`RedisStore`].
//!
//! Each request is one atomic step: a single command, or a script. A subscription takes a second command,
//! which does not change data. `keys.rs` defines the keys. After the last node has closed, the logs are empty and
//! expire within a minute. Only one key stays: the secret with which the nodes authenticate requests to each other.
#![warn(missing_docs)]

use std::{collections::BTreeSet, fmt, sync::Arc};

use rand::RngExt as _;
use redis::{Value, cmd};
use switchboard_cluster::{
    PushQueue,
    store::{ConnectResult, NodeStatus, Store, StoreConnection, StoreRequest, StoreResponse},
};
use switchboard_core::{LogId, NodeId, error_chain};
use tokio::sync::Mutex;

mod address;
mod error;
mod keys;
mod plan;
mod pushes;
mod script;
mod servers;
mod wire;

pub use address::{RedisAddress, RedisAddressError};
pub use error::StoreError;

use keys::KeyNames;
use plan::{CommandPlan, CommandStage, Planner, log_of};
use pushes::PushReader;
use script::Script;
use servers::{CommandKind, RedisCommand, RedisServers};

const SECRET_BYTES: usize = 32;

/// The format version of the keys, the records and the events in Redis. A change that a node of another release would
/// misread needs another one: nodes with different versions refuse to share a prefix.
const DATA_FORMAT: &str = "1";

/// The seconds after the last heartbeat of a node in which the format version is kept. Longer than the interval between two
/// heartbeats with the longest lease, which is 30 s.
const DATA_FORMAT_EXPIRY_SECS: u32 = 60;

/// The store of one cluster in Redis.
#[derive(Clone, Debug)]
pub struct RedisStore {
    address: RedisAddress,
    prefix: String,
}

impl RedisStore {
    /// A store at this address. All keys and channels begin with `prefix`: nodes with the same address and
    /// prefix are one cluster.
    #[must_use]
    pub fn new(address: RedisAddress, prefix: impl Into<String>) -> Self {
        Self {
            address,
            prefix: prefix.into(),
        }
    }

    /// Reads the node list without joining the cluster.
    ///
    /// # Errors
    ///
    /// If Redis cannot be reached within a few seconds, refuses the connection, or has a malformed node list.
    pub async fn list_nodes(&self) -> Result<Vec<NodeStatus>, StoreError> {
        let servers = RedisServers::connect(&self.address, Arc::new(|_| ())).await?;
        let key = KeyNames::new(&self.prefix).nodes();
        let list = servers.single_key_command("HGETALL", &key, None);
        let responses = servers.run(vec![list]).await?;
        let nodes = wire::nodes(responses.first().unwrap_or(&Value::Nil));
        nodes.map_err(|error| error.in_key(&key))
    }

    /// Like [`Store::connect`], with a limit of `queue_len` queued pushes.
    ///
    /// # Errors
    ///
    /// The errors of [`Store::connect`].
    pub async fn connect_with_queue(
        &self,
        node: NodeId,
        queue_len: usize,
    ) -> ConnectResult<RedisConnection> {
        let keys = KeyNames::new(&self.prefix);
        let (queue, receiver) = PushQueue::new(queue_len);
        let pushes = Arc::new(PushReader::new(keys.clone(), node, queue));
        let on_push = {
            let pushes = Arc::clone(&pushes);
            Arc::new(move |push| pushes.handle_push(push))
        };
        let servers = RedisServers::connect(&self.address, on_push).await?;
        let connection = RedisConnection {
            node,
            keys,
            servers,
            pushes,
            reported_corrupt: Mutex::default(),
        };
        connection.claim_data_format().await?;
        let subscribe = connection.planner().sharded("SUBSCRIBE");
        let channel = connection.keys.node_channel(node);
        let subscribe = connection
            .servers
            .single_key_command(subscribe, &channel, None);
        connection.servers.run(vec![subscribe]).await?;
        Ok((connection, receiver))
    }
}

impl fmt::Display for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Store for RedisStore {
    type Connection = RedisConnection;

    /// Connects a node and subscribes to its channel. Fails if Redis cannot be reached within a few
    /// seconds, is too old, or rejects the login.
    async fn connect(&self, node: NodeId) -> ConnectResult<RedisConnection> {
        self.connect_with_queue(node, PushQueue::DEFAULT_LEN).await
    }
}

/// The connection of a node to Redis.
#[derive(Debug)]
pub struct RedisConnection {
    node: NodeId,
    keys: KeyNames,
    servers: RedisServers,
    pushes: Arc<PushReader>,
    /// The membership logs for which a warning about corrupt data was logged: one warning each. The lock is
    /// held while a batch runs, so that batches run one after another.
    reported_corrupt: Mutex<BTreeSet<LogId>>,
}

impl StoreConnection for RedisConnection {
    type Error = StoreError;

    /// Executes a batch in one round trip. On a Redis Cluster, the order holds per log and per receiving node,
    /// and a batch that also stores or removes subscriptions, or sends messages, takes up to three round trips.
    async fn execute(&self, batch: &[StoreRequest]) -> Result<Vec<StoreResponse>, StoreError> {
        let mut reported_corrupt = self.reported_corrupt.lock().await;
        if let Some(reason) = self.pushes.queue().close_reason() {
            return Err(StoreError::Ended { reason });
        }
        let result = self.run_batch(batch).await;
        match &result {
            Ok(responses) => warn_of_corrupt_logs(&mut reported_corrupt, batch, responses),
            Err(error) => self.pushes.queue().close(&error_chain(error)),
        }
        result
    }

    async fn secret(&self) -> Result<String, StoreError> {
        let bytes: [u8; SECRET_BYTES] = rand::rng().random();
        let new_secret = base16ct::lower::encode_string(&bytes);
        let key = self.keys.secret();
        let set = RedisCommand {
            cmd: cmd("SET").arg(&key).arg(new_secret).arg("NX").take(),
            slot: self.servers.slot(&key),
            kind: CommandKind::default(),
        };
        let get = self.servers.single_key_command("GET", &key, None);
        let responses = self.servers.run(vec![set, get]).await?;
        let secret = wire::text(responses.last().unwrap_or(&Value::Nil));
        let secret = secret.map_err(|error| error.in_key(&key))?;
        let is_secret =
            secret.len() == 2 * SECRET_BYTES && secret.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_secret
            .then(|| secret.to_owned())
            .ok_or_else(|| StoreError::expected("a secret").in_key(&key))
    }
}

impl RedisConnection {
    fn planner(&self) -> Planner<'_> {
        Planner {
            keys: &self.keys,
            servers: &self.servers,
            node: self.node,
        }
    }

    /// Marks the data of the prefix as having the format of this release. An error if a node uses another one.
    async fn claim_data_format(&self) -> Result<(), StoreError> {
        let key = self.keys.format();
        let mut set = cmd("SET");
        set.arg(&key).arg(DATA_FORMAT).arg("NX");
        let set = RedisCommand {
            cmd: set.arg("EX").arg(DATA_FORMAT_EXPIRY_SECS).take(),
            slot: self.servers.slot(&key),
            kind: CommandKind::default(),
        };
        let get = self.servers.single_key_command("GET", &key, None);
        let replies = self.servers.run(vec![set, get]).await?;
        let found = wire::text(replies.last().unwrap_or(&Value::Nil));
        match found.map_err(|error| error.in_key(&key))? {
            DATA_FORMAT => Ok(()),
            other => Err(StoreError::data_format(other)),
        }
    }

    async fn run_batch(&self, batch: &[StoreRequest]) -> Result<Vec<StoreResponse>, StoreError> {
        let mut plan = self.planner().plan(batch);
        for request in batch {
            if let StoreRequest::Unsubscribe(node, log) = request
                && *node == self.node
            {
                self.pushes.expect_unsubscribe(self.keys.log_channel(log));
            }
        }
        let replies = match self.servers.is_cluster() {
            // A single server runs all commands in order, so the stages share one round trip.
            false => self.servers.run(std::mem::take(&mut plan.commands)).await?,
            true => self.run_stages(&mut plan).await?,
        };
        plan.parse_responses(&self.keys, batch, &replies)
    }

    /// Runs the stages of a plan one after the other. Returns the replies in the order of the commands.
    async fn run_stages(&self, plan: &mut CommandPlan) -> Result<Vec<Value>, StoreError> {
        let mut replies = vec![Value::Nil; plan.commands.len()];
        let stages = std::mem::take(&mut plan.stages);
        let mut commands: Vec<_> = std::mem::take(&mut plan.commands)
            .into_iter()
            .map(Some)
            .collect();
        for stage in CommandStage::ALL {
            let is_in_stage = |index: &usize| stages[*index] == stage;
            let indices: Vec<_> = (0..stages.len()).filter(is_in_stage).collect();
            let commands = indices.iter().filter_map(|index| commands[*index].take());
            let responses = self.servers.run(commands.collect()).await?;
            for (index, response) in indices.into_iter().zip(responses) {
                replies[index] = response;
            }
        }
        Ok(replies)
    }
}

/// Warns of each membership log with corrupt data once per connection.
fn warn_of_corrupt_logs(
    reported: &mut BTreeSet<LogId>,
    batch: &[StoreRequest],
    responses: &[StoreResponse],
) {
    for (request, response) in batch.iter().zip(responses) {
        if let StoreResponse::Failed(reason) = response
            && let Some(log) = log_of(request)
            && reported.insert(log.clone())
        {
            tracing::warn!(
                error = reason,
                "corrupt membership log in Redis; joins to this room fail"
            );
        }
    }
}
