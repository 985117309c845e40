//! Many users that join and leave at random, in all formats.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rand::RngExt;
use tokio::time::{Instant, sleep, timeout};

use super::{
    http::HttpRequest,
    listener::{FORMATS, wait_until_all_are_detached},
    sound::{FRAME, RATE, Tone, median_amplitude},
    source::Source,
    user::User,
};
use crate::client::{TEST_TIMEOUT, start};

const CLIENTS: usize = 60;
const ROOMS: [&str; 3] = ["one", "two", "three"];
const DURATION: Duration = Duration::from_secs(5);

/// A random number below `below`.
fn random(below: usize) -> usize {
    rand::rng().random_range(0..below)
}

async fn short_pause() {
    sleep(Duration::from_millis(random(150) as u64)).await;
}

/// Connects a user to a room at random, as a source or a listener, or to its event stream. Status 409: a newer
/// connection of the same user has taken over.
async fn visit_room(user: &User, room: &str) {
    match random(5) {
        0 => {
            let Ok(mut source) = Source::try_websocket(user.address, &user.up_room(room)).await
            else {
                return;
            };
            for _ in 0..random(8) {
                // The size may be odd or 0.
                source.send_bytes(&vec![1; random(2 * FRAME)]).await;
            }
            if random(2) == 0 {
                source.close().await;
            }
        }
        1 => {
            let mut source = Source::body(user.address, "PUT", &user.up_room(room)).await;
            for _ in 0..random(8) {
                source.send_bytes(&vec![1; random(2 * FRAME)]).await;
            }
            if random(2) == 0 {
                let answer = source.finish().await;
                assert!([200, 409].contains(&answer.status), "{}", answer.status);
            }
        }
        2 => {
            let mut events = user.events().await;
            drop(timeout(Duration::from_millis(50), events.next_or_end()).await);
        }
        _ => {
            let answer = user
                .join_room(room, FORMATS[random(FORMATS.len())])
                .send(user.address)
                .await;
            assert!([200, 409].contains(&answer.status), "{}", answer.status);
            short_pause().await;
        }
    }
}

async fn churn(user: Arc<User>, until: Instant) {
    while Instant::now() < until {
        let room = ROOMS[random(ROOMS.len())];
        // Two visits at once, so that a user's microphone comes and goes while the user listens.
        tokio::join!(visit_room(&user, room), visit_room(&user, room));
    }
}

async fn wait_until_rooms_are_empty(address: SocketAddr) {
    let (_, rooms) = HttpRequest::get("/listRoom").text(address).await;
    let rooms: Vec<serde_json::Value> = serde_json::from_str(&rooms).expect("not JSON");
    assert_eq!(
        rooms.len(),
        ROOMS.len(),
        "empty rooms must be kept for a while"
    );
    for room in rooms {
        let members = format!("/listMembers?roomID={}", room["id"]);
        // The metrics change before the list of members does, so poll the list.
        let empty = async { while HttpRequest::get(&members).text(address).await.1 != "[]" {} };
        timeout(TEST_TIMEOUT, empty)
            .await
            .expect("timeout: the room is not empty");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn churn_leaves_no_state_behind() {
    let (_server, address) = start("");
    let mut users = Vec::new();
    for _ in 0..CLIENTS {
        users.push(Arc::new(User::new(address).await));
    }
    let until = Instant::now() + DURATION;
    let churning = users
        .iter()
        .map(|user| tokio::spawn(churn(user.clone(), until)));
    for task in churning.collect::<Vec<_>>() {
        task.await.expect("the task panicked");
    }
    wait_until_all_are_detached(address).await;
    wait_until_rooms_are_empty(address).await;
    let (ada, bob) = (&users[0], &users[1]);
    for room in ROOMS {
        let listener = bob.listen(room, "wav").await;
        let _playing = ada.speak(room).await.play(Tone::new(440, 8000.0));
        // The room may first catch up with frames that were late under load.
        let audible = async {
            while median_amplitude(&listener.next_samples(RATE / 2).await, 440) < 7500.0 {}
        };
        timeout(TEST_TIMEOUT, audible)
            .await
            .expect("timeout: the tone is not audible");
        // Samples that have arrived before are read at once.
        let real_time = async {
            loop {
                let began = Instant::now();
                listener.next_samples(RATE / 2).await;
                if began.elapsed() > Duration::from_millis(400) {
                    break;
                }
            }
        };
        let real_time = timeout(TEST_TIMEOUT, real_time).await;
        assert!(real_time.is_ok(), "{room} is faster than real time");
    }
}
