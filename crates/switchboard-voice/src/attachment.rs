//! Audio attachments: one user's microphone or headphones in a call or room, detached when dropped.

use std::{sync::Arc, time::Instant};

use axum::http::StatusCode;
use bytestring::ByteString;

use prometheus::IntGauge;
use switchboard_transport::Permit;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::{
    access::expired,
    answer::VoiceError,
    connections::ConnectionHold,
    endpoint::AudioTarget,
    id::{MixId, User},
    identity::{Caller, Credential, IdentityProvider},
    parameters::RequestParameters,
    room_mixer::RoomMixer,
    service::VoiceService,
    signaling::{Direction, RoomKey, VoiceRoomError},
    state::{AudioConnection, VoiceStateInner},
};

/// One user's microphone or headphones in a call or room; detached when dropped.
pub(crate) struct AudioAttachment {
    pub(crate) user: User,
    pub(crate) mixer: Arc<RoomMixer>,
    voice: Arc<VoiceService>,
    mix: MixId,
    direction: Direction,
    hold: ConnectionHold,
    site: Option<SiteNotification>,
    /// The time at which the grants of the user end.
    deadline: Option<Instant>,
    _permit: Permit,
}

/// Maximum length of a client-chosen connection name, in bytes.
const CONNECTION_NAME_MAX: usize = 64;

impl AudioAttachment {
    /// Completes when a newer connection of the same user has taken over.
    pub(crate) async fn replaced(&self) {
        self.hold.replaced.cancelled().await;
    }

    /// Completes when the grants of the user have expired.
    pub(crate) async fn expired(&self) {
        expired(self.deadline).await;
    }

    pub(crate) fn is_replaced(&self) -> bool {
        self.hold.replaced.is_cancelled()
    }

    pub(crate) fn replaced_owned(&self) -> WaitForCancellationFutureOwned {
        self.hold.replaced.clone().cancelled_owned()
    }
}

impl Drop for AudioAttachment {
    fn drop(&mut self) {
        let state = &self.voice.state;
        let is_current = state.disconnect(&self.user, self.mix, self.direction, &self.hold);
        if let Some(site) = self.site.as_mut().filter(|_| !is_current) {
            // No stop notification: the connection that has taken over keeps the user active.
            site.sends_stop = false;
        }
        let is_replaced = !is_current;
        tracing::info!(user = %self.user, mix = %self.mix, direction = ?self.direction, is_replaced, "audio detached");
        self.voice.attachment_gauge(self.direction).dec();
    }
}

/// A microphone or headphones in a room, of which the website has been notified. Sends the stop notification on drop.
struct SiteNotification {
    voice: Arc<VoiceService>,
    room: u64,
    token: String,
    direction: Direction,
    sends_stop: bool,
}

impl SiteNotification {
    /// Asks the website for permission. For the website, a request that it grants is the start notification.
    async fn request_permission(mut self) -> Result<Self, VoiceError> {
        let permission = self
            .voice
            .notify_site(self.room, &self.token, self.direction, true);
        if permission.await? {
            return Ok(self);
        }
        self.sends_stop = false;
        Err(VoiceError::forbidden("You may not enter this room."))
    }
}

impl Drop for SiteNotification {
    fn drop(&mut self) {
        if !self.sends_stop {
            return;
        }
        let (voice, room, direction) = (self.voice.clone(), self.room, self.direction);
        let token = std::mem::take(&mut self.token);
        self.voice.tasks.spawn(async move {
            // The answer to a stop notification has no effect.
            drop(voice.notify_site(room, &token, direction, false).await);
        });
    }
}

