//! Requests for the event stream of a user.

use std::{sync::Arc, time::Duration};

use axum::response::{
    IntoResponse,
    sse::{Event, KeepAlive, Sse},
};
use futures_util::stream;
use switchboard_transport::{ConnectionAbort, Permit};
use tokio::sync::mpsc;

use crate::{
    access::end_at,
    answer::{VoiceError, VoiceResult},
    gostream::SseEvent,
    host::AdmittedRequest,
    id::User,
    identity::TicketKeepAlive,
    parameters::RequestParameters,
    service::{NOT_BUFFERED, PROXY_BUFFERING, VoiceService},
    state::VoiceState,
    streams::{StreamId, StreamListener},
};

/// Interval of the keep-alive comments on an idle event stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

impl VoiceService {
    /// `/messages`: the event stream of one user.
    pub(crate) async fn messages(
        &self,
        params: &RequestParameters,
        abort_handle: ConnectionAbort,
        admitted: AdmittedRequest,
    ) -> VoiceResult {
        let caller = self.identify_listener(params).await?;
        let deadline = admitted.access.deadline();
        let listener = StreamListener {
            abort: abort_handle,
            is_proven: caller.is_proven(),
            address: admitted.address,
        };
        let Some((id, events)) = self.state.listen(&caller.user, listener) else {
            return Err(VoiceError::too_many(
                "You have reached your limit of event streams (gostream.event_streams).",
            ));
        };
        tracing::info!(user = %caller.user, "event stream opened");
        let first = Event::default()
            .event("pubkey")
            .data(self.server_key.public_hex_uncompressed());
        let event_stream = EventStream {
            state: self.state.clone(),
            user: caller.user,
            id,
            events,
            first: Some(first),
            ticket_keep_alive: self.identity.ticket_keep_alive(caller.credential),
            _permit: admitted.permit,
        };
        let events = stream::unfold(event_stream, |mut event_stream| async move {
            let event = event_stream.next().await?;
            Some((Ok::<_, std::convert::Infallible>(event), event_stream))
        });
        let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive");
        let unbuffered = [(PROXY_BUFFERING, NOT_BUFFERED)];
        let response = (unbuffered, Sse::new(events).keep_alive(keep_alive)).into_response();
        Ok(end_at(deadline, response))
    }

    /// `HEAD` of `/messages`: the head of the response to `GET`, without a stream.
    pub(crate) async fn messages_head(&self, params: &RequestParameters) -> VoiceResult {
        self.identify_listener(params).await?;
        let nothing = stream::empty::<Result<Event, std::convert::Infallible>>();
        let unbuffered = [(PROXY_BUFFERING, NOT_BUFFERED)];
        Ok((unbuffered, Sse::new(nothing)).into_response())
    }
}

/// An open event stream; closed when dropped.
struct EventStream {
    state: Arc<VoiceState>,
    user: User,
    id: StreamId,
    events: mpsc::Receiver<Arc<SseEvent>>,
    /// The event `pubkey`, until it is sent.
    first: Option<Event>,
    ticket_keep_alive: Option<TicketKeepAlive>,
    _permit: Permit,
}

impl EventStream {
    async fn next(&mut self) -> Option<Event> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let event = loop {
            let refresh = async {
                match &mut self.ticket_keep_alive {
                    Some(ticket_keep_alive) => ticket_keep_alive.when_due().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = self.events.recv() => break event?,
                () = refresh => {}
            }
        };
        Some(Event::default().event(event.name).data(&event.data))
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.state.stop_listening(&self.user, self.id);
        tracing::info!(user = %self.user, "event stream closed");
    }
}
