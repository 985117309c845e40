//! Where a transcript is played: a world, the clients by their names, and what they have not read.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;
use switchboard_core::{Identity, Limits};
use switchboard_dialect::{Dialect, DialectSettings, SettingValue, find, ice::IceServer};

use super::{
    line::{Action, TranscriptLine},
    names::Placeholders,
};
use crate::{ClientId, Simulation};

/// Tells a dialect by its name.
type FindDialect = fn(&str) -> Option<&'static dyn Dialect>;

#[derive(Debug)]
pub(super) struct TranscriptRunner {
    find: FindDialect,
    limits: Limits,
    settings: DialectSettings,
    /// Built when the first client comes: limits and settings are said before.
    world: Option<Simulation>,
    clients: BTreeMap<String, TranscriptClient>,
    pub(super) names: Placeholders,
}

impl Default for TranscriptRunner {
    fn default() -> Self {
        Self::with(find)
    }
}

#[derive(Debug)]
struct TranscriptClient {
    id: ClientId,
    unread: VecDeque<Value>,
    /// Refusals without words that the transcript has not told yet.
    unsaid: VecDeque<&'static str>,
    /// Requests made for it that the transcript has not told yet.
    posts: VecDeque<Value>,
    /// A close that the transcript has not told yet.
    close: Option<u16>,
    is_over: bool,
}

impl TranscriptRunner {
    /// A stage for these dialects.
    pub(super) fn with(find: FindDialect) -> Self {
        Self {
            find,
            limits: Limits::default(),
            settings: DialectSettings::default(),
            world: None,
            clients: BTreeMap::new(),
            names: Placeholders::default(),
        }
    }

    pub(super) fn play(&mut self, line: &TranscriptLine<'_>) -> Result<(), String> {
        match line {
            TranscriptLine::Comment => Ok(()),
            TranscriptLine::Client(name, Action::Receives(expected)) => self.read(name, expected),
            TranscriptLine::Client(name, Action::IsRefused(code)) => self.read_refusal(name, code),
            TranscriptLine::Client(name, Action::Posts(expected)) => self.read_post(name, expected),
            TranscriptLine::Client(name, Action::IsClosed(code)) => self.read_close(name, *code),
            TranscriptLine::Set(_)
            | TranscriptLine::Let(..)
            | TranscriptLine::Wait(_)
            | TranscriptLine::Client(..) => {
                self.must_be_quiet()?;
                self.act(line)?;
                self.collect();
                Ok(())
            }
        }
    }

    /// Nobody has been told anything that was not read.
    pub(super) fn must_be_quiet(&self) -> Result<(), String> {
        for (name, actor) in &self.clients {
            if let Some(frame) = actor.unread.front() {
                return Err(format!("{name} was also sent {frame}"));
            }
            if let Some(code) = actor.unsaid.front() {
                return Err(format!("{name} was also refused: {code}"));
            }
            if let Some(post) = actor.posts.front() {
                return Err(format!("{name} also made the server ask {post}"));
            }
            if let Some(code) = actor.close {
                return Err(format!("{name} was closed with {code}"));
            }
        }
        Ok(())
    }

    /// Does what a line says, unless it is about what the server does.
    pub(super) fn act(&mut self, line: &TranscriptLine<'_>) -> Result<(), String> {
        match line {
            TranscriptLine::Comment => {}
            TranscriptLine::Set(pairs) => pairs
                .iter()
                .try_for_each(|(key, value)| self.set(key, value))?,
            TranscriptLine::Let(name, value) => self.names.set(name, value.clone()),
            TranscriptLine::Wait(time) => self.world().advance(*time),
            TranscriptLine::Client(name, deed) => self.perform(name, deed)?,
        }
        Ok(())
    }

    pub(super) fn world(&mut self) -> &mut Simulation {
        let (limits, settings) = (&self.limits, &self.settings);
        self.world
            .get_or_insert_with(|| Simulation::with(7, limits.clone(), settings.clone()))
    }

    /// The clients by their names.
    pub(super) fn cast(&self) -> Vec<(String, ClientId)> {
        let cast = self.clients.iter();
        cast.map(|(name, actor)| (name.clone(), actor.id)).collect()
    }

    fn perform(&mut self, name: &str, deed: &Action<'_>) -> Result<(), String> {
        if let Action::Open {
            dialect,
            query,
            identity,
        } = deed
        {
            return self.open(name, dialect, query, *identity);
        }
        let id = self.actor(name)?.id;
        match deed {
            Action::Sends(text) => {
                let text = self.filled_in(text)?;
                self.world().send(id, text);
            }
            Action::SendsBytes(bytes) => self.world().send_binary(id, bytes.clone()),
            Action::IsAnswered(reply) => {
                let reply = reply.map(|text| self.filled_in(text)).transpose()?;
                if !self.world().reply(id, reply.as_deref()) {
                    return Err(format!("{name} waits for no answer"));
                }
            }
            Action::Gone => self.world().crash(id),
            Action::Leaves => self.world().leave(id),
            Action::Freezes => self.world().freeze(id),
            Action::Open { .. }
            | Action::Receives(_)
            | Action::Posts(_)
            | Action::IsRefused(_)
            | Action::IsClosed(_) => {}
        }
        Ok(())
    }

    /// `text` with its names filled in, all of which must be known.
    fn filled_in(&self, text: &str) -> Result<String, String> {
        let text = self.names.fill_in(text);
        if text.contains('$') {
            return Err(format!("a name is not known yet: {text}"));
        }
        Ok(text)
    }