impl VoiceService {
    /// Attaches the caller's microphone or headphones to a call or room, if the caller has access.
    pub(crate) async fn attach(
        self: &Arc<Self>,
        target: AudioTarget,
        direction: Direction,
        params: &RequestParameters,
        (permit, deadline): (Permit, Option<Instant>),
    ) -> Result<AudioAttachment, VoiceError> {
        let name = connection_name(params)?;
        let caller = self.authenticate(params).await?;
        let (connected, site) = match target {
            AudioTarget::Call => {
                let destination = self.identity.destination(params)?;
                let state = &self.state;
                let connected =
                    state.connect_to_call(&caller.user, &destination, direction, name)?;
                (connected, None)
            }
            AudioTarget::Room => self.enter_room(&caller, params, direction, name).await?,
        };
        let AudioConnection { mix, mixer, hold } = connected;
        self.attachment_gauge(direction).inc();
        tracing::info!(user = %caller.user, %mix, ?direction, "audio attached");
        Ok(AudioAttachment {
            voice: self.clone(),
            user: caller.user,
            mix,
            direction,
            mixer,
            hold,
            site,
            deadline,
            _permit: permit,
        })
    }

    /// Checks access without attaching. The website is not asked about the room, because it would count the user as
    /// present.
    pub(crate) async fn check_access(
        &self,
        target: AudioTarget,
        params: &RequestParameters,
    ) -> Result<(), VoiceError> {
        connection_name(params)?;
        let caller = self.authenticate(params).await?;
        match target {
            AudioTarget::Call => {
                let destination = self.identity.destination(params)?;
                let find_call =
                    |state: &mut VoiceStateInner| state.calls.find(&caller.user, &destination);
                self.state.with(|state, _| find_call(state))?;
                Ok(())
            }
            AudioTarget::Room => {
                let room = self.room(params)?;
                self.check_entry(&caller.user, &room).await.map(drop)
            }
        }
    }

    /// The gauge that counts attachments of this direction.
    fn attachment_gauge(&self, direction: Direction) -> &IntGauge {
        match direction {
            Direction::Publish => &self.metrics.sources,
            Direction::Subscribe => &self.metrics.listeners,
        }
    }

    async fn enter_room(
        self: &Arc<Self>,
        caller: &Caller,
        params: &RequestParameters,
        direction: Direction,
        name: ByteString,
    ) -> Result<(AudioConnection, Option<SiteNotification>), VoiceError> {
        let room = self.room(params)?;
        let members_max = self.check_entry(&caller.user, &room).await?;
        let site = match (&room, &caller.credential) {
            (RoomKey::Numbered(room), Credential::Token(token)) => {
                let notification = SiteNotification {
                    voice: self.clone(),
                    room: *room,
                    token: token.clone(),
                    direction,
                    sends_stop: true,
                };
                Some(notification.request_permission().await?)
            }
            (
                RoomKey::Numbered(_) | RoomKey::Named(_),
                Credential::Token(_) | Credential::Key(..),
            ) => None,
        };
        let entered = (self.state).enter_room(&caller.user, &room, (direction, members_max), name);
        let connected = entered.inspect_err(|error| {
            if *error == VoiceRoomError::RoomFull {
                self.host.count_full_room();
            }
        })?;
        Ok((connected, site))
    }

    /// If `on`, asks the website whether the token's user may publish or subscribe; otherwise notifies it of the stop.
    async fn notify_site(
        &self,
        room: u64,
        token: &str,
        direction: Direction,
        on: bool,
    ) -> Result<bool, VoiceError> {
        let IdentityProvider::Site(site) = &self.identity else {
            return Ok(true);
        };
        Ok(match direction {
            Direction::Publish => site.may_speak(room, token, on).await?,
            Direction::Subscribe => site.may_listen(room, token, on).await?,
        })
    }
}

/// The name that the client gives this connection (parameter `connection`). The event `replaced` has the name, so the
/// client knows which of its connections was replaced.
fn connection_name(params: &RequestParameters) -> Result<ByteString, VoiceError> {
    let name = params.text("connection").unwrap_or_default();
    if name.len() > CONNECTION_NAME_MAX {
        let message = format!("`connection` must be at most {CONNECTION_NAME_MAX} bytes long.");
        return Err(VoiceError::new(StatusCode::BAD_REQUEST, &message));
    }
    Ok(name.into())
}
