//! The policies of voice rooms.

use std::net::SocketAddr;

use switchboard::{DuplicateIdentity, RoomPolicies, RoomPolicy, Server};

use super::{
    http::{HttpRequest, wait_for_metric},
    user::User,
};
use crate::client::{serve, start};

/// The answer to a user that wants to listen to the room `standup`.
async fn answer(user: &User, address: SocketAddr) -> (u16, String) {
    user.join_room("standup", "wav").text(address).await
}

fn lock(server: &Server) {
    let locked = RoomPolicy {
        locked: Some(true),
        ..RoomPolicy::default()
    };
    let pattern = "standup".parse().expect("a pattern");
    let policies = RoomPolicies::new([(pattern, locked)], DuplicateIdentity::Replace);
    server.room_policies().replace(policies);
}

#[tokio::test]
async fn max_members_counts_users_and_not_their_connections() {
    let (_server, address) = start("[[rooms]]\npattern = \"standup\"\nmax_members = 1\n");
    let (ada, bob) = User::two(address).await;
    let source = ada.speak("standup").await;
    let listener = ada.listen("standup", "wav").await;
    let text = "The room has as many members as its policy allows (rooms.max_members).\n";
    assert_eq!(answer(&bob, address).await, (503, text.to_owned()));
    let _elsewhere = bob.listen("elsewhere", "wav").await;
    drop((source, listener));
    wait_for_metric(address, "voice_sources", 0).await;
    wait_for_metric(address, "voice_listeners", 1).await;
    let _listener = bob.listen("standup", "wav").await;
}

#[tokio::test]
async fn a_voice_room_has_the_policies_of_its_name() {
    let (_server, address) = start(
        "[[rooms]]\npattern = \"mesh-only\"\ndialects = [\"mesh\"]\n[[rooms]]\npattern = \"hidden\"\npresence = false\n[[rooms]]\npattern = \"known\"\nwho_may_join = [\"ada\"]\n",
    );
    let user = User::new(address).await;
    for (room, text) in [
        (
            "mesh-only",
            "The room \"mesh-only\" does not admit the dialect \"gostream\".\n",
        ),
        (
            "hidden",
            "The room \"hidden\" does not reveal its members, and the dialect \"gostream\" needs that.\n",
        ),
        ("known", "The room \"known\" does not admit this client.\n"),
    ] {
        for request in [
            user.join_room(room, "wav"),
            HttpRequest::post(user.up_room(room)),
        ] {
            assert_eq!(
                request.text(address).await,
                (403, text.to_owned()),
                "{room}"
            );
        }
    }
    let _free = user.listen("free", "wav").await;
}

#[tokio::test]
async fn a_user_in_a_locked_voice_room_connects_its_other_direction() {
    // One node: the voice leader of two would not know of the lock.
    let (server, address) = serve(Server::builder().build().expect("valid settings"));
    let (ada, bob) = User::two(address).await;
    let _source = ada.speak("standup").await;
    lock(&server);
    let text = "The room \"standup\" is locked.\n";
    assert_eq!(answer(&bob, address).await, (403, text.to_owned()));
    let _listener = ada.listen("standup", "wav").await;
}
