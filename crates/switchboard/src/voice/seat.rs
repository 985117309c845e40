//! Seats: one user's microphone or headphones in a call or room, given back when dropped.

use std::sync::{Arc, atomic::AtomicU64};

use axum::http::StatusCode;
use bytestring::ByteString;

use switchboard_core::{RoomKey, User, Way};
use switchboard_transport::{Counters, Exchange, Permit};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    Voice,
    answer::Refusal,
    connections::Hold,
    desk::{Connected, Place, State},
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
    hold: Hold,
    site: Option<SiteSeat>,
    _permit: Permit,
}

/// Bytes of the longest name that a client may give a connection.
const CONNECTION_NAME_MAX: usize = 64;

impl Seat {
    /// Done when a newer connection of the same user has taken over.
    pub(super) async fn replaced(&self) {
        self.hold.replaced.cancelled().await;
    }

    pub(super) fn replaced_owned(&self) -> WaitForCancellationFutureOwned {
        self.hold.replaced.clone().cancelled_owned()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let desk = &self.voice.desk;
        let is_last = desk.disconnect(&self.user, self.place, self.way, &self.hold);
        if let Some(site) = self.site.as_mut().filter(|_| !is_last) {
            // The site is not told: the connection that has taken over has the same state.
            site.is_believed = false;
        }
        let is_replaced = !is_last;
        tracing::info!(user = %self.user, place = %self.place, way = ?self.way, is_replaced, "left");
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
        let name = connection_name(asked)?;
        let caller = self.identity.proven(asked).await?;
        let (connected, site) = match goal {
            Goal::Call => {
                let other = self.identity.other(asked)?;
                let desk = &self.desk;
                let connected = desk.connect_to_call(&caller.user, &other, way, name)?;
                (connected, None)
            }
            Goal::Room => self.enter_room(&caller, asked, way, name).await?,
        };
        let Connected {
            place,
            studio,
            hold,
        } = connected;
        Counters::add(self.seats(way), 1);
        tracing::info!(user = %caller.user, %place, ?way, "joined");
        Ok(Seat {
            voice: self.clone(),
            user: caller.user,
            place,
            way,
            studio,
            hold,
            site,
            _permit: permit,
        })
    }

    /// Whether the request may have a seat, as far as that can be known without taking one. A site is
    /// not asked about the room, because it would take the question for a join of the user.
    pub(super) async fn check_access(&self, goal: Goal, asked: &Parameters) -> Result<(), Refusal> {
        connection_name(asked)?;
        let caller = self.identity.proven(asked).await?;
        match goal {
            Goal::Call => {
                let other = self.identity.other(asked)?;
                let find = |state: &mut State| state.calls.find(&caller.user, &other);
                self.desk.with(|state, _| find(state))?;
                Ok(())
            }
            Goal::Room => self.may_enter(&caller, &self.room(asked)?).await,
        }
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
        name: ByteString,
    ) -> Result<(Connected, Option<SiteSeat>), Refusal> {
        let room = self.room(asked)?;
        self.may_enter(caller, &room).await?;
        let site = match (&room, &caller.credential) {
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
        let connected = self.desk.enter_room(&caller.user, &room, way, name)?;
        Ok((connected, site))
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

/// The client's name for this connection (`connection`), by which it recognizes the event that it is
/// replaced.
fn connection_name(asked: &Parameters) -> Result<ByteString, Refusal> {
    let name = asked.text("connection").unwrap_or_default();
    if name.len() > CONNECTION_NAME_MAX {
        let words = format!("connection is longer than {CONNECTION_NAME_MAX} bytes.");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, &words));
    }
    Ok(name.into())
}
