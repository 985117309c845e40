//! Seats: one user's microphone or headphones in a call or room, given back when dropped.

use std::sync::{Arc, atomic::AtomicU64};

use switchboard_core::{RoomKey, User, VoiceRoomRefusal, Way};
use switchboard_transport::{Counters, Exchange, Permit};

use super::{
    Voice,
    answer::Refusal,
    desk::Place,
    identity::{Caller, Credential, Identity},
    parameters::Parameters,
    studio::Studio,
};

/// What one wants to hear or to speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Call,
    Room,
}

/// One user's microphone or headphones in a call or room; given back when dropped.
pub(super) struct Seat {
    pub(super) user: User,
    pub(super) studio: Arc<Studio>,
    voice: Arc<Voice>,
    place: Place,
    way: Way,
    _site: Option<SiteSeat>,
    _permit: Permit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.way == Way::In {
            self.studio.forget_source(&self.user);
        }
        self.voice.desk.disconnect(&self.user, self.place, self.way);
        tracing::info!(user = %self.user, place = %self.place, way = ?self.way, "left");
        Counters::less(self.voice.seats(self.way));
    }
}

/// What a site believes: that somebody speaks or listens. When dropped, it is told otherwise.
struct SiteSeat {
    voice: Arc<Voice>,
    room: u64,
    token: String,
    way: Way,
    is_believed: bool,
}

impl SiteSeat {
    /// Asks the site, which believes from then on what it allows.
    async fn ask(mut self) -> Result<Self, Refusal> {
        let may = self.voice.tell_site(self.room, &self.token, self.way, true);
        if may.await? {
            return Ok(self);
        }
        self.is_believed = false;
        Err(Refusal::forbidden("You may not enter this room."))
    }
}

impl Drop for SiteSeat {
    fn drop(&mut self) {
        if !self.is_believed {
            return;
        }
        let (voice, room, way) = (self.voice.clone(), self.room, self.way);
        let token = std::mem::take(&mut self.token);
        self.voice.tasks.spawn(async move {
            // What it says to that changes nothing.
            drop(voice.tell_site(room, &token, way, false).await);
        });
    }
}

impl Voice {
    /// Takes a seat for whom the request is from, if he may.
    pub(super) async fn seat(
        self: &Arc<Self>,
        goal: Goal,
        way: Way,
        asked: &Parameters,
        permit: Permit,
    ) -> Result<Seat, Refusal> {
        let caller = self.identity.proven(asked).await?;
        let (place, studio, site) = match goal {
            Goal::Call => {
                let other = self.identity.other(asked)?;
                let (place, studio) = self.desk.connect_to_call(&caller.user, &other, way)?;
                (place, studio, None)
            }
            Goal::Room => self.enter_room(&caller, asked, way).await?,
        };
        Counters::add(self.seats(way), 1);
        tracing::info!(user = %caller.user, %place, ?way, "joined");
        Ok(Seat {
            voice: self.clone(),
            user: caller.user,
            place,
            way,
            studio,
            _site: site,
            _permit: permit,
        })
    }

    /// How many seats are taken.
    fn seats(&self, way: Way) -> &AtomicU64 {
        let counters = self.shards.counters();
        match way {
            Way::In => &counters.voice_sources,
            Way::Out => &counters.voice_listeners,
        }
    }

    async fn enter_room(
        self: &Arc<Self>,
        caller: &Caller,
        asked: &Parameters,
        way: Way,
    ) -> Result<(Place, Arc<Studio>, Option<SiteSeat>), Refusal> {
        let room = self.room(asked)?;
        self.may_enter(caller, &room).await?;
        let mut site = match (&room, &caller.credential) {
            (RoomKey::Numbered(room), Credential::Token(token)) => {
                let seat = SiteSeat {
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
        let entered = self.desk.enter_room(&caller.user, &room, way);
        if let (Err(VoiceRoomRefusal::AlreadyConnected), Some(site)) = (&entered, &mut site) {
            // What it believes is true of the other connection.
            site.is_believed = false;
        }
        let (place, studio) = entered?;
        Ok((place, studio, site))
    }

    /// Asks the site whether a token's user may speak or listen, or tells it that he has stopped.
    async fn tell_site(&self, room: u64, token: &str, way: Way, on: bool) -> Result<bool, Refusal> {
        let Identity::Site(site) = &self.identity else {
            return Ok(true);
        };
        Ok(match way {
            Way::In => site.may_speak(room, token, on).await?,
            Way::Out => site.may_listen(room, token, on).await?,
        })
    }
}
