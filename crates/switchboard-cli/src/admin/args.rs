//! The command line of `switchboard admin`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Show and govern a running server or cluster: nodes, rooms, sessions, bans
///
/// Talks to the internal listener of a server. Exits with 0; with 1 if the server refuses, cannot be reached,
/// or a node of the cluster did not act; with 2 if the command line is wrong.
#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    #[command(flatten)]
    pub(crate) server: AdminServerArgs,
    #[command(subcommand)]
    pub(crate) command: AdminCommand,
}

/// The server and the token.
#[derive(Debug, Args)]
pub(crate) struct AdminServerArgs {
    /// The internal listener of the server
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "SWITCHBOARD_ADMIN_URL",
        default_value = "http://127.0.0.1:9091"
    )]
    pub(crate) url: String,
    /// A token with the grant admin [default: that of the file admin-token in the state folder]; safer in
    /// SWITCHBOARD_ADMIN_TOKEN, which is not visible in the process list
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "SWITCHBOARD_ADMIN_TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<String>,
    /// Read the token from this file
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "token")]
    pub(crate) token_file: Option<PathBuf>,
    /// Trust the CA certificates in this PEM file for an https URL, instead of those of the system
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// The nodes of the cluster, with their states
    Nodes,
    /// The rooms
    Rooms {
        /// Only rooms whose names begin with this text
        #[arg(long)]
        prefix: Option<String>,
        /// The most rooms to print
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// One room with its members
    Room(RoomArgs),
    /// The sessions of WebSocket clients
    Sessions {
        /// Only sessions with this authenticated identity
        #[arg(long)]
        identity: Option<String>,
        /// Only sessions from this IP address or network
        #[arg(long)]
        address: Option<String>,
        /// Only sessions of this dialect
        #[arg(long)]
        dialect: Option<String>,
        /// The most sessions to print
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// One session and its recent events
    Session {
        /// The id of the session
        id: String,
    },
    /// Voice calls and voice rooms
    Voice,
    /// End sessions; the clients may come back
    Kick(TargetArgs),
    /// End sessions, and refuse their clients for a time
    Ban {
        #[command(flatten)]
        target: TargetArgs,
        /// The time of the ban, such as 90s, 15m, 12h or 7d
        #[arg(long, value_name = "TIME", default_value = "1h")]
        ttl: String,
    },
    /// The bans in force
    Bans,
    /// Remove a ban
    Unban {
        /// The id of the ban
        id: String,
    },
    /// End the sessions of all members of a room
    Close {
        #[command(flatten)]
        room: RoomArgs,
        /// Lock the room too, so that no client joins it again
        #[arg(long)]
        lock: bool,
        /// The reason, which the members are told
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let no client join a room
    Lock(RoomArgs),
    /// End the lock of a room
    Unlock {
        #[command(flatten)]
        room: RoomArgs,
        /// Let clients join even if the settings lock the room
        #[arg(long)]
        open: bool,
    },
    /// Send a message of the server to the members of a room
    Message {
        #[command(flatten)]
        room: RoomArgs,
        /// The text
        text: String,
    },
    /// Let load balancers send no new clients to a node
    Drain {
        /// The id of the node
        #[arg(default_value = "self")]
        node: String,
        /// End the drain
        #[arg(long)]
        off: bool,
    },
    /// Print live events until the command is stopped
    Events,
    /// The settings of the server, without secrets
    Settings,
}

/// The room of a command.
#[derive(Debug, Args)]
pub(crate) struct RoomArgs {
    /// The name of the room
    #[arg(value_name = "ROOM")]
    pub(crate) room: String,
    /// The namespace of the room
    #[arg(long)]
    pub(crate) space: Option<String>,
    /// The only dialect of the room, if it is closed to others
    #[arg(long, value_name = "DIALECT")]
    pub(crate) only: Option<String>,
}

/// The clients of a command.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// The id of a session
    #[arg(long, value_name = "ID", required_unless_present_any = ["identity", "address", "member"], conflicts_with_all = ["identity", "address", "member"])]
    pub(crate) session: Option<String>,
    /// An authenticated identity
    #[arg(long, value_name = "NAME", conflicts_with_all = ["address", "member"])]
    pub(crate) identity: Option<String>,
    /// An IP address, or a network such as 2001:db8::/64
    #[arg(long, conflicts_with = "member")]
    pub(crate) address: Option<String>,
    /// The address of a member of --room
    #[arg(long, requires = "room")]
    pub(crate) member: Option<String>,
    /// Only in this room
    #[arg(long)]
    pub(crate) room: Option<String>,
    /// The namespace of the room
    #[arg(long, requires = "room")]
    pub(crate) space: Option<String>,
    /// The only dialect of the room, if it is closed to others
    #[arg(long, value_name = "DIALECT", requires = "room")]
    pub(crate) only: Option<String>,
    /// The reason, which the clients are told
    #[arg(long)]
    pub(crate) reason: Option<String>,
}