    fn open(
        &mut self,
        name: &str,
        dialect: &str,
        query: &[(&str, &str)],
        identity: Option<&str>,
    ) -> Result<(), String> {
        let found = (self.find)(dialect);
        if dialect != "shared" && found.is_none() {
            return Err(format!("there is no dialect {dialect:?}"));
        }
        let identity = identity.map_or(Identity::Claimed, |name| Identity::Proven(name.into()));
        let actor = TranscriptClient {
            id: self.world().open_in(found, query, identity),
            unread: VecDeque::new(),
            unsaid: VecDeque::new(),
            posts: VecDeque::new(),
            close: None,
            is_over: false,
        };
        self.clients.insert(name.to_owned(), actor);
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let number = || {
            value
                .parse::<usize>()
                .map_err(|_| format!("{key}: a number"))
        };
        match key {
            "json_depth" => self.limits.json_depth = number()?,
            "name_bytes" => self.limits.name_bytes = number()?,
            "room_members" => self.limits.room_members = number()?,
            "directory_members" => self.limits.directory_members = number()?,
            "rooms_per_peer" => self.limits.rooms_per_peer = number()?,
            "ice.servers" | "ice.turn.urls" | "ice.turn.secret" => self.set_ice(key, value),
            _ => return self.set_of_dialect(key, value),
        }
        Ok(())
    }

    /// Sets the address of one STUN server, or that or the secret of the TURN server.
    fn set_ice(&mut self, key: &str, value: &str) {
        let mut ice = self.settings.ice_servers().clone();
        match key {
            "ice.servers" => {
                ice.servers = vec![IceServer {
                    urls: vec![value.to_owned()],
                    ..IceServer::default()
                }];
            }
            "ice.turn.urls" => ice.turn.urls = vec![value.to_owned()],
            _ => value.clone_into(&mut ice.turn.secret),
        }
        self.settings.set_ice_servers(ice);
    }

    fn set_of_dialect(&mut self, key: &str, value: &str) -> Result<(), String> {
        let unknown = || format!("there is no limit or setting {key:?}");
        let (dialect, key) = key.split_once('.').ok_or_else(unknown)?;
        let dialect = (self.find)(dialect).ok_or_else(unknown)?;
        let mut settings = dialect.settings().iter();
        let setting = settings
            .find(|setting| setting.key == key)
            .ok_or_else(unknown)?;
        let value = match (setting.default)() {
            SettingValue::Int(_) => value.parse().ok().map(SettingValue::Int),
            SettingValue::Flag(_) => value.parse().ok().map(SettingValue::Flag),
            SettingValue::Text(_) => Some(SettingValue::Text(value.to_owned())),
            SettingValue::Url(_) => Some(SettingValue::Url(value.to_owned())),
        };
        let value = value.ok_or_else(|| format!("{key}: not of its kind"))?;
        self.settings.set(dialect.traits().name, setting, value);
        Ok(())
    }

    /// Takes over what the world has told the clients.
    fn collect(&mut self) {
        let Some(world) = &mut self.world else {
            return;
        };
        for actor in self.clients.values_mut() {
            actor.unread.extend(world.received(actor.id));
            actor.unsaid.extend(world.take_unsaid(actor.id));
            let posts = world.take_posts(actor.id).into_iter();
            actor.posts.extend(posts.map(|post| value_of(&post.body)));
            let closed = world.closed(actor.id).filter(|_| !actor.is_over);
            if let Some(close) = closed {
                actor.close = Some(close.code);
                actor.is_over = true;
            }
        }
    }

    fn read(&mut self, name: &str, expected: &str) -> Result<(), String> {
        let next = self.actor(name)?.unread.pop_front();
        let actual = next.ok_or_else(|| format!("{name} was sent nothing (more)"))?;
        match self.is(expected, &actual)? {
            true => Ok(()),
            false => Err(format!("{name} was sent {actual}")),
        }
    }

    fn read_post(&mut self, name: &str, expected: &str) -> Result<(), String> {
        let next = self.actor(name)?.posts.pop_front();
        let actual = next.ok_or_else(|| format!("nothing (more) was asked for {name}"))?;
        match self.is(expected, &actual)? {
            true => Ok(()),
            false => Err(format!("for {name} was asked {actual}")),
        }
    }

    fn is(&mut self, expected: &str, actual: &Value) -> Result<bool, String> {
        let expected: Value = serde_json::from_str(expected).map_err(|e| e.to_string())?;
        Ok(self.names.matches(&expected, actual))
    }

    fn read_refusal(&mut self, name: &str, code: &str) -> Result<(), String> {
        match self.actor(name)?.unsaid.pop_front() {
            Some(actual) if actual == code => Ok(()),
            Some(actual) => Err(format!("{name} was refused: {actual}")),
            None => Err(format!("{name} was refused nothing (more) without words")),
        }
    }

    fn read_close(&mut self, name: &str, code: u16) -> Result<(), String> {
        match self.actor(name)?.close.take() {
            Some(actual) if actual == code => Ok(()),
            Some(actual) => Err(format!("{name} was closed with {actual}")),
            None => Err(format!("{name} is not closed")),
        }
    }

    fn actor(&mut self, name: &str) -> Result<&mut TranscriptClient, String> {
        let actor = self.clients.get_mut(name);
        actor.ok_or_else(|| format!("there is no client {name}"))
    }
}

/// The body of a request: JSON, or else a text that no line can expect.
fn value_of(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|_| format!("no JSON: {body}").into())
}
