//! The connections to a Redis server, or to all masters of a Redis Cluster.
//!
//! What the `redis` crate has for clusters is not used: it repeats commands, and subscribes anew,
//! unasked, so that a change could happen twice and news be missed without a word. Here a server
//! that is gone, or slots that have moved, end the whole, and the node connects anew.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo, Pipeline,
    ProtocolVersion, PushInfo, RedisConnectionInfo, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cmd,
};

use super::{RedisAddress, Script, StoreError, address::RedisHost, wire};

/// How many slots a Redis Cluster has.
pub(super) const SLOTS: u16 = 16384;

/// How long a connection, and an answer, may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

const REDIS_MAJOR_MIN: u32 = 7;

/// Who is told what the servers say unasked.
pub(super) type PushHandler = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// A command, and what is to be known of it.
#[derive(Debug)]
pub(super) struct RedisCommand {
    pub(super) cmd: Cmd,
    /// Where its keys are.
    pub(super) slot: u16,
    /// Whether it calls a script.
    pub(super) is_script: bool,
    /// Whether it is about nothing but one log, so that what is wrong there is nobody else's matter.
    pub(super) is_of_log: bool,
}

/// Connections to all servers.
pub(super) struct RedisServers {
    servers: Vec<RedisServer>,
    /// First and last slot, and whose. Without a cluster: all, the first's.
    slots: Vec<(u16, u16, usize)>,
    is_cluster: bool,
    /// In the order of [`Script::ALL`].
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
        let (scouted, is_cluster) = first_reachable(address).await?;
        let slots = if is_cluster {
            slots(&scouted).await?
        } else {
            vec![(0, SLOTS - 1, scouted.host.clone())]
        };
        // The scout may speak to a replica.
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
            servers.shas = load(server).await?;
        }
        Ok(servers)
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    pub(super) fn sha(&self, script: Script) -> &str {
        let at = Script::ALL.iter().position(|other| *other == script);
        at.and_then(|at| self.shas.get(at))
            .map_or("", String::as_str)
    }

    /// Carries out commands in their order, those of different servers beside each other.
    pub(super) async fn run(&self, commands: &[&RedisCommand]) -> Result<Vec<Value>, StoreError> {
        let mut by_server: Vec<Vec<usize>> = vec![Vec::new(); self.servers.len()];
        for (at, command) in commands.iter().enumerate() {
            by_server[self.owner(command.slot)?].push(at);
        }
        let runs = self.servers.iter().zip(&by_server);
        let runs = runs.filter(|(_, places)| !places.is_empty());
        let runs = runs.map(|(server, places)| async move {
            let commands: Vec<_> = places.iter().map(|at| commands[*at]).collect();
            let answers = self.run_on(server, &commands).await?;
            Ok::<_, StoreError>(places.iter().copied().zip(answers))
        });
        let mut answers = vec![Value::Nil; commands.len()];
        for (at, answer) in try_join_all(runs).await?.into_iter().flatten() {
            answers[at] = answer;
        }
        Ok(answers)
    }

    fn owner(&self, slot: u16) -> Result<usize, StoreError> {
        let range = self.slots.iter();
        let range = range.filter(|(first, last, _)| (*first..=*last).contains(&slot));
        range.map(|(_, _, server)| *server).next().ok_or_else(|| {
            StoreError::Unreachable(format!(
                "no server of the Redis Cluster has the slot {slot}"
            ))
        })
    }

    async fn run_on(
        &self,
        server: &RedisServer,
        commands: &[&RedisCommand],
    ) -> Result<Vec<Value>, StoreError> {
        let mut answers = server
            .send(commands.iter().map(|command| &command.cmd))
            .await?;
        self.repeat_without_script(server, commands, &mut answers)
            .await?;
        for (command, answer) in commands.iter().zip(&mut answers) {
            if let Some(host) = redirect_of(answer) {
                *answer = self.ask(&host, command).await?;
            }
            if !(command.is_of_log && is_wrong_type(answer)) {
                wire::accepted(answer)?;
            }
        }
        Ok(answers)
    }

    /// A server that was restarted, or told to, knows no scripts. Whatever came after the first
    /// script that it did not know must not have happened either, or the order would be broken.
    async fn repeat_without_script(
        &self,
        server: &RedisServer,
        commands: &[&RedisCommand],
        answers: &mut [Value],
    ) -> Result<(), StoreError> {
        let Some(first) = answers.iter().position(is_unknown_script) else {
            return Ok(());
        };
        let scripts = (first..commands.len()).filter(|at| commands[*at].is_script);
        let places: Vec<_> = scripts.collect();
        if !places.iter().all(|at| is_unknown_script(&answers[*at])) {
            return Err(StoreError::Refused(
                "somebody has changed the scripts in Redis meanwhile".to_owned(),
            ));
        }
        load(server).await?;
        let again = server
            .send(places.iter().map(|at| &commands[*at].cmd))
            .await?;
        for (at, answer) in places.into_iter().zip(again) {
            answers[at] = answer;
        }
        Ok(())
    }

    /// While a slot is on its way to another server, that one is asked for what has arrived there.
    async fn ask(&self, host: &RedisHost, command: &RedisCommand) -> Result<Value, StoreError> {
        let server = self.servers.iter().find(|server| server.host == *host);
        let server = server.ok_or_else(|| {
            StoreError::Unreachable(format!("the Redis Cluster has a new server, {host}"))
        })?;
        let answers = server.send([&cmd("ASKING"), &command.cmd]).await?;
        let [_, answer] =
            <[Value; 2]>::try_from(answers).map_err(|_| StoreError::malformed("2 answers"))?;
        Ok(answer)
    }
}

