//! The raw value of a setting, before it is converted to the setting's type.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::reason::Reason;

/// A value from a file or from a command line or environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RawValue {
    Int(u64),
    Bool(bool),
    Text(String),
    List(Vec<String>),
    Table(BTreeMap<String, Self>),
    /// A list of tables, such as `ice.servers`.
    Tables(Vec<BTreeMap<String, Self>>),
    /// A text from an environment variable or a flag, without a type. List items are separated by commas.
    Untyped(String),
    /// A value of a type that no setting has. The text names the type.
    Other(&'static str),
}

impl RawValue {
    pub(super) fn of_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Boolean(flag) => Self::Bool(*flag),
            DeValue::Integer(number) => {
                let parsed = u64::from_str_radix(number.as_str(), number.radix());
                parsed.map_or(Self::Other("a negative or very large number"), Self::Int)
            }
            DeValue::Array(items) => {
                let texts = items.iter().map(|item| text_of(item.get_ref()));
                let texts = texts.collect::<Option<_>>().map(Self::List);
                let tables = items.iter().map(|item| table_of(item.get_ref()));
                let tables = || tables.collect::<Option<_>>().map(Self::Tables);
                texts.or_else(tables).unwrap_or(Self::Other(MIXED))
            }
            DeValue::Float(_) => Self::Other("a fraction"),
            DeValue::Datetime(_) => Self::Other("a date"),
            DeValue::Table(table) => Self::Table(entries_of(table)),
        }
    }

    fn of_json(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::String(text) => Self::Text(text),
            serde_json::Value::Bool(flag) => Self::Bool(flag),
            serde_json::Value::Number(number) => {
                let number = number.as_u64().map(Self::Int);
                number.unwrap_or(Self::Other("a fraction or a negative number"))
            }
            serde_json::Value::Null => Self::Other("null"),
            serde_json::Value::Array(items) => Self::of_items(items),
            serde_json::Value::Object(entries) => {
                let entries = entries.into_iter();
                Self::Table(
                    entries
                        .map(|(key, item)| (key, Self::of_json(item)))
                        .collect(),
                )
            }
        }
    }

    /// Converts a JSON array.
    fn of_items(items: Vec<serde_json::Value>) -> Self {
        let (mut texts, mut tables) = (Vec::new(), Vec::new());
        for item in items {
            match Self::of_json(item) {
                Self::Text(text) => texts.push(text),
                Self::Table(table) => tables.push(table),
                Self::Int(_)
                | Self::Bool(_)
                | Self::List(_)
                | Self::Tables(_)
                | Self::Untyped(_)
                | Self::Other(_) => return Self::Other(MIXED),
            }
        }
        match (texts.is_empty(), tables.is_empty()) {
            (_, true) => Self::List(texts),
            (true, false) => Self::Tables(tables),
            (false, false) => Self::Other(MIXED),
        }
    }

    /// Parses the text of an environment variable as JSON or inline TOML.
    fn of_inline(text: &str) -> Option<Self> {
        if let Ok(value) = serde_json::from_str(text) {
            return Some(Self::of_json(value));
        }
        let document = format!("value = {text}");
        let table = DeTable::parse(&document).ok()?.into_inner();
        let value = table.get("value").filter(|_| table.len() == 1)?;
        Some(Self::of_toml(value.get_ref()))
    }

    pub(super) fn int(&self) -> Result<u64, Reason> {
        let typed = if let Self::Int(value) = self {
            Some(*value)
        } else {
            None
        };
        let untyped = || self.untyped()?.parse().ok();
        typed
            .or_else(untyped)
            .ok_or_else(|| self.type_error("a whole number, 0 or more"))
    }

    pub(super) fn boolean(&self) -> Result<bool, Reason> {
        let typed = if let Self::Bool(value) = self {
            Some(*value)
        } else {
            None
        };
        let untyped = || self.untyped()?.parse().ok();
        typed
            .or_else(untyped)
            .ok_or_else(|| self.type_error("true or false"))
    }

    pub(super) fn text(&self) -> Result<&str, Reason> {
        let typed = if let Self::Text(text) = self {
            Some(text.as_str())
        } else {
            None
        };
        typed
            .or_else(|| self.untyped())
            .ok_or_else(|| self.type_error("a text in quotes"))
    }

    pub(super) fn list(&self) -> Result<Vec<String>, Reason> {
        let typed = if let Self::List(items) = self {
            Some(items.clone())
        } else {
            None
        };
        let parts = |text: &str| {
            text.split(',')
                .map(|item| item.trim().to_owned())
                .filter(|item| !item.is_empty())
                .collect()
        };
        typed
            .or_else(|| self.untyped().map(parts))
            .ok_or_else(|| self.type_error("a list of texts"))
    }

    /// Converts to a list of tables. Errors do not repeat the text, because it may contain passwords.
    pub(super) fn tables(&self) -> Result<Vec<BTreeMap<String, Self>>, Reason> {
        match self {
            Self::Tables(tables) => Ok(tables.clone()),
            Self::List(items) if items.is_empty() => Ok(Vec::new()),
            Self::Untyped(text) if text.trim().is_empty() => Ok(Vec::new()),
            Self::Untyped(text) => match Self::of_inline(text) {
                Some(Self::Untyped(_)) | None => Err(NO_TABLES),
                Some(value) => value.tables(),
            },
            Self::Int(_)
            | Self::Bool(_)
            | Self::Text(_)
            | Self::List(_)
            | Self::Table(_)
            | Self::Other(_) => Err(NO_TABLES),
        }
    }

    fn untyped(&self) -> Option<&str> {
        if let Self::Untyped(text) = self {
            Some(text)
        } else {
            None
        }
    }

    fn type_error(&self, expected: &'static str) -> Reason {
        let found = match self {
            Self::Int(value) => value.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::Text(text) | Self::Untyped(text) => format!("{text:?}"),
            Self::List(_) | Self::Tables(_) => "a list".to_owned(),
            Self::Table(_) => "a table".to_owned(),
            Self::Other(kind) => (*kind).to_owned(),
        };
        Reason::Unexpected { found, expected }
    }
}

/// The type name of a list whose items are neither all strings nor all tables.
const MIXED: &str = "a list of neither texts nor tables";

/// The error for a value that is not a list of tables.
const NO_TABLES: Reason = Reason::Secret {
    expected: "a list of tables, like [{ urls = [\"stun:HOST\"] }], in TOML or JSON",
};

fn table_of(item: &DeValue<'_>) -> Option<BTreeMap<String, RawValue>> {
    item.as_table().map(entries_of)
}

fn entries_of(table: &DeTable<'_>) -> BTreeMap<String, RawValue> {
    let entries = table.iter();
    let entries = entries.map(|(key, value)| {
        let key = key.get_ref().to_string();
        (key, RawValue::of_toml(value.get_ref()))
    });
    entries.collect()
}

/// A list item as text. A number is converted, such as the port in `[5000]`.
fn text_of(item: &DeValue<'_>) -> Option<String> {
    let number = |number: &toml::de::DeInteger<'_>| {
        let value = u64::from_str_radix(number.as_str(), number.radix());
        value.ok().map(|value| value.to_string())
    };
    let text = item.as_str().map(str::to_owned);
    text.or_else(|| item.as_integer().and_then(number))
}
