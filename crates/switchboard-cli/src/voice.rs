//! `switchboard voice`: speaks and listens from a terminal or a script, with raw audio on standard
//! input and streams on standard output.
//!
//! Everything goes over HTTP to a server that has voice on (the dialect `gostream`): `client.rs`
//! asks, `events.rs` reads what the server tells, `handshake.rs` decides who may be talked to, and
//! `uplink.rs` and `downlink.rs` carry the audio. Blocking files and pipes have threads of their own.

use std::path::PathBuf;

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
/// comes out as a stream that every player knows. You are known by a key, which is made on first
/// use; the others call you by its public half: `switchboard voice key`. The server is that of
/// SWITCHBOARD_URL or --url.
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
    /// Call somebody; speak from standard input, hear on standard output
    Call(CallArgs),
    /// Wait for a call and take it
    Answer(AnswerArgs),
}

/// Where the server is, and with which key one comes.
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
    /// Trust the authorities whose certificates are in this PEM file, instead of the system's
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Accept every certificate over https: the server may be an impostor
    #[arg(long)]
    insecure: bool,
    /// Your secret key's file, which must be there [default: switchboard/voice.key in
    /// $XDG_CONFIG_HOME or ~/.config, made on first use]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct IdentityArgs {
    #[command(flatten)]
    door: ServerArgs,
    /// Make the file of --key if it is not there
    #[arg(long, requires = "key")]
    create: bool,
    /// Your session's token, on a server whose users are a website's; users are numbers there
    #[arg(long, conflicts_with = "key")]
    token: Option<String>,
}

#[derive(Debug, Args)]
struct KeyArgs {
    #[command(flatten)]
    door: ServerArgs,
    /// Get a ticket from the server and print PKey=…&Signature=…, ready for an address
    #[arg(long, conflicts_with = "sign")]
    query: bool,
    /// Print your signature over this text
    #[arg(long, value_name = "CHALLENGE")]
    sign: Option<String>,
}

/// What to do with what is heard.
#[derive(Debug, Args)]
struct ReceiveArgs {
    /// What the stream is [default: as the file is named, else opus; wav if there is only the meter]
    #[arg(long)]
    format: Option<DownlinkFormat>,
    /// Where the stream goes; - is standard output [default: -, or on a terminal only a meter]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Stop after so many seconds
    #[arg(long, value_name = "N")]
    seconds: Option<u32>,
}

/// What comes on standard input.
#[derive(Debug, Args)]
struct SendArgs {
    /// Samples per second
    #[arg(long, value_name = "HZ", default_value_t = 48_000, value_parser = clap::value_parser!(u32).range(8_000..=192_000))]
    rate: u32,
    /// Channels, which are mixed into one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=8))]
    channels: u16,
    /// Send at real time from the start, not only once it is seen that the input has no pace of its
    /// own, as a microphone has [default: if standard input is a file]
    #[arg(long)]
    pace: bool,
}

#[derive(Debug, Args)]
struct ListenArgs {
    /// The room's name, or its number where users are a website's
    room: String,
    #[command(flatten)]
    who: IdentityArgs,
    #[command(flatten)]
    hear: ReceiveArgs,
}

#[derive(Debug, Args)]
struct TalkArgs {
    /// The room's name, or its number where users are a website's
    room: String,
    /// A file to send until all of it was heard: WAV, Ogg Opus, Ogg Vorbis, or raw samples (.raw,
    /// .pcm, .s16, .s16le) of --rate and --channels [default: standard input, which may be such a
    /// file, or raw samples as they come]
    file: Option<PathBuf>,
    #[command(flatten)]
    who: IdentityArgs,
    #[command(flatten)]
    speak: SendArgs,
}

#[derive(Debug, Args)]
struct CallArgs {
    /// The other's public key, or number where users are a website's
    #[arg(value_name = "KEY")]
    other: String,
    #[command(flatten)]
    talk: CallOptions,
}

