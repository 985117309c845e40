//! Packets from everybody to everybody whom he is connected to.

use std::time::Duration;

use futures::channel::mpsc::UnboundedSender;
use futures::future::{self, Either};
use matchbox_socket::{Packet, PeerId};
use smol::Timer;

use crate::failure::{Failure, Result, ensure};
use crate::peer::{Channel, Peer};

/// From one to another on one channel.
const PACKETS: usize = 20;
/// Each fits into one datagram.
const PACKET_LEN: usize = 1_000;
/// How long after an unreliable packet it is sent again, as a game would do it.
const AGAIN: Duration = Duration::from_millis(250);

/// Everybody sends to his mates on both channels, and hears all of theirs. The letter tells one exchange from another.
pub(crate) async fn exchange(peers: &mut [Peer], letter: u8) -> Result<()> {
    let packets: Vec<Packet> = (0..PACKETS).map(|number| packet(letter, number)).collect();
    Outbox::new(peers, Channel::Reliable).send(&packets)?;
    let unreliable = Outbox::new(peers, Channel::Unreliable);
    let repeating = std::pin::pin!(unreliable.repeat(&packets));
    let hearing = future::try_join_all(peers.iter_mut().map(|peer| hear(peer, &packets)));
    match future::select(hearing, repeating).await {
        Either::Left((heard, _)) => drop(heard?),
        Either::Right((failure, _)) => return Err(failure),
    }
    peers.iter().try_for_each(|peer| check(peer, &packets))
}

fn packet(letter: u8, number: usize) -> Packet {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.resize(PACKET_LEN, letter);
    bytes.into()
}

/// The ways from all peers to their mates on one channel.
struct Outbox(Vec<(UnboundedSender<(PeerId, Packet)>, PeerId)>);

impl Outbox {
    fn new(peers: &[Peer], channel: Channel) -> Self {
        let ways = |peer: &Peer| {
            let sender = peer.sender(channel);
            let mates = peer.mates.iter();
            mates
                .map(|mate| (sender.clone(), *mate))
                .collect::<Vec<_>>()
        };
        Self(peers.iter().flat_map(ways).collect())
    }

    fn send(&self, packets: &[Packet]) -> Result<()> {
        for ((sender, mate), packet) in self
            .0
            .iter()
            .flat_map(|way| packets.iter().map(move |packet| (way, packet)))
        {
            sender
                .unbounded_send((*mate, packet.clone()))
                .map_err(|_| Failure::new("a socket takes no packet any more"))?;
        }
        Ok(())
    }

    /// Sends again and again, until that fails.
    async fn repeat(&self, packets: &[Packet]) -> Failure {
        loop {
            if let Err(failure) = self.send(packets) {
                return failure;
            }
            Timer::after(AGAIN).await;
        }
    }
}

async fn hear(peer: &mut Peer, packets: &[Packet]) -> Result<()> {
    let has_all = |peer: &Peer| {
        let from_all = |channel| {
            let mut mates = peer.mates.iter();
            mates.all(|mate| {
                packets
                    .iter()
                    .all(|packet| peer.heard(channel, *mate).contains(packet))
            })
        };
        from_all(Channel::Reliable) && from_all(Channel::Unreliable)
    };
    peer.until("has heard all packets of all mates", has_all)
        .await
}

/// Checks that reliable packets arrived once and in order, and only from the peers of the room.
fn check(peer: &Peer, packets: &[Packet]) -> Result<()> {
    for mate in &peer.mates {
        let heard = peer.heard(Channel::Reliable, *mate).iter();
        let of_these = heard.filter(|packet| packet.last() == packets[0].last());
        ensure(of_these.eq(packets), || {
            "reliable packets came twice or out of order".to_owned()
        })?;
    }
    ensure(peer.voices().is_subset(&peer.met), || {
        "a packet came from somebody who is no peer".to_owned()
    })
}
