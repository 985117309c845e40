//! Replays a transcript: a simulation, its clients by name, and their unread output, which no line of the transcript
//! has been compared with yet.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;
use switchboard_core::{Identity, Limits};
use switchboard_dialects::{Dialect, DialectSettings, SettingValue, find, ice::IceServer};

use super::{
    error::LineError,
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
    /// Frames that no line has read yet.
    unread: VecDeque<Value>,
    /// Error codes without an error frame that no line has read yet.
    silent_errors: VecDeque<&'static str>,
    /// Webhook requests that no line has read yet.
    webhooks: VecDeque<Value>,
    /// A close code that no line has read yet.
    close: Option<u16>,
    is_closed: bool,
}

impl TranscriptClient {
    /// The error for the first output that no line has read.
    fn unread(&self, name: &str) -> Option<LineError> {
        let client = || name.to_owned();
        if let Some(frame) = self.unread.front() {
            let (client, frame) = (client(), frame.clone());
            return Some(LineError::UnreadFrame { client, frame });
        }
        if let Some(code) = self.silent_errors.front() {
            let client = client();
            return Some(LineError::UnreadErrorCode { client, code });
        }
        if let Some(body) = self.webhooks.front() {
            let (client, body) = (client(), body.clone());
            return Some(LineError::UnreadWebhook { client, body });
        }
        let client = client();
        self.close.map(|code| LineError::WasClosed { client, code })
    }
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

    /// Runs a line: compares an expected output of the server, or applies an action. Before an action, no output may be
    /// unread.
    pub(super) fn run_line(&mut self, line: &TranscriptLine<'_>) -> Result<(), LineError> {
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
    pub(super) fn check_nothing_unread(&self) -> Result<(), LineError> {
        let clients = self.clients.iter();
        let first = clients
            .filter_map(|(name, client)| client.unread(name))
            .next();
        first.map_or(Ok(()), Err)
    }

    /// Applies a line, unless it is a server line: an output that is expected of the server.
    pub(super) fn apply_line(&mut self, line: &TranscriptLine<'_>) -> Result<(), LineError> {
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

    fn apply_action(&mut self, name: &str, action: &TranscriptAction<'_>) -> Result<(), LineError> {
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
                    return Err(LineError::NoPendingWebhook(name.into()));
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
    fn fill_in(&self, text: &str) -> Result<String, LineError> {
        let text = self.names.fill_in(text);
        if text.contains('$') {
            return Err(LineError::UndefinedPlaceholder(text));
        }
        Ok(text)
    }

    fn open(
        &mut self,
        name: &str,
        dialect: &str,
        query: &[(&str, &str)],
        identity: Option<&str>,
    ) -> Result<(), LineError> {
        let found = (self.find)(dialect);
        if dialect != "shared" && found.is_none() {
            return Err(LineError::UnknownDialect(dialect.into()));
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

    fn set(&mut self, key: &str, value: &str) -> Result<(), LineError> {
        let wrong_type = || wrong_type(key, value);
        let number = || value.parse::<usize>().map_err(|_| wrong_type());
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

    fn set_dialect_setting(&mut self, key: &str, value: &str) -> Result<(), LineError> {
        let unknown = || LineError::UnknownSetting(key.into());
        let (dialect, own_key) = key.split_once('.').ok_or_else(unknown)?;
        let dialect = (self.find)(dialect).ok_or_else(unknown)?;
        let mut settings = dialect.settings().iter();
        let setting = settings
            .find(|setting| setting.key == own_key)
            .ok_or_else(unknown)?;
        let parsed = match (setting.default)() {
            SettingValue::Int(_) => value.parse().ok().map(SettingValue::Int),
            SettingValue::Flag(_) => value.parse().ok().map(SettingValue::Flag),
            SettingValue::Text(_) => Some(SettingValue::Text(value.to_owned())),
            SettingValue::Url(_) => Some(SettingValue::Url(value.to_owned())),
        };
        let value = parsed.ok_or_else(|| wrong_type(key, value))?;
        setting
            .check(&value)
            .map_err(|source| LineError::InvalidSetting {
                key: key.into(),
                source,
            })?;
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

    fn read(&mut self, name: &str, expected: &str) -> Result<(), LineError> {
        let next = self.client(name)?.unread.pop_front();
        let actual = next.ok_or_else(|| LineError::NoFrame(name.into()))?;
        match self.matches(expected, &actual)? {
            true => Ok(()),
            false => Err(LineError::OtherFrame {
                client: name.into(),
                frame: actual,
            }),
        }
    }

    fn read_post(&mut self, name: &str, expected: &str) -> Result<(), LineError> {
        let next = self.client(name)?.webhooks.pop_front();
        let actual = next.ok_or_else(|| LineError::NoWebhook(name.into()))?;
        match self.matches(expected, &actual)? {
            true => Ok(()),
            false => Err(LineError::OtherWebhook {
                client: name.into(),
                body: actual,
            }),
        }
    }

    fn matches(&mut self, expected: &str, actual: &Value) -> Result<bool, LineError> {
        let expected: Value = serde_json::from_str(expected)?;
        Ok(self.names.matches(&expected, actual))
    }

    fn read_refusal(&mut self, name: &str, code: &str) -> Result<(), LineError> {
        match self.client(name)?.silent_errors.pop_front() {
            Some(actual) if actual == code => Ok(()),
            Some(code) => Err(LineError::OtherErrorCode {
                client: name.into(),
                code,
            }),
            None => Err(LineError::NoErrorCode(name.into())),
        }
    }

    fn read_close(&mut self, name: &str, code: u16) -> Result<(), LineError> {
        match self.client(name)?.close.take() {
            Some(actual) if actual == code => Ok(()),
            Some(code) => Err(LineError::WasClosed {
                client: name.into(),
                code,
            }),
            None => Err(LineError::NotClosed(name.into())),
        }
    }

    fn client(&mut self, name: &str) -> Result<&mut TranscriptClient, LineError> {
        let client = self.clients.get_mut(name);
        client.ok_or_else(|| LineError::UnknownClient(name.into()))
    }
}

fn wrong_type(key: &str, value: &str) -> LineError {
    LineError::SettingType {
        key: key.into(),
        value: value.into(),
    }
}

/// Parses the body of a webhook request as JSON, or returns a text that no line can match.
fn json_or_text(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|_| format!("not JSON: {body}").into())
}
