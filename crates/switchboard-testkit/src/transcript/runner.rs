//! Replays a transcript: a simulation, its clients by name, and their unread output.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;
use switchboard_core::{Identity, Limits};
use switchboard_dialects::{Dialect, DialectSettings, SettingValue, find, ice::IceServer};

use super::{
    line::{TranscriptAction, TranscriptLine},
    names::Placeholders,
};
use crate::{ClientId, Simulation};

/// Looks up a dialect by its name.
type FindDialect = fn(&str) -> Option<&'static dyn Dialect>;

#[derive(Debug)]
pub(super) struct TranscriptRunner {
    find: FindDialect,
    limits: Limits,
    settings: DialectSettings,
    /// Created when it is first used, after limits and settings are set.
    simulation: Option<Simulation>,
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
    /// Error codes without an error frame that no line has read yet.
    silent_errors: VecDeque<&'static str>,
    /// Webhook requests that no line has read yet.
    webhooks: VecDeque<Value>,
    /// A close code that no line has read yet.
    close: Option<u16>,
    is_closed: bool,
}

impl TranscriptRunner {
    /// A runner with these dialects.
    pub(super) fn with(find: FindDialect) -> Self {
        Self {
            find,
            limits: Limits::default(),
            settings: DialectSettings::default(),
            simulation: None,
            clients: BTreeMap::new(),
            names: Placeholders::default(),
        }
    }

    pub(super) fn play(&mut self, line: &TranscriptLine<'_>) -> Result<(), String> {
        match line {
            TranscriptLine::Comment => Ok(()),
            TranscriptLine::Client(name, TranscriptAction::Receives(expected)) => {
                self.read(name, expected)
            }
            TranscriptLine::Client(name, TranscriptAction::IsRefused(code)) => {
                self.read_refusal(name, code)
            }
            TranscriptLine::Client(name, TranscriptAction::Posts(expected)) => {
                self.read_post(name, expected)
            }
            TranscriptLine::Client(name, TranscriptAction::IsClosed(code)) => {
                self.read_close(name, *code)
            }
            TranscriptLine::Set(_)
            | TranscriptLine::Let(..)
            | TranscriptLine::Wait(_)
            | TranscriptLine::Client(..) => {
                self.check_nothing_unread()?;
                self.apply_line(line)?;
                self.collect();
                Ok(())
            }
        }
    }

    /// Checks that all output of the server was read.
    pub(super) fn check_nothing_unread(&self) -> Result<(), String> {
        for (name, client) in &self.clients {
            if let Some(frame) = client.unread.front() {
                return Err(format!("{name} was also sent {frame}"));
            }
            if let Some(code) = client.silent_errors.front() {
                return Err(format!(
                    "{name} also got the error code {code} without an error frame"
                ));
            }
            if let Some(webhook) = client.webhooks.front() {
                return Err(format!("{name} also caused a webhook request {webhook}"));
            }
            if let Some(code) = client.close {
                return Err(format!("{name} was closed with {code}"));
            }
        }
        Ok(())
    }

    /// Applies a line, unless it is a server line.
    pub(super) fn apply_line(&mut self, line: &TranscriptLine<'_>) -> Result<(), String> {
        match line {
            TranscriptLine::Comment => {}
            TranscriptLine::Set(pairs) => pairs
                .iter()
                .try_for_each(|(key, value)| self.set(key, value))?,
            TranscriptLine::Let(name, value) => self.names.set(name, value.clone()),
            TranscriptLine::Wait(time) => self.simulation().advance(*time),
            TranscriptLine::Client(name, action) => self.apply_action(name, action)?,
        }
        Ok(())
    }

    pub(super) fn simulation(&mut self) -> &mut Simulation {
        let (limits, settings) = (&self.limits, &self.settings);
        self.simulation
            .get_or_insert_with(|| Simulation::with(7, limits.clone(), settings.clone()))
    }

    /// The names and ids of the clients.
    pub(super) fn clients(&self) -> Vec<(String, ClientId)> {
        let clients = self.clients.iter();
        clients
            .map(|(name, client)| (name.clone(), client.id))
            .collect()
    }

    fn apply_action(&mut self, name: &str, action: &TranscriptAction<'_>) -> Result<(), String> {
        if let TranscriptAction::Open {
            dialect,
            query,
            identity,
        } = action
        {
            return self.open(name, dialect, query, *identity);
        }
        let id = self.client(name)?.id;
        match action {
            TranscriptAction::Sends(text) => {
                let text = self.fill_in(text)?;
                self.simulation().send(id, text);
            }
            TranscriptAction::SendsBytes(bytes) => self.simulation().send_binary(id, bytes.clone()),
            TranscriptAction::IsAnswered(reply) => {
                let reply = reply.map(|text| self.fill_in(text)).transpose()?;
                if !self.simulation().reply(id, reply.as_deref()) {
                    return Err(format!("{name} has no pending webhook"));
                }
            }
            TranscriptAction::Gone => self.simulation().crash(id),
            TranscriptAction::Leaves => self.simulation().leave(id),
            TranscriptAction::Freezes => self.simulation().freeze(id),
            TranscriptAction::Open { .. }
            | TranscriptAction::Receives(_)
            | TranscriptAction::Posts(_)
            | TranscriptAction::IsRefused(_)
            | TranscriptAction::IsClosed(_) => {}
        }
        Ok(())
    }

