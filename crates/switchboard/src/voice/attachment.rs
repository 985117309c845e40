//! Seats: one user's microphone or headphones in a call or room, given back when dropped.

use std::sync::{Arc, atomic::AtomicU64};

use axum::http::StatusCode;
use bytestring::ByteString;

use switchboard_core::{Direction, RoomKey, User};
use switchboard_transport::{Counters, NodeHandle, Permit};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    VoiceService,
    answer::VoiceError,
    connections::ConnectionHold,
    identity::{Caller, Credential, IdentityProvider},
    parameters::RequestParameters,
    room_mixer::RoomMixer,
    state::{AudioConnection, MixId, VoiceStateInner},
};

/// What one wants to hear or to speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AudioTarget {
    Call,
    Room,
}

/// One user's microphone or headphones in a call or room; given back when dropped.
pub(super) struct AudioAttachment {
    pub(super) user: User,
    pub(super) studio: Arc<RoomMixer>,
    voice: Arc<VoiceService>,
    mix: MixId,
    way: Direction,
    hold: ConnectionHold,
    site: Option<SiteNotification>,
    _permit: Permit,
}

/// Bytes of the longest name that a client may give a connection.
const CONNECTION_NAME_MAX: usize = 64;

impl AudioAttachment {
    /// Done when a newer connection of the same user has taken over.
    pub(super) async fn replaced(&self) {
        self.hold.replaced.cancelled().await;
    }

    pub(super) fn replaced_owned(&self) -> WaitForCancellationFutureOwned {
        self.hold.replaced.clone().cancelled_owned()
    }
}

impl Drop for AudioAttachment {
    fn drop(&mut self) {
        let desk = &self.voice.state;
        let is_last = desk.disconnect(&self.user, self.mix, self.way, &self.hold);
        if let Some(site) = self.site.as_mut().filter(|_| !is_last) {
            // The site is not told: the connection that has taken over has the same state.
            site.is_believed = false;
        }
        let is_replaced = !is_last;
        tracing::info!(user = %self.user, place = %self.mix, way = ?self.way, is_replaced, "left");
        Counters::less(self.voice.attachment_gauge(self.way));
    }
}

/// What a site believes: that somebody speaks or listens. When dropped, it is told otherwise.
struct SiteNotification {
    voice: Arc<VoiceService>,
    room: u64,
    token: String,
    way: Direction,
    is_believed: bool,
}

impl SiteNotification {
    /// Asks the site, which believes from then on what it allows.
    async fn ask(mut self) -> Result<Self, VoiceError> {
        let may = self
            .voice
            .notify_site(self.room, &self.token, self.way, true);
        if may.await? {
            return Ok(self);
        }
        self.is_believed = false;
        Err(VoiceError::forbidden("You may not enter this room."))
    }
}

impl Drop for SiteNotification {
    fn drop(&mut self) {
        if !self.is_believed {
            return;
        }
        let (voice, room, way) = (self.voice.clone(), self.room, self.way);
        let token = std::mem::take(&mut self.token);
        self.voice.tasks.spawn(async move {
            // What it says to that changes nothing.
            drop(voice.notify_site(room, &token, way, false).await);
        });
    }
}

impl VoiceService {
    /// Takes a seat for whom the request is from, if he may.
    pub(super) async fn attach(
        self: &Arc<Self>,
        goal: AudioTarget,
        way: Direction,
        asked: &RequestParameters,
        permit: Permit,
    ) -> Result<AudioAttachment, VoiceError> {
        let name = connection_name(asked)?;
        let caller = self.identity.proven(asked).await?;
        let (connected, site) = match goal {
            AudioTarget::Call => {
                let other = self.identity.other(asked)?;
                let desk = &self.state;
                let connected = desk.connect_to_call(&caller.user, &other, way, name)?;
                (connected, None)
            }
            AudioTarget::Room => self.enter_room(&caller, asked, way, name).await?,
        };
        let AudioConnection {
            mix: place,
            studio,
            hold,
        } = connected;
        Counters::add(self.attachment_gauge(way), 1);
        tracing::info!(user = %caller.user, %place, ?way, "joined");
        Ok(AudioAttachment {
            voice: self.clone(),
            user: caller.user,
            mix: place,
            way,
            studio,
            hold,
            site,
            _permit: permit,
        })
    }

    /// Whether the request may have a seat, as far as that can be known without taking one. A site is
    /// not asked about the room, because it would take the question for a join of the user.
    pub(super) async fn check_access(
        &self,
        goal: AudioTarget,
        asked: &RequestParameters,
    ) -> Result<(), VoiceError> {
        connection_name(asked)?;
        let caller = self.identity.proven(asked).await?;
        match goal {
            AudioTarget::Call => {
                let other = self.identity.other(asked)?;
                let find = |state: &mut VoiceStateInner| state.calls.find(&caller.user, &other);
                self.state.with(|state, _| find(state))?;
                Ok(())
            }
            AudioTarget::Room => self.may_enter(&caller, &self.room(asked)?).await,
        }
    }

    /// How many seats are taken.
    fn attachment_gauge(&self, way: Direction) -> &AtomicU64 {
        let counters = self.shards.counters();
        match way {
            Direction::Publish => &counters.voice_sources,
            Direction::Subscribe => &counters.voice_listeners,
        }
    }

    async fn enter_room(
        self: &Arc<Self>,
        caller: &Caller,
        asked: &RequestParameters,
        way: Direction,
        name: ByteString,
    ) -> Result<(AudioConnection, Option<SiteNotification>), VoiceError> {
        let room = self.room(asked)?;
        self.may_enter(caller, &room).await?;
        let site = match (&room, &caller.credential) {
            (RoomKey::Numbered(room), Credential::Token(token)) => {
                let seat = SiteNotification {
                    voice: self.clone(),
                    room: *room,
                    token: token.clone(),
                    way,
                    is_believed: true,
                };
                Some(seat.ask().await?)
            }
            (
                RoomKey::Numbered(_) | RoomKey::Named(_),
                Credential::Token(_) | Credential::Key(..),
            ) => None,
        };
        let connected = self.state.enter_room(&caller.user, &room, way, name)?;
        Ok((connected, site))
    }

    /// Asks the site whether a token's user may speak or listen, or tells it that he has stopped.
    async fn notify_site(
        &self,
        room: u64,
        token: &str,
        way: Direction,
        on: bool,
    ) -> Result<bool, VoiceError> {
        let IdentityProvider::Site(site) = &self.identity else {
            return Ok(true);
        };
        Ok(match way {
            Direction::Publish => site.may_speak(room, token, on).await?,
            Direction::Subscribe => site.may_listen(room, token, on).await?,
        })
    }
}

/// The client's name for this connection (`connection`), by which it recognizes the event that it is
/// replaced.
fn connection_name(asked: &RequestParameters) -> Result<ByteString, VoiceError> {
    let name = asked.text("connection").unwrap_or_default();
    if name.len() > CONNECTION_NAME_MAX {
        let words = format!("connection is longer than {CONNECTION_NAME_MAX} bytes.");
        return Err(VoiceError::new(StatusCode::BAD_REQUEST, &words));
    }
    Ok(name.into())
}
