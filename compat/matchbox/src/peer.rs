//! A client as a game has it: one socket of matchbox_socket with two channels, and what has been seen of its peers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::channel::mpsc::UnboundedSender;
use futures::{FutureExt, StreamExt, select_biased};
use matchbox_socket::{
    Error, Packet, PeerId, PeerState, RtcIceServerConfig, WebRtcChannel, WebRtcSocket,
};
use smol::{Task, Timer};

use crate::failure::{Failure, Result, ensure, within};

/// How long anything may take that is waited for: a handshake, a packet, the news that somebody is gone.
const PATIENCE: Duration = Duration::from_secs(30);

type MessageLoop = Task<std::result::Result<(), Error>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Channel {
    Reliable,
    Unreliable,
}

pub(crate) struct Peer {
    pub(crate) id: PeerId,
    /// How many it is to meet, and no more.
    pub(crate) mates_max: usize,
    /// Whom it is connected to.
    pub(crate) mates: BTreeSet<PeerId>,
    /// Whom it has ever been connected to.
    pub(crate) met: BTreeSet<PeerId>,
    /// How many times it was told that somebody is gone.
    pub(crate) farewells: BTreeMap<PeerId, usize>,
    heard: BTreeMap<(Channel, PeerId), Vec<Packet>>,
    socket: WebRtcSocket,
    reliable: WebRtcChannel,
    unreliable: WebRtcChannel,
    message_loop: MessageLoop,
}

enum Happening {
    State(Option<(PeerId, PeerState)>),
    Packet(Channel, Option<(PeerId, Packet)>),
}

impl Peer {
    /// Connects, and waits for the id that the server gives.
    pub(crate) async fn join(url: &str) -> Result<Self> {
        let (mut socket, message_loop) = WebRtcSocket::builder(url)
            .ice_server(nobody_to_ask())
            .reconnect_attempts(Some(1))
            .add_reliable_channel()
            .add_unreliable_channel()
            .build();
        let mut message_loop = smol::spawn(message_loop);
        let id = id(&mut socket, &mut message_loop).await?;
        let (reliable, unreliable) = (channel(&mut socket, 0)?, channel(&mut socket, 1)?);
        Ok(Self {
            id,
            mates_max: 0,
            mates: BTreeSet::new(),
            met: BTreeSet::new(),
            farewells: BTreeMap::new(),
            heard: BTreeMap::new(),
            socket,
            reliable,
            unreliable,
            message_loop,
        })
    }

    /// Takes in what happens until something is so.
    pub(crate) async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<()> {
        let all = async {
            while !is_so(self) {
                let happening = self.next().await;
                self.take_in(happening)?;
            }
            Ok(())
        };
        match within(PATIENCE, all).await {
            Some(result) => result,
            None => Err(Failure::new(format!(
                "not so in time: {what}. {}",
                self.seen()
            ))),
        }
    }

    /// Takes in what has happened already.
    pub(crate) fn catch_up(&mut self) -> Result<()> {
        while let Some(happening) = self.next().now_or_never() {
            self.take_in(happening)?;
        }
        Ok(())
    }

    pub(crate) fn sender(&self, channel: Channel) -> UnboundedSender<(PeerId, Packet)> {
        match channel {
            Channel::Reliable => self.reliable.sender_clone(),
            Channel::Unreliable => self.unreliable.sender_clone(),
        }
    }

    pub(crate) fn heard(&self, channel: Channel, from: PeerId) -> &[Packet] {
        self.heard.get(&(channel, from)).map_or(&[], Vec::as_slice)
    }

    /// Everybody of whom it has heard anything.
    pub(crate) fn voices(&self) -> BTreeSet<PeerId> {
        self.heard.keys().map(|(_, from)| *from).collect()
    }

    /// Leaves as a game does that drops its socket.
    pub(crate) async fn leave(self) -> Result<()> {
        drop((self.socket, self.reliable, self.unreliable));
        match within(PATIENCE, self.message_loop).await {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Failure::new(format!("leaving ended with {error:?}"))),
            None => Err(Failure::new("leaving did not end")),
        }
    }

    async fn next(&mut self) -> Happening {
        select_biased! {
            state = self.socket.next().fuse() => Happening::State(state),
            packet = self.reliable.next().fuse() => Happening::Packet(Channel::Reliable, packet),
            packet = self.unreliable.next().fuse() => Happening::Packet(Channel::Unreliable, packet),
        }
    }

    fn take_in(&mut self, happening: Happening) -> Result<()> {
        match happening {
            Happening::State(Some((peer, PeerState::Connected))) => {
                self.mates.insert(peer);
                self.met.insert(peer);
                ensure(self.met.len() <= self.mates_max, || {
                    format!("it was to meet {} at most. {}", self.mates_max, self.seen())
                })?;
            }
            Happening::State(Some((peer, PeerState::Disconnected))) => {
                self.mates.remove(&peer);
                *self.farewells.entry(peer).or_default() += 1;
            }
            Happening::Packet(channel, Some((peer, packet))) => {
                self.heard.entry((channel, peer)).or_default().push(packet);
            }
            Happening::State(None) | Happening::Packet(_, None) => {
                return Err(Failure::new(format!(
                    "its socket has ended. {}",
                    self.seen()
                )));
            }
        }
        Ok(())
    }

    fn seen(&self) -> String {
        let packets: usize = self.heard.values().map(Vec::len).sum();
        let (mates, met) = (self.mates.len(), self.met.len());
        let farewells: usize = self.farewells.values().sum();
        format!(
            "Connected to {mates}, has met {met}, was told {farewells} times that one is gone, heard {packets} packets"
        )
    }
}

/// No STUN and no TURN: a peer offers the addresses of its own machine.
fn nobody_to_ask() -> RtcIceServerConfig {
    RtcIceServerConfig {
        urls: Vec::new(),
        username: None,
        credential: None,
    }
}

fn channel(socket: &mut WebRtcSocket, index: usize) -> Result<WebRtcChannel> {
    let channel = socket.take_channel(index);
    channel.map_err(|error| Failure::new(format!("channel {index}: {error}")))
}

/// The library tells of its id only when asked, so it is asked often.
async fn id(socket: &mut WebRtcSocket, message_loop: &mut MessageLoop) -> Result<PeerId> {
    let answered = within(PATIENCE, async {
        loop {
            if let Some(id) = socket.id() {
                return Ok(id);
            }
            if message_loop.is_finished() {
                let end = message_loop.await;
                return Err(Failure::new(format!("it could not connect: {end:?}")));
            }
            Timer::after(Duration::from_millis(5)).await;
        }
    });
    let in_time = answered.await;
    in_time.unwrap_or_else(|| Err(Failure::new("the server gave it no id")))
}
