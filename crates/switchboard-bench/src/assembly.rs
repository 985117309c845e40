//! Sets up rooms whose members know each other's addresses.

use std::rc::Rc;

use futures_util::{StreamExt as _, stream};

use crate::{
    BenchError,
    client::{BenchClient, Net},
    progress::Reporter,
};

/// The rooms that are set up at a time.
const CONCURRENCY: usize = 64;

/// Sets up rooms of `room_size` members for this number of clients, and returns the members of each.
pub(crate) async fn assemble(
    net: &Rc<Net>,
    clients: usize,
    room_size: usize,
    reporter: &mut Reporter<'_>,
) -> Result<Vec<Vec<BenchClient>>, BenchError> {
    let rooms = (clients / room_size).max(1);
    let setups = (0..rooms).map(|room| {
        let net = Rc::clone(net);
        async move { assemble_room(&net, room, room * room_size, room_size).await }
    });
    let mut setups = stream::iter(setups).buffered(CONCURRENCY);
    let mut assembled = Vec::with_capacity(rooms);
    while let Some(room) = setups.next().await {
        assembled.push(room?);
        reporter.connected(assembled.len() * room_size, rooms * room_size);
    }
    Ok(assembled)
}

/// Sets up one room. Its clients are numbered from `first`.
pub(crate) async fn assemble_room(
    net: &Net,
    room: usize,
    first: usize,
    room_size: usize,
) -> Result<Vec<BenchClient>, BenchError> {
    let mut members: Vec<BenchClient> = Vec::with_capacity(room_size);
    for number in first..first + room_size {
        let mut client = BenchClient::open(net, number, net.seat(number, room)).await?;
        enter(net, &mut members, &mut client).await?;
        members.push(client);
    }
    Ok(members)
}

/// Joins a room in which `members` are. The first member learns the newcomer's address, and the newcomer the members'.
async fn enter(
    net: &Net,
    members: &mut [BenchClient],
    newcomer: &mut BenchClient,
) -> Result<(), BenchError> {
    for listed in newcomer.join(net).await? {
        let member = members
            .iter_mut()
            .find(|member| member.seat.name == listed.name);
        if let Some(member) = member {
            member.address = listed.address;
        }
    }
    if net.wire.traits().announces_joins
        && let Some(first) = members.first_mut()
    {
        await_introduction(net, first, newcomer).await?;
    }
    Ok(())
}

/// Waits until a member is notified of a newcomer.
///
/// Where joins are not answered, the second client of a room may be in it before the first: then the second is notified
/// of the first. Both are in the room after that.
pub(crate) async fn await_introduction(
    net: &Net,
    member: &mut BenchClient,
    newcomer: &mut BenchClient,
) -> Result<(), BenchError> {
    if net.wire.traits().answers_joins {
        newcomer.address = member.await_peer(net).await?.address;
        return Ok(());
    }
    tokio::select! {
        peer = member.await_peer(net) => peer.map(drop),
        peer = newcomer.await_peer(net) => peer.map(drop),
    }
}
