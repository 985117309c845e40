use std::{future::poll_fn, pin::pin};

use switchboard_core::{ErrorCode, Event};
use switchboard_dialects::find;

use super::*;

use crate::websocket::tests::connect_with;

/// The thread of a sender may handle events as soon as the last poll of the task has unlocked the connection.
#[tokio::test]
async fn a_session_that_has_ended_gets_no_more_events() {
    let (client, connection) = connect_with(find("mesh")).await;
    let outbox = connection.outbox.clone();
    let mut sleep = pin!(sleep_until(connection.session.poll_timeout().into()));
    let mut state = TimerState::default();
    let served = ServedConnection::new(connection);
    drop(client);
    let ended = poll_fn(|context| {
        let mut timer = TaskTimer {
            sleep: sleep.as_mut(),
            state: &mut state,
        };
        served.poll(context, &mut timer)
    });
    let ended = ended.await;
    assert!(ended.is_some(), "the client has closed the connection");
    outbox.push(Arc::new(Event::RequestFailed(
        ErrorCode::Denied(None).into(),
    )));
    let mut step = IdleStep::at(Instant::now());
    outbox.connection().handle_events(&mut None, &mut step);
    assert_eq!(outbox.len(), 1, "no event is handled");
}
