//! The connections to a Redis server, or to all masters of a Redis Cluster.
//!
//! The cluster client of the `redis` crate is not used, because it repeats commands and resubscribes on its
//! own: a change could be executed twice, and events could be missed unnoticed. Here, a lost server or a
//! moved slot closes all connections, and the Switchboard node reconnects.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo, Pipeline,
    ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cmd,
};

use super::{RedisAddress, Script, StoreError, address::RedisHost, keys, wire};

/// The number of slots of a Redis Cluster.
pub(super) const SLOTS: u16 = 16384;

/// Timeout of a connection attempt, and of the replies to one pipeline.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

const REDIS_MAJOR_MIN: u32 = 7;

/// Receives the push messages of all servers.
pub(super) type PushHandler = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// A command with its routing data.
#[derive(Debug)]
pub(super) struct RedisCommand {
    pub(super) cmd: Cmd,
    /// The slot of its keys.
    pub(super) slot: u16,
    pub(super) kind: CommandKind,
}

/// The kind of a command, by which its error replies are handled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CommandKind {
    /// Whether the command calls a script.
    pub(super) is_script: bool,
    /// Whether the command is about exactly one membership log (the joins and leaves of one room, name or election). If
    /// so, an error reply about corrupt data fails only this command; otherwise it ends the connection.
    pub(super) is_of_log: bool,
}

/// The commands for one server.
#[derive(Default)]
struct ServerBatch {
    /// The index of each command in the batch of all servers.
    indices: Vec<usize>,
    kinds: Vec<CommandKind>,
    pipeline: Pipeline,
}

impl ServerBatch {
    fn push(&mut self, index: usize, command: RedisCommand) {
        self.indices.push(index);
        self.kinds.push(command.kind);
        self.pipeline.add_command(command.cmd);
    }

    fn commands(&self) -> impl Iterator<Item = (CommandKind, &Cmd)> {
        self.kinds.iter().copied().zip(self.pipeline.cmd_iter())
    }
}

/// The connections to all servers.
pub(super) struct RedisServers {
    servers: Vec<RedisServer>,
    /// Slot ranges: first slot, last slot, and index of the server. Without a cluster, one range of
    /// all slots.
    slots: Vec<(u16, u16, usize)>,
    is_cluster: bool,
    /// The SHA-1 digests of the scripts, in the order of [`Script::ALL`].
    shas: Vec<String>,
}

struct RedisServer {
    host: RedisHost,
    connection: MultiplexedConnection,
}

impl fmt::Debug for RedisServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.servers.iter().map(|server| server.host.to_string());
        f.debug_list().entries(hosts).finish()
    }
}

