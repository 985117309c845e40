//! Rooms of many members, in each dialect: a newcomer exchanges descriptions and candidates with every member, and many
//! clients join at once. Two members are introduced when the server tells one of them to offer to the other.

mod dialects;

use std::{
    collections::{HashSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{
    SinkExt, StreamExt,
    future::{join_all, try_join, try_join_all},
    stream::SplitStream,
};
use switchboard::Server;
use tokio::{
    net::TcpStream,
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config, tungstenite::Message,
};

use crate::client::{request, start};
use dialects::{
    AYAME, DialectClient, LIGHTSTREAM, MATCHBOX, MESH, P2P, PEERJS, ParsedFrame, SINGO,
    SignalPeers, Y_WEBRTC,
};

/// ICE candidates that follow a description.
const CANDIDATES: usize = 9;
/// Frames of a description and its candidates.
const FRAMES: usize = 1 + CANDIDATES;
/// More frames than one client sends in any of the tests.
const OUTGOING_MAX: usize = 2_000 * FRAMES;
/// The approximate size of a session description.
const DESCRIPTION_BYTES: usize = 6_000;
const COMPLETE_WITHIN: Duration = Duration::from_secs(30);
/// A busy machine opens a thousand connections slowly, so the limits for a request head and a first frame are higher.
const CONFIG: &str = "[limits]\nroom_members = 2000\nhandshake_secs = 60\nfirst_frame_secs = 60\n";
/// The interval of polling the member count.
const POLL: Duration = Duration::from_millis(5);

/// Tests with a thousand sockets run one after another.
static THOUSAND_SOCKETS: Semaphore = Semaphore::const_new(1);

macro_rules! newcomer_tests {
    ($($dialect:ident: $small:ident, $large:ident;)*) => { $(
        #[tokio::test]
        async fn $small() {
            newcomer_signals_with_every_member(&$dialect, 200).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[ignore = "`cargo xtask test` runs them as a stage of their own, which takes a minute"]
        async fn $large() {
            let _permit = THOUSAND_SOCKETS.acquire().await;
            newcomer_signals_with_every_member(&$dialect, 1_000).await;
        }
    )* };
}

newcomer_tests! {
    LIGHTSTREAM: lightstream_newcomer_offers_to_200_members, lightstream_newcomer_offers_to_1000_members;
    P2P: p2p_newcomer_offers_to_200_members, p2p_newcomer_offers_to_1000_members;
    MESH: mesh_newcomer_offers_to_200_members, mesh_newcomer_offers_to_1000_members;
    PEERJS: peerjs_newcomer_offers_to_200_peers, peerjs_newcomer_offers_to_1000_peers;
    SINGO: singo_newcomer_answers_200_members, singo_newcomer_answers_1000_members;
    MATCHBOX: matchbox_newcomer_answers_200_members, matchbox_newcomer_answers_1000_members;
    Y_WEBRTC: y_webrtc_newcomer_answers_200_members, y_webrtc_newcomer_answers_1000_members;
}

#[tokio::test]
async fn ayame_newcomer_offers_to_the_other_member() {
    newcomer_signals_with_every_member(&AYAME, 1).await;
}

macro_rules! join_storm_tests {
    ($($(#[$attribute:meta])? $dialect:ident: $test:ident;)*) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[$attribute])?
        async fn $test() {
            let _permit = THOUSAND_SOCKETS.acquire().await;
            each_pair_is_introduced_once(&$dialect, 1_000).await;
        }
    )* };
}

join_storm_tests! {
    LIGHTSTREAM: lightstream_introduces_1000_simultaneous_joiners;
    #[ignore = "`cargo xtask test` runs them as a stage of their own"]
    P2P: p2p_introduces_1000_simultaneous_joiners;
    #[ignore = "`cargo xtask test` runs them as a stage of their own"]
    SINGO: singo_introduces_1000_simultaneous_joiners;
    #[ignore = "`cargo xtask test` runs them as a stage of their own"]
    MATCHBOX: matchbox_introduces_1000_simultaneous_joiners;
}

/// Each member gets the newcomer's ten frames, in order, and no connection is closed.
async fn newcomer_signals_with_every_member(dialect: &'static DialectClient, members: usize) {
    let (server, address) = start(CONFIG);
    let (newcomer_id, known_newcomer) = watch::channel(String::new());
    let nicks: Vec<String> = (0..members).map(|number| format!("m{number}")).collect();
    let joined = join_all(
        nicks
            .iter()
            .map(|nick| RoomClient::open(dialect, address, nick)),
    )
    .await;
    await_members(&server, members).await;
    let members = joined
        .into_iter()
        .map(|member| tokio::spawn(signal_with_newcomer(member, known_newcomer.clone())));
    let members: Vec<JoinHandle<RoomClient>> = members.collect();
    let newcomer = signal_with_members(dialect, address, nicks, newcomer_id);
    let all = try_join(tokio::spawn(newcomer), try_join_all(members));
    let (mut newcomer, mut members) = timeout(COMPLETE_WITHIN, all)
        .await
        .expect("all frames arrive in time")
        .expect("no client fails");
    await_members(&server, members.len() + 1).await;
    newcomer.assert_alive().await;
    for member in &mut members {
        member.assert_alive().await;
    }
}

/// A member: receives the signals of the newcomer. In some dialects, it first offers to the newcomer.
async fn signal_with_newcomer(
    mut member: RoomClient,
    mut newcomer_id: watch::Receiver<String>,
) -> RoomClient {
    let mut frames = Vec::new();
    while frames.len() < FRAMES {
        match member.next().await {
            ParsedFrame::MustOffer(id) if member.dialect.members_offer => {
                let is_known = newcomer_id.wait_for(|id| !id.is_empty()).await;
                if id == *is_known.expect("the newcomer has an id") {
                    member.send_signals(&id, "offer");
                }
            }
            ParsedFrame::Signal(signal) => {
                signal.assert_receiver(&member.id);
                frames.push(signal.label);
            }
            ParsedFrame::Error(error) => panic!("member {}: {error}", member.id),
            ParsedFrame::Id(_) | ParsedFrame::MustOffer(_) => {}
        }
    }
    assert_eq!(frames, labels(member.dialect.newcomer_sends()));
    member
}

/// The newcomer: offers to every member, or answers the offer of every member.
async fn signal_with_members(
    dialect: &'static DialectClient,
    address: SocketAddr,
    nicks: Vec<String>,
    newcomer_id: watch::Sender<String>,
) -> RoomClient {
    let members = nicks.len();
    let mut newcomer = RoomClient::open(dialect, address, "newcomer").await;
    if !dialect.assigns_ids {
        newcomer_id.send_replace(newcomer.id.clone());
    }
    newcomer.learn_members(nicks);
    let (mut offered, mut received) = (HashSet::new(), 0);
    let expected = if dialect.members_offer {
        members * FRAMES
    } else {
        0
    };
    while offered.len() < members || received < expected {
        match newcomer.next().await {
            ParsedFrame::Id(id) => drop(newcomer_id.send_replace(id)),
            ParsedFrame::MustOffer(id) if !dialect.members_offer && id != newcomer.id => {
                assert!(offered.insert(id.clone()), "{id} is announced twice");
                newcomer.send_signals(&id, "offer");
            }
            ParsedFrame::Signal(signal) => {
                signal.assert_receiver(&newcomer.id);
                received += 1;
                if signal.label == "offer" && offered.insert(signal.from.clone()) {
                    newcomer.send_signals(&signal.from, "answer");
                }
            }
            ParsedFrame::Error(error) => panic!("newcomer: {error}"),
            ParsedFrame::MustOffer(_) => {}
        }
    }
    newcomer
}

/// All clients join at the same time; exactly one of each pair must offer to the other.
async fn each_pair_is_introduced_once(dialect: &'static DialectClient, clients: usize) {
    let (_server, address) = start(CONFIG);
    let pairs = Arc::new(Mutex::new(HashSet::new()));
    let all = clients * (clients - 1) / 2;
    let (count, mut introduced) = watch::channel(0);
    let tasks: Vec<_> = (0..clients)
        .map(|number| {
            let (pairs, count) = (Arc::clone(&pairs), count.clone());
            tokio::spawn(async move {
                let mut client = RoomClient::open(dialect, address, &format!("m{number}")).await;
                loop {
                    match client.next().await {
                        ParsedFrame::MustOffer(id) => {
                            let pair = sorted(id, client.id.clone());
                            let mut pairs = pairs.lock().expect("no client failed");
                            assert!(
                                pairs.insert(pair),
                                "{} is introduced twice to the same member",
                                client.id
                            );
                            count.send_replace(pairs.len());
                        }
                        ParsedFrame::Error(error) => panic!("{}: {error}", client.id),
                        ParsedFrame::Id(_) | ParsedFrame::Signal(_) => {}
                    }
                }
            })
        })
        .collect();
    drop(count);
    let done = timeout(
        4 * COMPLETE_WITHIN,
        introduced.wait_for(|&count| count == all),
    )
    .await;
    let known = pairs.lock().map_or(0, |pairs| pairs.len());
    assert!(
        matches!(done, Ok(Ok(_))),
        "{known} of {all} pairs are introduced"
    );
    assert!(
        tasks.iter().all(|task| !task.is_finished()),
        "no connection is closed"
    );
}

fn sorted(one: String, other: String) -> (String, String) {
    if one < other {
        (one, other)
    } else {
        (other, one)
    }
}

/// The labels of the frames of [`RoomClient::send_signals`], in order: the kind of the description, then the
/// numbers of the candidates.
fn labels(description: &str) -> Vec<String> {
    let candidates = (0..CANDIDATES).map(|number| number.to_string());
    std::iter::once(description.to_owned())
        .chain(candidates)
        .collect()
}

async fn await_members(server: &Server, expected: usize) {
    let count = || -> usize { server.rooms().list().iter().map(|(_, count)| count).sum() };
    let reached = async {
        while count() != expected {
            tokio::time::sleep(POLL).await;
        }
    };
    let reached = timeout(2 * COMPLETE_WITHIN, reached).await;
    assert!(reached.is_ok(), "{} instead of {expected} members", count());
}

/// A client that reads and writes independently of each other, as a browser does.
struct RoomClient {
    dialect: &'static DialectClient,
    /// The id by which other members address the client.
    id: String,
    frames: SplitStream<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    outgoing: mpsc::Sender<Message>,
    /// Events that were parsed from frames and not yet returned.
    events: VecDeque<ParsedFrame>,
}

impl RoomClient {
    /// Connects and joins the room.
    async fn open(dialect: &'static DialectClient, address: SocketAddr, nick: &str) -> Self {
        let request = request(address, &(dialect.path)(nick));
        let (socket, _) = connect_async_with_config(request, None, true)
            .await
            .expect("an upgrade");
        let (mut sink, frames) = socket.split();
        let (outgoing, mut queued) = mpsc::channel(OUTGOING_MAX);
        tokio::spawn(async move {
            while let Some(message) = queued.recv().await {
                if sink.send(message).await.is_err() {
                    break;
                }
            }
        });
        let client = Self {
            dialect,
            id: if dialect.assigns_ids { "" } else { nick }.to_owned(),
            frames,
            outgoing,
            events: VecDeque::new(),
        };
        for frame in (dialect.join)(nick) {
            client.send(frame.to_string());
        }
        client
    }

    /// Requests the member list. In a dialect whose clients know each other's ids without the server, takes `nicks`
    /// as the list.
    fn learn_members(&mut self, nicks: Vec<String>) {
        if let Some(request) = self.dialect.list_members {
            self.send(request().to_string());
        }
        if self.dialect.knows_members {
            self.events
                .extend(nicks.into_iter().map(ParsedFrame::MustOffer));
        }
    }

    /// Sends one description and nine candidates to a member. Each names the member in its text.
    fn send_signals(&self, to: &str, description: &str) {
        let peers = SignalPeers { from: &self.id, to };
        let sdp = format!("v=0\r\nto {to}\r\n{}", "a".repeat(DESCRIPTION_BYTES));
        self.send((self.dialect.description_frame)(peers, description, &sdp).to_string());
        for number in 0..CANDIDATES {
            let candidate = format!("candidate:{number} 1 udp 1 127.0.0.1 9 typ host to {to}");
            self.send((self.dialect.candidate_frame)(peers, &candidate).to_string());
        }
    }

    fn send(&self, text: String) {
        // If the connection is closed, the next read reports it.
        self.outgoing.try_send(Message::text(text)).ok();
    }

    async fn next(&mut self) -> ParsedFrame {
        loop {
            if let Some(event) = self.events.pop_front() {
                if let ParsedFrame::Id(id) = &event {
                    self.id.clone_from(id);
                }
                return event;
            }
            if let Message::Text(text) = self.message().await {
                let frame = serde_json::from_str(&text).expect("JSON");
                self.events.extend((self.dialect.read)(&frame, &self.id));
            }
        }
    }

    async fn message(&mut self) -> Message {
        match self.frames.next().await {
            Some(Ok(Message::Close(close))) => panic!("{} is closed: {close:?}", self.id),
            Some(Ok(message)) => message,
            other => panic!("the connection of {} ended: {other:?}", self.id),
        }
    }

    /// The server answers a ping.
    async fn assert_alive(&mut self) {
        self.outgoing
            .try_send(Message::Ping("alive".into()))
            .expect("an open connection");
        while !matches!(self.message().await, Message::Pong(_)) {}
    }
}
