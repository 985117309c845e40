//! The behaviour that a game relies on, one function for each part of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{self, LocalBoxFuture};
use matchbox_socket::PeerId;
use smol::Timer;

use crate::exchange::exchange;
use crate::failure::{Result, ensure};
use crate::peer::Peer;

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Rooms) -> LocalBoxFuture<'_, Result<()>>,
}

pub(crate) const ALL: &[Scenario] = &[
    Scenario {
        name: "four peers, full mesh, packets between all of them",
        run: |rooms| full_mesh(rooms).boxed_local(),
    },
    Scenario {
        name: "?next=2: four peers make two pairs, and nobody hears a third",
        run: |rooms| groups(rooms, 2).boxed_local(),
    },
    Scenario {
        name: "?next=3: six peers make two groups of three",
        run: |rooms| groups(rooms, 3).boxed_local(),
    },
    Scenario {
        name: "one of four leaves: the others are told, and go on",
        run: |rooms| one_leaves(rooms).boxed_local(),
    },
    Scenario {
        name: "?next=2: one of a pair leaves: the other is told, and the other pair is not",
        run: |rooms| one_of_a_pair_leaves(rooms).boxed_local(),
    },
    Scenario {
        name: "two rooms, and one of the same name with ?next=2, do not hear each other",
        run: |rooms| rooms_apart(rooms).boxed_local(),
    },
    Scenario {
        name: "idle for longer than two keep-alives, and then one more comes",
        run: |rooms| idle(rooms).boxed_local(),
    },
];

/// A client sends a keep-alive every ten seconds unless its game wants it otherwise.
const IDLE: Duration = Duration::from_secs(25);

/// A leave is reported twice: by the server, and by the data channels that close. The library passes both on.
const FAREWELLS: usize = 2;

/// Rooms of one server that no other scenario uses.
#[derive(Debug)]
pub(crate) struct Rooms {
    base: String,
}

impl Rooms {
    pub(crate) fn new(base: &str) -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        // A server at a URL may still know those of an earlier run, and two URLs may lead to the same
        // rooms.
        let (run, number) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        Self {
            base: format!("{base}/compat-{run}-{number}"),
        }
    }

    fn url(&self, name: &str) -> String {
        format!("{}-{name}", self.base)
    }

    fn next(&self, name: &str, size: usize) -> String {
        format!("{}?next={size}", self.url(name))
    }
}

async fn full_mesh(rooms: &Rooms) -> Result<()> {
    let mut peers = meet(&rooms.url("mesh"), 4, 3).await?;
    exchange(&mut peers, b'a').await?;
    are_groups(&peers, 1)
}

async fn groups(rooms: &Rooms, size: usize) -> Result<()> {
    let url = rooms.next("groups", size);
    let mut peers = meet(&url, 2 * size, size - 1).await?;
    exchange(&mut peers, b'a').await?;
    let _later = later(&mut peers, &url, size).await?;
    are_groups(&peers, 2)
}

async fn one_leaves(rooms: &Rooms) -> Result<()> {
    let mut peers = meet(&rooms.url("leave"), 4, 3).await?;
    let leaver = peers.remove(1);
    let gone = leaver.id;
    leaver.leave().await?;
    future::try_join_all(peers.iter_mut().map(|peer| miss(peer, gone))).await?;
    peers.iter().try_for_each(|peer| has_mates(peer, 2))?;
    exchange(&mut peers, b'b').await
}

async fn one_of_a_pair_leaves(rooms: &Rooms) -> Result<()> {
    let url = rooms.next("leave-pair", 2);
    let mut peers = meet(&url, 4, 1).await?;
    let leaver = peers.remove(0);
    let gone = leaver.id;
    leaver.leave().await?;
    let (mut pair, mut others): (Vec<_>, Vec<_>) =
        peers.into_iter().partition(|peer| peer.met.contains(&gone));
    future::try_join_all(pair.iter_mut().map(|peer| miss(peer, gone))).await?;
    let _later = later(&mut others, &url, 2).await?;
    ensure(others.iter().all(|peer| peer.farewells.is_empty()), || {
        "the other pair was told, too".to_owned()
    })?;
    ensure(pair.len() == 1 && others.len() == 2, || {
        "there were no two pairs".to_owned()
    })
}

async fn rooms_apart(rooms: &Rooms) -> Result<()> {
    let urls = [rooms.url("one"), rooms.url("other"), rooms.next("one", 2)];
    let pairs = future::try_join_all(urls.iter().map(|url| meet(url, 2, 1))).await?;
    pairs.iter().try_for_each(|pair| are_groups(pair, 1))?;
    let mut peers: Vec<_> = pairs.into_iter().flatten().collect();
    exchange(&mut peers, b'a').await?;
    let _later = later(&mut peers, &rooms.url("third"), 2).await?;
    are_groups(&peers, 3)
}

async fn idle(rooms: &Rooms) -> Result<()> {
    let url = rooms.url("idle");
    let mut peers = meet(&url, 2, 1).await?;
    Timer::after(IDLE).await;
    peers.push(Peer::join(&url).await?);
    connect(&mut peers, 2).await?;
    ensure(peers.iter().all(|peer| peer.farewells.is_empty()), || {
        "somebody was lost in the meantime".to_owned()
    })?;
    exchange(&mut peers, b'a').await
}

/// So many come at the same moment, and each finds so many mates.
async fn meet(url: &str, count: usize, mates: usize) -> Result<Vec<Peer>> {
    let mut peers = future::try_join_all((0..count).map(|_| Peer::join(url))).await?;
    connect(&mut peers, mates).await?;
    Ok(peers)
}

async fn connect(peers: &mut [Peer], mates: usize) -> Result<()> {
    let what = format!("is connected to {mates}");
    for peer in &mut *peers {
        peer.mates_max = mates;
    }
    let connected = |peer: &Peer| peer.mates.len() >= mates;
    future::try_join_all(peers.iter_mut().map(|peer| peer.until(&what, connected))).await?;
    Ok(())
}

/// Lets so many more come and meet, and returns them. Had the server told somebody of a peer whom he is not to meet, it
/// would have been before; so their call would be made, too.
async fn later(peers: &mut [Peer], url: &str, count: usize) -> Result<Vec<Peer>> {
    let mut more = meet(url, count, count - 1).await?;
    exchange(&mut more, b'z').await?;
    peers.iter_mut().try_for_each(Peer::catch_up)?;
    Ok(more)
}

async fn miss(peer: &mut Peer, gone: PeerId) -> Result<()> {
    let told = |peer: &Peer| {
        peer.farewells
            .get(&gone)
            .is_some_and(|told| *told >= FAREWELLS)
    };
    peer.until("was told by the server and by the channels", told)
        .await
}

/// Whether so many groups have met of which each peer has met its own.
fn are_groups(peers: &[Peer], count: usize) -> Result<()> {
    let groups: BTreeSet<_> = peers.iter().map(group).collect();
    let met = groups.len();
    ensure(met == count, || {
        format!("{met} groups have met, and should be {count}")
    })
}

/// A peer, with everybody whom it has met.
fn group(peer: &Peer) -> BTreeSet<PeerId> {
    peer.met.iter().copied().chain([peer.id]).collect()
}

fn has_mates(peer: &Peer, count: usize) -> Result<()> {
    let mates = peer.mates.len();
    ensure(mates == count, || {
        format!("one has {mates} mates left, and should have {count}")
    })
}