impl RedisServers {
    pub(super) async fn connect(
        address: &RedisAddress,
        on_push: PushHandler,
    ) -> Result<Self, StoreError> {
        let (first_server, is_cluster) = first_reachable(address).await?;
        let slots = if is_cluster {
            slots(&first_server).await?
        } else {
            vec![(0, SLOTS - 1, first_server.host.clone())]
        };
        // The first reachable server may be a Redis replica, so the masters are connected anew.
        let mut hosts: Vec<_> = slots.iter().map(|(_, _, host)| host.clone()).collect();
        hosts.sort();
        hosts.dedup();
        let connect = hosts
            .iter()
            .map(|host| connect(address, host, Some(on_push.clone())));
        let servers = try_join_all(connect).await?;
        let index = |host| hosts.binary_search(host).unwrap_or_default();
        let slots = slots
            .iter()
            .map(|(first, last, host)| (*first, *last, index(host)))
            .collect();
        let mut servers = Self {
            servers,
            slots,
            is_cluster,
            shas: Vec::new(),
        };
        for server in &servers.servers {
            servers.shas = load_scripts(server).await?;
        }
        Ok(servers)
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    /// The slot of a key or channel, by which its server is found.
    pub(super) fn slot(&self, key: &str) -> u16 {
        match self.is_cluster {
            true => keys::slot(key),
            // One server has all slots.
            false => 0,
        }
    }

    /// Builds a command with one key or channel and at most one argument.
    pub(super) fn single_key_command(
        &self,
        name: &str,
        key: &str,
        argument: Option<&[u8]>,
    ) -> RedisCommand {
        let bytes = name.len() + key.len() + argument.map_or(0, <[u8]>::len);
        let mut command = Cmd::with_capacity(3, bytes);
        command.arg(name).arg(key);
        if let Some(argument) = argument {
            command.arg(argument);
        }
        RedisCommand {
            cmd: command,
            slot: self.slot(key),
            kind: CommandKind::default(),
        }
    }

    pub(super) fn sha(&self, script: Script) -> &str {
        let index = Script::ALL.iter().position(|other| *other == script);
        index
            .and_then(|index| self.shas.get(index))
            .map_or("", String::as_str)
    }

    /// Runs commands in order on each server, and on different servers in parallel.
    pub(super) async fn run(&self, commands: Vec<RedisCommand>) -> Result<Vec<Value>, StoreError> {
        let mut replies = vec![Value::Nil; commands.len()];
        let mut batches: Vec<_> = self
            .servers
            .iter()
            .map(|_| ServerBatch::default())
            .collect();
        for (index, command) in commands.into_iter().enumerate() {
            batches[self.server_of_slot(command.slot)?].push(index, command);
        }
        let runs = self.servers.iter().zip(&batches);
        let runs = runs.filter(|(_, batch)| !batch.indices.is_empty());
        let runs = runs.map(|(server, batch)| async move {
            let replies = self.run_on(server, batch).await?;
            Ok::<_, StoreError>(batch.indices.iter().copied().zip(replies))
        });
        for (index, reply) in try_join_all(runs).await?.into_iter().flatten() {
            replies[index] = reply;
        }
        Ok(replies)
    }

    fn server_of_slot(&self, slot: u16) -> Result<usize, StoreError> {
        let range = self.slots.iter();
        let range = range.filter(|(first, last, _)| (*first..=*last).contains(&slot));
        range
            .map(|(_, _, server)| *server)
            .next()
            .ok_or_else(|| StoreError::UnownedSlot(slot))
    }

    async fn run_on(
        &self,
        server: &RedisServer,
        batch: &ServerBatch,
    ) -> Result<Vec<Value>, StoreError> {
        let mut replies = server.send(&batch.pipeline).await?;
        self.repeat_unknown_scripts(server, batch, &mut replies)
            .await?;
        for ((kind, command), reply) in batch.commands().zip(&mut replies) {
            if let Some(host) = redirect_of(reply) {
                *reply = self.send_asking(&host, command).await?;
            }
            if !(kind.is_of_log && reports_malformed_data(reply)) {
                wire::require_no_error(reply)?;
            }
        }
        Ok(replies)
    }

    /// If the server does not know a script (for example after `SCRIPT FLUSH`), loads the scripts, and repeats the
    /// script calls from the first that failed. The batch fails if a later script call was executed: a repetition would
    /// execute the calls in another order.
    async fn repeat_unknown_scripts(
        &self,
        server: &RedisServer,
        batch: &ServerBatch,
        replies: &mut [Value],
    ) -> Result<(), StoreError> {
        let Some(first) = replies.iter().position(is_unknown_script) else {
            return Ok(());
        };
        let mut indices = Vec::new();
        let mut pipeline = Pipeline::new();
        for (index, (kind, command)) in batch.commands().enumerate().skip(first) {
            if kind.is_script {
                indices.push(index);
                pipeline.add_command(command.clone());
            }
        }
        if !indices
            .iter()
            .all(|index| is_unknown_script(&replies[*index]))
        {
            return Err(StoreError::ScriptsFlushed);
        }
        load_scripts(server).await?;
        let repeated = server.send(&pipeline).await?;
        for (index, reply) in indices.into_iter().zip(repeated) {
            replies[index] = reply;
        }
        Ok(())
    }

    /// Sends a command to the server to which its slot is being moved. `ASKING` makes that server accept it.
    async fn send_asking(&self, host: &RedisHost, command: &Cmd) -> Result<Value, StoreError> {
        let server = self.servers.iter().find(|server| server.host == *host);
        let server = server.ok_or_else(|| StoreError::NewServer {
            server: host.to_string(),
        })?;
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.add_command(cmd("ASKING"));
        pipeline.add_command(command.clone());
        let replies = server.send(&pipeline).await?;
        let [_, reply] =
            <[Value; 2]>::try_from(replies).map_err(|_| StoreError::expected("2 replies"))?;
        Ok(reply)
    }
}

impl RedisServer {
    /// Sends commands. Returns one reply per command, which may be an error reply.
    async fn send(&self, commands: &Pipeline) -> Result<Vec<Value>, StoreError> {
        let count = commands.len();
        let mut connection = self.connection.clone();
        let replies = connection.req_packed_commands(commands, 0, count).await;
        let replies = replies.map_err(failed_at(&self.host))?;
        if replies.len() == count {
            Ok(replies)
        } else {
            Err(StoreError::expected(format!("{count} replies")))
        }
    }

