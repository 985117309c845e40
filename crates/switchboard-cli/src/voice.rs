//! `switchboard voice`: speaks and listens from a terminal or a script, with raw audio on standard
//! input and streams on standard output.
//!
//! All communication is HTTP with a server that has voice on (the dialect `gostream`): `client.rs` sends requests,
//! `events.rs` reads the event stream, `handshake.rs` authenticates the other user of a call, and `uplink.rs` and
//! `downlink.rs` transfer the audio. Blocking files and pipes are read and written by their own threads.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use switchboard::SecretKey;

mod client;
mod clip;
mod downlink;
mod events;
mod handshake;
mod identity;
mod keyfile;
mod listen;
mod meter;
mod output;
mod pace;
mod phone;
mod source;
mod talk;
mod uplink;
mod wav;

use client::VoiceClient;
pub(crate) use client::{Trust, tls_failure};
use clip::ClipOrigin;
use downlink::{Downlink, DownlinkFormat};
use identity::CliIdentity;
use uplink::UplinkConfig;

/// Speak and listen from a terminal or a script: voice rooms, and calls of two
///
/// Audio goes in as raw PCM (signed 16 bits little-endian, mono, 48000 Hz) on standard input, and
/// comes out as a WAV, Ogg Vorbis or Ogg Opus stream. A key identifies you; it is created on first use, and
/// others call you by its public half: `switchboard voice key`. You do not hear your own audio: to try both sides
/// on one machine, use another --key. The server is that of SWITCHBOARD_URL or --url.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VoiceCommand {
    #[command(subcommand)]
    action: VoiceAction,
}

const EXAMPLES: &str = "Examples:
  switchboard voice listen standup -o meeting.opus
  switchboard voice listen standup | ffplay -nodisp -
  arecord -t raw -f S16_LE -r 48000 -c 1 | switchboard voice talk standup
  switchboard voice talk standup talk.opus
  ffmpeg -i talk.mp3 -f s16le -ac 1 -ar 48000 - | switchboard voice talk standup --pace
  curl -N -o meeting.opus \"http://localhost:8080/joinRoom?roomID=standup&$(switchboard voice key --query)\"";

#[derive(Debug, Subcommand)]
enum VoiceAction {
    /// Print your public key, by which others call you
    Key(KeyArgs),
    /// Stream a room into a file or a pipe
    Listen(ListenArgs),
    /// Send a file, or raw audio from standard input, to a room
    Talk(TalkArgs),
    /// Call a user; send audio from standard input, write received audio to standard output
    Call(CallArgs),
    /// Wait for a call and accept it
    Answer(AnswerArgs),
}

/// The server's address, its accepted certificates, and the key of the user.
#[derive(Debug, Args)]
struct ServerArgs {
    /// The server's address
    #[arg(
        long,
        value_name = "URL",
        env = "SWITCHBOARD_URL",
        default_value = "http://127.0.0.1:8080"
    )]
    url: String,
    /// Trust the CA certificates in this PEM file, instead of those of the system
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Accept every certificate over https, without verifying the server
    #[arg(long)]
    insecure: bool,
    /// File of your secret key, which must exist [default: switchboard/voice.key in
    /// $XDG_CONFIG_HOME or ~/.config, created on first use]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct IdentityArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Create the file of --key if it does not exist
    #[arg(long, requires = "key")]
    create: bool,
    /// Your session token, on a server whose users are accounts of a website; users are numbers there
    #[arg(long, conflicts_with = "key")]
    token: Option<String>,
}

#[derive(Debug, Args)]
struct KeyArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Get a ticket from the server and print PKey=…&Signature=…, for use in a URL
    #[arg(long, conflicts_with = "sign")]
    query: bool,
    /// Print your signature over this text
    #[arg(long, value_name = "CHALLENGE")]
    sign: Option<String>,
}

/// Options for received audio.
#[derive(Debug, Args)]
struct ReceiveArgs {
    /// Format of the stream [default: by the file's extension, else opus; wav if only the meter is shown]
    #[arg(long)]
    format: Option<DownlinkFormat>,
    /// Output of the stream; - is standard output [default: -, or only a meter on a terminal]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Stop after N seconds
    #[arg(long, value_name = "N")]
    seconds: Option<u32>,
}

/// Options for the audio on standard input.
#[derive(Debug, Args)]
struct SendArgs {
    /// Samples per second
    #[arg(long, value_name = "HZ", default_value_t = 48_000, value_parser = clap::value_parser!(u32).range(8_000..=192_000))]
    rate: u32,
    /// Number of channels, which are mixed into one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=8))]
    channels: u16,
    /// Send at real time from the start. Otherwise input that is faster than real time is detected first
    /// [default: if standard input is a file]
    #[arg(long)]
    pace: bool,
}

#[derive(Debug, Args)]
struct ListenArgs {
    /// The room's name, or its number where users are accounts of a website
    room: String,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    receive: ReceiveArgs,
}

