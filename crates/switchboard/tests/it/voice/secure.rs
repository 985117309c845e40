//! Voice over TLS.

use super::{
    listener::FORMATS,
    sound::{RATE, Tone, median_amplitude},
    user::User,
};
use crate::tls::{start_tunnel, start_with_tls};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_is_streamed_over_tls() {
    let (_server, address) = start_with_tls("");
    let (ada, bob) = User::two(start_tunnel(address).await).await;
    let _playing = ada.speak("standup").await.play(Tone::new(440, 8000.0));
    for &format in FORMATS {
        let listener = bob.listen("standup", format).await.in_format(format);
        while median_amplitude(&listener.next_samples(RATE / 2).await, 440) < 7000.0 {}
    }
}