    /// Sends one command. Returns its reply, or its error.
    async fn query(&self, command: Cmd) -> Result<Value, StoreError> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(command);
        let reply = self.send(&pipeline).await?.pop().unwrap_or_default();
        wire::require_no_error(&reply)?;
        Ok(reply)
    }
}

/// Connects to the first reachable host. Returns whether it belongs to a Redis Cluster.
async fn first_reachable(address: &RedisAddress) -> Result<(RedisServer, bool), StoreError> {
    let mut last = StoreError::NoHost;
    for host in &address.hosts {
        match connect(address, host, None).await {
            Ok(server) => {
                let is_cluster = check_version(address, &server).await?;
                return Ok((server, is_cluster));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Checks the version of the server. Returns whether it belongs to a Redis Cluster.
async fn check_version(address: &RedisAddress, server: &RedisServer) -> Result<bool, StoreError> {
    let info = server.query(cmd("INFO").arg("server").take()).await?;
    let info = ServerInfo(wire::text(&info)?);
    let version = info.get("redis_version").unwrap_or("unknown");
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    let is_valkey = info.get("valkey_version").is_some();
    if !is_valkey && major.is_none_or(|major| major < REDIS_MAJOR_MIN) {
        return Err(StoreError::Version {
            server: server.host.to_string(),
            version: version.to_owned(),
            least: REDIS_MAJOR_MIN,
        });
    }
    let mode = info.get("redis_mode").or_else(|| info.get("server_mode"));
    let is_cluster = mode == Some("cluster");
    if address.is_cluster && !is_cluster {
        let server = server.host.to_string();
        return Err(StoreError::NotACluster { server });
    }
    Ok(is_cluster)
}

/// The reply to `INFO`.
struct ServerInfo<'a>(&'a str);

impl<'a> ServerInfo<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        let mut lines = self.0.lines();
        lines.find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
    }
}

/// Reads the slot ranges of the cluster.
async fn slots(server: &RedisServer) -> Result<Vec<(u16, u16, RedisHost)>, StoreError> {
    let reply = server.query(cmd("CLUSTER").arg("SLOTS").take()).await?;
    let Value::Array(ranges) = reply else {
        return Err(StoreError::expected("the slots of the cluster"));
    };
    let ranges = ranges.iter().map(|range| slot_range(range, &server.host));
    let ranges = ranges.collect::<Result<Vec<_>, _>>()?;
    if ranges.is_empty() {
        let server = server.host.to_string();
        return Err(StoreError::NoSlots { server });
    }
    Ok(ranges)
}

/// Parses `[first, last, [host, port, …], …]`. The first server of a range is its master.
fn slot_range(
    range: &Value,
    queried_host: &RedisHost,
) -> Result<(u16, u16, RedisHost), StoreError> {
    let malformed = || StoreError::expected("the slots of the cluster");
    let Value::Array(range) = range else {
        return Err(malformed());
    };
    let [
        Value::Int(first),
        Value::Int(last),
        Value::Array(master),
        ..,
    ] = range.as_slice()
    else {
        return Err(malformed());
    };
    let [name, Value::Int(port), ..] = master.as_slice() else {
        return Err(malformed());
    };
    // A server that does not know its own name reports none for itself: it is the queried server.
    let name = if *name == Value::Nil {
        ""
    } else {
        wire::text(name)?
    };
    let name = if name.is_empty() {
        &queried_host.name
    } else {
        name
    };
    let slot = |slot: &i64| u16::try_from(*slot).map_err(|_| malformed());
    let host = RedisHost {
        name: name.to_owned(),
        port: u16::try_from(*port).map_err(|_| malformed())?,
    };
    Ok((slot(first)?, slot(last)?, host))
}

async fn connect(
    address: &RedisAddress,
    host: &RedisHost,
    on_push: Option<PushHandler>,
) -> Result<RedisServer, StoreError> {
    let client = Client::open(connection_info(address, host)?).map_err(failed_at(host))?;
    let mut config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(TIMEOUT))
        .set_response_timeout(Some(TIMEOUT));
    if let Some(on_push) = on_push {
        config = config.set_push_sender(move |push| {
            on_push(push);
            Ok::<(), redis::aio::SendError>(())
        });
    }
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    // The timeout of the configuration does not cover the handshake.
    let connection = tokio::time::timeout(TIMEOUT, connection).await;
    let connection = connection.map_err(|_| StoreError::Timeout {
        server: host.to_string(),
        limit: TIMEOUT,
    })?;
    Ok(RedisServer {
        host: host.clone(),
        connection: connection.map_err(failed_at(host))?,
    })
}