    /// Replaces the placeholders in `text`; all must be known.
    fn fill_in(&self, text: &str) -> Result<String, String> {
        let text = self.names.fill_in(text);
        if text.contains('$') {
            return Err(format!("a placeholder is not defined yet: {text}"));
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
        let client = TranscriptClient {
            id: self.simulation().open_in(found, query, identity),
            unread: VecDeque::new(),
            silent_errors: VecDeque::new(),
            webhooks: VecDeque::new(),
            close: None,
            is_closed: false,
        };
        self.clients.insert(name.to_owned(), client);
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let number = || {
            value
                .parse::<usize>()
                .map_err(|_| format!("{key} is not a number"))
        };
        match key {
            "json_depth" => self.limits.json_depth = number()?,
            "name_bytes" => self.limits.name_bytes = number()?,
            "room_members" => self.limits.room_members = number()?,
            "directory_members" => self.limits.directory_members = number()?,
            "rooms_per_peer" => self.limits.rooms_per_peer = number()?,
            "ice.servers" | "ice.turn.urls" | "ice.turn.secret" => self.set_ice(key, value),
            _ => return self.set_dialect_setting(key, value),
        }
        Ok(())
    }

    /// Sets the URL of one STUN server, or the URL or secret of the TURN server.
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

    fn set_dialect_setting(&mut self, key: &str, value: &str) -> Result<(), String> {
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
        let value = value.ok_or_else(|| format!("{key}: the value has the wrong type"))?;
        self.settings.set(dialect.traits().name, setting, value);
        Ok(())
    }

    /// Collects the output of the server for all clients.
    fn collect(&mut self) {
        let Some(simulation) = &mut self.simulation else {
            return;
        };
        for client in self.clients.values_mut() {
            client.unread.extend(simulation.received(client.id));
            client
                .silent_errors
                .extend(simulation.take_silent_errors(client.id));
            let webhooks = simulation.take_webhooks(client.id).into_iter();
            client
                .webhooks
                .extend(webhooks.map(|webhook| json_or_text(&webhook.body)));
            let closed = simulation.closed(client.id).filter(|_| !client.is_closed);
            if let Some(close) = closed {
                client.close = Some(close.code);
                client.is_closed = true;
            }
        }
    }

    fn read(&mut self, name: &str, expected: &str) -> Result<(), String> {
        let next = self.client(name)?.unread.pop_front();
        let actual = next.ok_or_else(|| format!("{name} was sent no further frame"))?;
        match self.matches(expected, &actual)? {
            true => Ok(()),
            false => Err(format!("{name} was sent {actual}")),
        }
    }

    fn read_post(&mut self, name: &str, expected: &str) -> Result<(), String> {
        let next = self.client(name)?.webhooks.pop_front();
        let actual = next.ok_or_else(|| format!("{name} has caused no further webhook request"))?;
        match self.matches(expected, &actual)? {
            true => Ok(()),
            false => Err(format!("{name} has caused the webhook request {actual}")),
        }
    }

    fn matches(&mut self, expected: &str, actual: &Value) -> Result<bool, String> {
        let expected: Value = serde_json::from_str(expected).map_err(|e| e.to_string())?;
        Ok(self.names.matches(&expected, actual))
    }

    fn read_refusal(&mut self, name: &str, code: &str) -> Result<(), String> {
        match self.client(name)?.silent_errors.pop_front() {
            Some(actual) if actual == code => Ok(()),
            Some(actual) => Err(format!("{name} got the error code {actual}")),
            None => Err(format!(
                "{name} has no further error code without an error frame"
            )),
        }
    }

    fn read_close(&mut self, name: &str, code: u16) -> Result<(), String> {
        match self.client(name)?.close.take() {
            Some(actual) if actual == code => Ok(()),
            Some(actual) => Err(format!("{name} was closed with {actual}")),
            None => Err(format!("{name} is not closed")),
        }
    }

    fn client(&mut self, name: &str) -> Result<&mut TranscriptClient, String> {
        let client = self.clients.get_mut(name);
        client.ok_or_else(|| format!("there is no client {name}"))
    }
}

/// Parses the body of a webhook request as JSON, or returns a text that no line can match.
fn json_or_text(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|_| format!("not JSON: {body}").into())
}
