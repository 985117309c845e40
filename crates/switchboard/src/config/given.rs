//! A value as it was given, not yet understood.

use toml::de::DeValue;

/// A value from a file or from a command line or environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Given {
    Int(u64),
    Flag(bool),
    Text(String),
    List(Vec<String>),
    /// Not typed: from the environment or a flag. Lists are separated by commas.
    Bare(String),
    /// Something no setting can be.
    Other(&'static str),
}

impl Given {
    pub(super) fn of_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Boolean(flag) => Self::Flag(*flag),
            DeValue::Integer(number) => {
                let parsed = u64::from_str_radix(number.as_str(), number.radix());
                parsed.map_or(Self::Other("a negative or very large number"), Self::Int)
            }
            DeValue::Array(items) => {
                let texts = items.iter().map(|item| text_of(item.get_ref()));
                texts
                    .collect::<Option<_>>()
                    .map_or(Self::Other("a list of other things than texts"), Self::List)
            }
            DeValue::Float(_) => Self::Other("a fraction"),
            DeValue::Datetime(_) => Self::Other("a date"),
            DeValue::Table(_) => Self::Other("a table"),
        }
    }

    pub(super) fn int(&self) -> Result<u64, String> {
        let typed = if let Self::Int(value) = self {
            Some(*value)
        } else {
            None
        };
        let bare = || self.bare()?.parse().ok();
        typed
            .or_else(bare)
            .ok_or_else(|| self.not("a whole number, 0 or more"))
    }

    pub(super) fn flag(&self) -> Result<bool, String> {
        let typed = if let Self::Flag(value) = self {
            Some(*value)
        } else {
            None
        };
        let bare = || self.bare()?.parse().ok();
        typed.or_else(bare).ok_or_else(|| self.not("true or false"))
    }

    pub(super) fn text(&self) -> Result<&str, String> {
        let typed = if let Self::Text(text) = self {
            Some(text.as_str())
        } else {
            None
        };
        typed
            .or_else(|| self.bare())
            .ok_or_else(|| self.not("a text in quotes"))
    }

    pub(super) fn list(&self) -> Result<Vec<String>, String> {
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
            .or_else(|| self.bare().map(parts))
            .ok_or_else(|| self.not("a list of texts"))
    }

    fn bare(&self) -> Option<&str> {
        if let Self::Bare(text) = self {
            Some(text)
        } else {
            None
        }
    }

    fn not(&self, wanted: &str) -> String {
        match self {
            Self::Int(value) => format!("{value} is not {wanted}"),
            Self::Flag(value) => format!("{value} is not {wanted}"),
            Self::Text(text) | Self::Bare(text) => format!("{text:?} is not {wanted}"),
            Self::List(_) => format!("a list is not {wanted}"),
            Self::Other(what) => format!("{what} is not {wanted}"),
        }
    }
}

/// An item of a list as text: a number is one too, as the port in `[5000]`.
fn text_of(item: &DeValue<'_>) -> Option<String> {
    let number = |number: &toml::de::DeInteger<'_>| {
        let value = u64::from_str_radix(number.as_str(), number.radix());
        value.ok().map(|value| value.to_string())
    };
    let text = item.as_str().map(str::to_owned);
    text.or_else(|| item.as_integer().and_then(number))
}
