//! One client's talk with the hubs: its session, and what its peer holds.

use std::{fmt, sync::Arc};

use bytestring::ByteString;
use switchboard_core::{
    Ask, Event, Eviction, Limits, Parting, Peer, Place, Refusal, Refused, SpaceName, Tongue,
};

use crate::{
    ALL, Close, Dialect, FirstFrame, Frame, Handshake, Out, Post, Session, Settings,
    json::{Object, Writer},
    words,
};

/// What the driver has to do after each call, in this order: send the frames, ask the hubs, make
/// the request, close.
#[derive(Debug, Default)]
pub struct Turn {
    /// Frames for the client.
    pub frames: Vec<ByteString>,
    /// What to ask the hubs.
    pub asks: Vec<Ask>,
    /// A request to make; call [`Conversation::on_reply`] with its answer before anything else.
    pub post: Option<Post>,
    /// End the connection.
    pub close: Option<Close>,
    /// Ping the client; when it shows a sign of life, ask [`Ask::Alive`] for the place.
    pub probe: Option<Place>,
    /// The codes of what the client sent or asked and was refused.
    pub refused: Vec<&'static str>,
    /// How long to wait for the first frame. Set by [`Conversation::open`].
    pub first_frame: FirstFrame,
    /// Call [`Conversation::on_tick`] that often from now on.
    pub tick: Option<std::time::Duration>,
}

/// A session, or what is needed to begin one when the first frame has told the dialect.
enum Speech {
    Undetected(Box<Handshake>),
    In(Box<dyn Session>),
    Over,
}

/// One client's talk, from the handshake to the farewell.
pub struct Conversation {
    peer: Peer,
    speech: Speech,
    limits: Arc<Limits>,
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// What a peer speaks whose dialect is not known yet. It is in no room, so this tells nobody anything.
static UNDETECTED: Tongue = Tongue {
    name: "undetected",
    custom: switchboard_core::Custom::NeverTold,
    signals: false,
    messages: false,
    ..Tongue::USUAL
};

impl Conversation {
    /// Begins to talk in `dialect`, or in the one that the first frame shows.
    #[must_use]
    pub fn open(
        dialect: Option<&'static dyn Dialect>,
        handshake: Handshake,
        space: SpaceName,
    ) -> (Self, Turn) {
        let tongue = dialect.map_or(&UNDETECTED, |dialect| dialect.tongue());
        let peer = Peer::new(handshake.peer, tongue, handshake.identity.clone(), space);
        let limits = handshake.limits.clone();
        let (mut out, mut turn) = (Out::default(), Turn::default());
        let speech = match dialect {
            Some(dialect) => Speech::In(dialect.open(&handshake, &mut out)),
            None => Speech::Undetected(Box::new(handshake)),
        };
        let mut conversation = Self {
            peer,
            speech,
            limits,
        };
        conversation.carry_out(out, &mut turn);
        (conversation, turn)
    }

    /// The peer that talks.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Takes a frame of the client's.
    #[must_use]
    pub fn on_frame(&mut self, frame: Frame<'_>, unix_secs: u64) -> Turn {
        let mut turn = Turn::default();
        let mut out = Out {
            unix_secs,
            ..Out::default()
        };
        let result = match &mut self.speech {
            Speech::In(session) => session.on_frame(frame, &mut out),
            Speech::Undetected(_) => self.detect(frame, &mut out),
            Speech::Over => Ok(()),
        };
        if let Err(refused) = result {
            self.refuse(refused, &mut out, &mut turn);
        }
        self.carry_out(out, &mut turn);
        turn
    }

    /// Tells the client what has happened.
    #[must_use]
    pub fn on_event(&mut self, event: &Event, unix_secs: u64) -> Turn {
        let mut turn = Turn::default();
        let mut out = Out {
            unix_secs,
            ..Out::default()
        };
        match event {
            Event::Probe(place) => turn.probe = Some(place.clone()),
            Event::Evicted(why) => {
                self.tell(event, &mut out);
                turn.close = Some(close_of(*why));
            }
            Event::Refused(refused) => {
                turn.refused.push(refused.reason.code());
                // A refusal that comes late must not make the session believe that it is nowhere.
                let join = refused.join.filter(|_| self.peer.observe(refused));
                self.tell(
                    &Event::Refused(Refused {
                        join,
                        ..refused.clone()
                    }),
                    &mut out,
                );
            }
            Event::Claimed(_)
            | Event::Joined { .. }
            | Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Introduced { .. }
            | Event::Departed { .. }
            | Event::Heard { .. } => self.tell(event, &mut out),
        }
        self.carry_out(out, &mut turn);
        turn
    }