impl RedisServer {
    /// One answer per command; a refused one is answered by its error.
    async fn send(
        &self,
        commands: impl IntoIterator<Item = &Cmd>,
    ) -> Result<Vec<Value>, StoreError> {
        let mut pipeline = Pipeline::new();
        for command in commands {
            pipeline.add_command(command.clone());
        }
        let count = pipeline.len();
        let mut connection = self.connection.clone();
        let answers = connection.req_packed_commands(&pipeline, 0, count).await?;
        if answers.len() == count {
            Ok(answers)
        } else {
            Err(StoreError::malformed(format_args!("{count} answers")))
        }
    }

    async fn ask(&self, command: Cmd) -> Result<Value, StoreError> {
        let answer = self.send([&command]).await?.pop().unwrap_or_default();
        wire::accepted(&answer)?;
        Ok(answer)
    }
}

/// The first server that can be reached, and whether it belongs to a Redis Cluster.
async fn first_reachable(address: &RedisAddress) -> Result<(RedisServer, bool), StoreError> {
    let mut last = StoreError::Unreachable("no server is named".to_owned());
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

/// Whether the server, if it is one that will do, belongs to a Redis Cluster.
async fn check_version(address: &RedisAddress, server: &RedisServer) -> Result<bool, StoreError> {
    let info = server.ask(cmd("INFO").arg("server").take()).await?;
    let info = ServerInfo(wire::text(&info)?);
    let version = info.get("redis_version").unwrap_or("unknown");
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    let is_valkey = info.get("valkey_version").is_some();
    if !is_valkey && major.is_none_or(|major| major < REDIS_MAJOR_MIN) {
        return Err(StoreError::Refused(format!(
            "Redis at {} has version {version}; at least {REDIS_MAJOR_MIN}.0 is needed, or Valkey",
            server.host
        )));
    }
    let mode = info.get("redis_mode").or_else(|| info.get("server_mode"));
    let is_cluster = mode == Some("cluster");
    if address.is_cluster && !is_cluster {
        return Err(StoreError::Refused(format!(
            "Redis at {} is no Redis Cluster: name one host, with redis:// or rediss://",
            server.host
        )));
    }
    Ok(is_cluster)
}

/// The answer to `INFO`.
struct ServerInfo<'a>(&'a str);

impl<'a> ServerInfo<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        let mut lines = self.0.lines();
        lines.find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
    }
}