#[derive(Debug, Args)]
struct TalkArgs {
    /// The room's name, or its number where users are accounts of a website
    room: String,
    /// A file to send at real time: WAV, Ogg Opus, Ogg Vorbis, or raw samples (.raw,
    /// .pcm, .s16, .s16le) of --rate and --channels [default: standard input, which may be such a
    /// file, or raw samples as they come]
    file: Option<PathBuf>,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    send: SendArgs,
}

#[derive(Debug, Args)]
struct CallArgs {
    /// The other user's public key, or number where users are accounts of a website
    #[arg(value_name = "KEY")]
    other: String,
    #[command(flatten)]
    talk: CallOptions,
}

#[derive(Debug, Args)]
struct AnswerArgs {
    /// Accept calls from this key only and decline all others; may be repeated
    #[arg(long, value_name = "KEY")]
    from: Vec<String>,
    #[command(flatten)]
    talk: CallOptions,
}

#[derive(Debug, Args)]
struct CallOptions {
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    receive: ReceiveArgs,
    #[command(flatten)]
    send: SendArgs,
    /// Hang up when standard input ends
    #[arg(long)]
    until_eof: bool,
}

/// Runs a `voice` command.
///
/// # Errors
/// If the command fails: a human-readable line.
pub(crate) fn run(voice: VoiceCommand) -> anyhow::Result<()> {
    block_on(run_action(voice.action))
}

fn block_on<T>(action: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let done = runtime.block_on(action);
    // Threads that are blocked on a pipe end with the process.
    runtime.shutdown_background();
    done
}

/// The ICE servers that the server at `url` offers to its clients, as JSON for `RTCPeerConnection`.
pub(crate) fn ice_servers(url: &str, trust: &Trust) -> anyhow::Result<String> {
    // The request is not authenticated, so a temporary key is sufficient.
    let identity = CliIdentity::Key(SecretKey::generate());
    let server = VoiceClient::new(url, trust, identity)?;
    block_on(async { Ok(server.ice_servers().await?) })
}

async fn run_action(action: VoiceAction) -> anyhow::Result<()> {
    match action {
        VoiceAction::Key(args) => key(args).await,
        VoiceAction::Listen(args) => {
            let (server, downlink) = (args.identity.server()?, args.receive.downlink());
            listen::listen(&server, &args.room, downlink?).await
        }
        VoiceAction::Talk(args) => {
            let (server, uplink) = (args.identity.server()?, args.send.uplink_config());
            match args.file {
                Some(file) => {
                    talk::send_file(&server, &args.room, ClipOrigin::Path(file), uplink).await
                }
                None => talk::send_stdin(&server, &args.room, uplink).await,
            }
        }
        VoiceAction::Call(args) => phone::call(&args.other, args.talk.open()?).await,
        VoiceAction::Answer(args) => phone::answer(&args.from, args.talk.open()?).await,
    }
}

async fn key(args: KeyArgs) -> anyhow::Result<()> {
    // `voice key` makes the key file if there is none.
    let secret = args.server.secret(true)?;
    let text = if let Some(challenge) = args.sign {
        secret
            .sign(&challenge)
            .context("--sign must be 1-32 bytes and must not start with a zero byte")?
    } else if args.query {
        VoiceClient::new(
            &args.server.url,
            &args.server.trust(),
            CliIdentity::Key(secret),
        )?
        .query()
        .await?
    } else {
        secret.public().to_string()
    };
    output::print(&text)
}

impl ServerArgs {
    fn secret(&self, create_missing: bool) -> anyhow::Result<SecretKey> {
        match &self.key {
            Some(path) => keyfile::load(path, create_missing),
            None => keyfile::load(&keyfile::default_path()?, true),
        }
    }

    fn trust(&self) -> Trust {
        Trust::from_flags(self.ca.as_deref(), self.insecure)
    }
}

impl IdentityArgs {
    fn server(self) -> anyhow::Result<VoiceClient> {
        let identity = match self.token {
            Some(token) => CliIdentity::Token(token),
            None => CliIdentity::Key(self.server.secret(self.create)?),
        };
        VoiceClient::new(&self.server.url, &self.server.trust(), identity)
    }
}

impl ReceiveArgs {
    fn downlink(&self) -> anyhow::Result<Downlink> {
        Downlink::open(self.output.as_deref(), self.format, self.seconds)
    }
}

impl SendArgs {
    fn uplink_config(&self) -> UplinkConfig {
        UplinkConfig {
            rate: self.rate,
            channels: self.channels,
            is_paced: self.pace || source::is_file(),
        }
    }
}

impl CallOptions {
    fn open(self) -> anyhow::Result<phone::Phone> {
        Ok(phone::Phone {
            server: self.identity.server()?,
            uplink: source::is_piped().then(|| self.send.uplink_config()),
            downlink: self.receive.downlink()?,
            until_eof: self.until_eof,
        })
    }
}