    /// Refuses something that the carrier has noticed, and ends the connection.
    #[must_use]
    pub fn on_violation(&mut self, reason: Refusal, close: Close) -> Turn {
        let mut turn = self.on_event(&Event::Refused(reason.into()), 0);
        turn.close.get_or_insert(close);
        turn
    }

    /// The time that a turn's `tick` asked for is over.
    #[must_use]
    pub fn on_tick(&mut self) -> Turn {
        let (mut turn, mut out) = (Turn::default(), Out::default());
        if let Speech::In(session) = &mut self.speech {
            session.on_tick(&mut out);
        }
        self.carry_out(out, &mut turn);
        turn
    }

    /// The request that a turn's `post` asked for is answered.
    #[must_use]
    pub fn on_reply(&mut self, reply: Option<&str>, unix_secs: u64) -> Turn {
        let mut turn = Turn::default();
        let mut out = Out {
            unix_secs,
            ..Out::default()
        };
        if let Speech::In(session) = &mut self.speech {
            session.on_reply(reply, &mut out);
        }
        self.carry_out(out, &mut turn);
        turn
    }

    /// What to ask the hubs when the connection is gone.
    #[must_use]
    pub fn farewell(&mut self, parting: Parting) -> Vec<Ask> {
        self.peer.farewell(parting)
    }

    /// The last request of the session, which ends here; to be made when the connection is gone.
    #[must_use]
    pub fn on_end(&mut self) -> Option<Post> {
        match std::mem::replace(&mut self.speech, Speech::Over) {
            Speech::In(mut session) => session.on_end(),
            Speech::Undetected(_) | Speech::Over => None,
        }
    }

    /// Finds out the dialect by the first frame and lets its session have it.
    fn detect(&mut self, frame: Frame<'_>, out: &mut Out) -> Result<(), Refused> {
        let Speech::Undetected(handshake) = &self.speech else {
            return Ok(());
        };
        let dialect = match recognized(frame, self.limits.json_depth, &handshake.settings) {
            Ok(dialect) => dialect,
            Err(reason) => {
                out.close = Some(Close::POLICY);
                return Err(reason.into());
            }
        };
        let mut session = dialect.open(handshake, out);
        let result = session.on_frame(frame, out);
        self.peer.speaks(dialect.tongue());
        self.speech = Speech::In(session);
        result
    }

    fn refuse(&mut self, refused: Refused, out: &mut Out, turn: &mut Turn) {
        turn.refused.push(refused.reason.code());
        self.tell(&Event::Refused(refused), out);
    }

    fn tell(&mut self, event: &Event, out: &mut Out) {
        match (&mut self.speech, event) {
            (Speech::In(session), event) => session.on_event(event, out),
            (Speech::Undetected(_), Event::Refused(refused)) => {
                out.frames.push(bare_error(refused))
            }
            (Speech::Undetected(_) | Speech::Over, _) => {}
        }
    }

    /// Moves what a session gave out into the turn. What its peer may not ask is refused to it at once.
    fn carry_out(&mut self, mut out: Out, turn: &mut Turn) {
        turn.first_frame = out.first_frame;
        loop {
            for refused in std::mem::take(&mut out.refused) {
                self.refuse(refused, &mut out, turn);
            }
            turn.frames.append(&mut out.frames);
            turn.post = out.post.take().or(turn.post.take());
            turn.close = turn.close.or(out.close);
            turn.tick = out.tick.or(turn.tick);
            let commands = std::mem::take(&mut out.commands);
            if commands.is_empty() {
                return;
            }
            for command in commands {
                match self.peer.route(command, &self.limits) {
                    Ok(ask) => turn.asks.push(ask),
                    Err(refused) => self.refuse(refused, &mut out, turn),
                }
            }
        }
    }
}

/// The dialect of a first frame. A dialect that is switched off recognizes no frame.
fn recognized(
    first: Frame<'_>,
    depth: usize,
    settings: &Settings,
) -> Result<&'static dyn Dialect, Refusal> {
    let text = first.text()?;
    let object = Object::parse(&text, depth)?;
    let dialects = ALL.iter().copied();
    let mut dialects = dialects.filter(|dialect| settings.is_enabled(dialect.tongue().name));
    dialects
        .find(|dialect| dialect.recognizes(&object))
        .ok_or(Refusal::UnknownType)
}

fn close_of(why: Eviction) -> Close {
    match why {
        Eviction::Ghost => Close::GONE,
        Eviction::Replaced => Close::REPLACED,
        Eviction::Kicked => Close::KICKED,
    }
}

/// An error for a client of whom nothing is known, in the words that most dialects share.
fn bare_error(refused: &Refused) -> ByteString {
    Writer::default()
        .text("type", "error")
        .text("senderID", "server")
        .text("code", refused.reason.code())
        .text("data", &words(refused))
        .finish()
}