/// Which slots are where, as a server of the cluster sees it.
async fn slots(server: &RedisServer) -> Result<Vec<(u16, u16, RedisHost)>, StoreError> {
    let answer = server.ask(cmd("CLUSTER").arg("SLOTS").take()).await?;
    let Value::Array(ranges) = answer else {
        return Err(StoreError::malformed("the slots of the cluster"));
    };
    let ranges = ranges.iter().map(|range| slot_range(range, &server.host));
    let ranges = ranges.collect::<Result<Vec<_>, _>>()?;
    if ranges.is_empty() {
        return Err(StoreError::Unreachable(format!(
            "the Redis Cluster at {} is not set up: it has no slots",
            server.host
        )));
    }
    Ok(ranges)
}

/// `[first, last, [host, port, …], …]`: the first server of a range is its master.
fn slot_range(range: &Value, asked: &RedisHost) -> Result<(u16, u16, RedisHost), StoreError> {
    let wrong = || StoreError::malformed("the slots of the cluster");
    let Value::Array(range) = range else {
        return Err(wrong());
    };
    let [
        Value::Int(first),
        Value::Int(last),
        Value::Array(master),
        ..,
    ] = range.as_slice()
    else {
        return Err(wrong());
    };
    let [name, Value::Int(port), ..] = master.as_slice() else {
        return Err(wrong());
    };
    // A server that does not know its own name is where it was asked.
    let name = if *name == Value::Nil {
        ""
    } else {
        wire::text(name)?
    };
    let name = if name.is_empty() { &asked.name } else { name };
    let slot = |slot: &i64| u16::try_from(*slot).map_err(|_| wrong());
    let host = RedisHost {
        name: name.to_owned(),
        port: u16::try_from(*port).map_err(|_| wrong())?,
    };
    Ok((slot(first)?, slot(last)?, host))
}

async fn connect(
    address: &RedisAddress,
    host: &RedisHost,
    on_push: Option<PushHandler>,
) -> Result<RedisServer, StoreError> {
    let client = Client::open(info(address, host)?)?;
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
    // The timeout of the configuration is not that of the greeting.
    let connection = tokio::time::timeout(TIMEOUT, connection).await;
    let connection = connection.map_err(|_| {
        StoreError::Unreachable(format!(
            "Redis at {host} does not answer within {TIMEOUT:?}"
        ))
    })?;
    let connection = connection.map_err(|error| match StoreError::from(error) {
        StoreError::Unreachable(why) => StoreError::Unreachable(format!("{host}: {why}")),
        StoreError::Refused(why) => StoreError::Refused(format!("{host}: {why}")),
        StoreError::Malformed(why) => StoreError::Malformed(format!("{host}: {why}")),
    })?;
    Ok(RedisServer {
        host: host.clone(),
        connection,
    })
}

fn info(address: &RedisAddress, host: &RedisHost) -> Result<redis::ConnectionInfo, StoreError> {
    let RedisHost { name, port } = host.clone();
    let to = if address.has_tls {
        // Whoever embeds this may have chosen a provider already: then that one it is.
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
    Ok(to.into_connection_info()?.set_redis_settings(settings))
}

/// Makes the scripts known to a server, which calls them by these names.
async fn load(server: &RedisServer) -> Result<Vec<String>, StoreError> {
    let load = |script: Script| cmd("SCRIPT").arg("LOAD").arg(script.text()).take();
    let commands = Script::ALL.map(load);
    let answers = server.send(&commands).await?;
    let name = |answer| Ok(wire::text(wire::accepted(answer)?)?.to_owned());
    answers.iter().map(name).collect()
}

/// Whether the server says that what stands at a key is not what nodes write.
fn is_wrong_type(answer: &Value) -> bool {
    matches!(wire::accepted(answer), Err(StoreError::Malformed(_)))
}

fn is_unknown_script(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.code() == "NOSCRIPT")
}

/// Where to ask instead: `ASK 3999 127.0.0.1:6381`.
fn redirect_of(answer: &Value) -> Option<RedisHost> {
    let Value::ServerError(error) = answer else {
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