/// Turns a [`RedisError`] into a [`StoreError`] that names this server.
fn failed_at(host: &RedisHost) -> impl FnOnce(RedisError) -> StoreError {
    move |error| StoreError::of_server(host, TIMEOUT, error)
}

fn connection_info(
    address: &RedisAddress,
    host: &RedisHost,
) -> Result<redis::ConnectionInfo, StoreError> {
    let RedisHost { name, port } = host.clone();
    let connection_address = if address.has_tls {
        // This fails if the embedding program has already installed a cryptography provider for rustls. That provider
        // is used then.
        _ = rustls::crypto::ring::default_provider().install_default();
        ConnectionAddr::TcpTls {
            host: name,
            port,
            insecure: false,
            tls_params: None,
        }
    } else {
        ConnectionAddr::Tcp(name, port)
    };
    let mut settings = RedisConnectionInfo::default()
        .set_db(address.database.into())
        .set_protocol(ProtocolVersion::RESP3);
    if let Some(user) = &address.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &address.password {
        settings = settings.set_password(password);
    }
    let info = connection_address.into_connection_info();
    Ok(info.map_err(failed_at(host))?.set_redis_settings(settings))
}

/// Loads the scripts into a server. Returns their SHA-1 digests.
async fn load_scripts(server: &RedisServer) -> Result<Vec<String>, StoreError> {
    let mut pipeline = Pipeline::new();
    for script in Script::ALL {
        pipeline.add_command(cmd("SCRIPT").arg("LOAD").arg(script.text()).take());
    }
    let replies = server.send(&pipeline).await?;
    let digest = |reply| Ok(wire::text(wire::require_no_error(reply)?)?.to_owned());
    replies.iter().map(digest).collect()
}

/// Whether the reply is an error about malformed data in Redis ([`StoreError::is_malformed`]).
fn reports_malformed_data(reply: &Value) -> bool {
    wire::require_no_error(reply).is_err_and(|error| error.is_malformed())
}

/// Whether the reply says that the server does not know the called script.
fn is_unknown_script(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(error) if error.code() == "NOSCRIPT")
}

/// The server to which an `ASK` reply redirects one command, because it has the key of a slot that is being moved:
/// `ASK 3999 127.0.0.1:6381` (slot, host and port).
fn redirect_of(reply: &Value) -> Option<RedisHost> {
    let Value::ServerError(error) = reply else {
        return None;
    };
    if error.code() != "ASK" {
        return None;
    }
    let (name, port) = error
        .details()?
        .split_whitespace()
        .last()?
        .rsplit_once(':')?;
    Some(RedisHost {
        name: name.to_owned(),
        port: port.parse().ok()?,
    })
}