#[derive(Debug, Args)]
struct AnswerArgs {
    /// Take calls from this key only, and decline all others; may be repeated
    #[arg(long, value_name = "KEY")]
    from: Vec<String>,
    #[command(flatten)]
    talk: CallOptions,
}

#[derive(Debug, Args)]
struct CallOptions {
    #[command(flatten)]
    who: IdentityArgs,
    #[command(flatten)]
    hear: ReceiveArgs,
    #[command(flatten)]
    speak: SendArgs,
    /// Hang up when standard input ends, not only when you or the other one do
    #[arg(long)]
    until_eof: bool,
}

/// Does what was asked, in words for people if it cannot.
pub(crate) fn run(voice: VoiceCommand) -> Result<(), String> {
    block_on(run_action(voice.action))
}

fn block_on<T>(action: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let done = runtime.block_on(action);
    // Threads that still wait for a pipe end with the process.
    runtime.shutdown_background();
    done
}

/// The servers for `RTCPeerConnection` that the server at `url` tells its clients, as JSON.
pub(crate) fn ice_servers(url: &str, trust: &Trust) -> Result<String, String> {
    // The request proves nothing: a key that is new and used for nothing else will do.
    let identity = CliIdentity::Key(SecretKey::generate());
    let server = VoiceClient::new(url, trust, identity)?;
    block_on(async { Ok(server.ice_servers().await?) })
}

async fn run_action(action: VoiceAction) -> Result<(), String> {
    match action {
        VoiceAction::Key(args) => key(args).await,
        VoiceAction::Listen(args) => {
            let (server, hearing) = (args.who.server()?, args.hear.receiving());
            listen::listen(&server, &args.room, hearing?).await
        }
        VoiceAction::Talk(args) => {
            let (server, speaking) = (args.who.server()?, args.speak.sending());
            match args.file {
                Some(file) => {
                    talk::send(&server, &args.room, ClipOrigin::Path(file), speaking).await
                }
                None => talk::talk(&server, &args.room, speaking).await,
            }
        }
        VoiceAction::Call(args) => phone::call(&args.other, args.talk.open()?).await,
        VoiceAction::Answer(args) => phone::answer(&args.from, args.talk.open()?).await,
    }
}

async fn key(args: KeyArgs) -> Result<(), String> {
    // `voice key` makes the key file if there is none.
    let secret = args.door.secret(true)?;
    let words = if let Some(challenge) = args.sign {
        secret
            .sign(&challenge)
            .ok_or("only texts of 1 to 32 bytes can be signed")?
    } else if args.query {
        VoiceClient::new(&args.door.url, &args.door.trust(), CliIdentity::Key(secret))?
            .query()
            .await?
    } else {
        secret.public().to_string()
    };
    output::print(&words)
}

impl ServerArgs {
    fn secret(&self, is_made: bool) -> Result<SecretKey, String> {
        match &self.key {
            Some(path) => keyfile::load(path, is_made),
            None => keyfile::load(&keyfile::default_path()?, true),
        }
    }

    fn trust(&self) -> Trust {
        Trust::of_flags(self.ca.as_deref(), self.insecure)
    }
}

impl IdentityArgs {
    fn server(self) -> Result<VoiceClient, String> {
        let identity = match self.token {
            Some(token) => CliIdentity::Token(token),
            None => CliIdentity::Key(self.door.secret(self.create)?),
        };
        VoiceClient::new(&self.door.url, &self.door.trust(), identity)
    }
}

impl ReceiveArgs {
    fn receiving(&self) -> Result<Downlink, String> {
        Downlink::open(self.output.as_deref(), self.format, self.seconds)
    }
}

impl SendArgs {
    fn sending(&self) -> UplinkConfig {
        UplinkConfig {
            rate: self.rate,
            channels: self.channels,
            is_paced: self.pace || source::is_file(),
        }
    }
}

impl CallOptions {
    fn open(self) -> Result<phone::Phone, String> {
        Ok(phone::Phone {
            server: self.who.server()?,
            speaking: source::is_piped().then(|| self.speak.sending()),
            hearing: self.hear.receiving()?,
            until_eof: self.until_eof,
        })
    }
}
