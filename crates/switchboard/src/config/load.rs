//! Where settings come from: file, environment, flags; later ones win.

use std::{fmt, path::Path};

use toml::de::{DeTable, DeValue};

use super::{
    Config,
    given::Given,
    keys::{Row, rows},
};

/// What environment variables of ours begin with.
const ENV_PREFIX: &str = "SWITCHBOARD_";

/// Where a setting was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a file, at a line that counts from 1.
    File {
        /// The file, as it was named.
        file: String,
        /// The line.
        line: usize,
    },
    /// In this environment variable.
    Environment(String),
    /// By this flag.
    Flag(String),
    /// By settings that do not go together, wherever each was given.
    Together,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Together => f.write_str("settings in force"),
        }
    }
}

/// Something wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub source: Source,
    /// The key, as `section.key`; empty if the file cannot be read at all.
    pub key: String,
    /// What is wrong.
    pub words: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.words)
    }
}

impl Config {
    /// Takes the settings of a TOML text. `file` is what mistakes call it. Good settings are taken
    /// although others are wrong.
    pub fn read_toml(&mut self, file: &str, text: &str) -> Vec<Mistake> {
        let reader = Reader {
            file,
            text,
            rows: rows(),
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut mistakes = Vec::new();
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            mistakes.push(reader.mistake(at, String::new(), error.message().to_owned()));
        }
        reader.sections(self, table.get_ref(), &mut mistakes);
        mistakes
    }

    /// Reads a TOML file.
    ///
    /// # Errors
    /// If the file cannot be read, in words for people.
    pub fn read_file(&mut self, path: &Path) -> Result<Vec<Mistake>, String> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {name}: {error}"))?;
        Ok(self.read_toml(&name, &text))
    }

    /// Takes settings from environment variables: `SWITCHBOARD_LIMITS_FRAME_BYTES` is
    /// `limits.frame_bytes`, `SWITCHBOARD_PORT` is `server.port`; so is `PORT`, which hosting
    /// platforms set.
    pub fn read_environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Vec<Mistake> {
        let rows = rows();
        let mut mistakes = Vec::new();
        let mut variables: Vec<_> = variables
            .into_iter()
            .filter(|(name, _)| name == "PORT" || name.starts_with(ENV_PREFIX))
            .collect();
        // PORT comes first, so that the variable of ours wins.
        variables.sort_by_key(|(name, _)| name != "PORT");
        for (name, value) in variables {
            let row = rows.iter().find(|row| row.is_named_by(&name));
            let key = row.map(Row::path).unwrap_or_default();
            let taken = match row {
                Some(row) => (row.set)(self, &Given::Bare(value)),
                None => Err("there is no such setting".to_owned()),
            };
            mistakes.extend(taken.err().map(|words| Mistake {
                source: Source::Environment(name),
                key,
                words,
            }));
        }
        mistakes
    }

    /// Sets `section.key` from a command line's flag.
    ///
    /// # Errors
    /// What is wrong with the value or the key.
    pub fn set(&mut self, flag: &str, key: &str, value: &str) -> Result<(), Mistake> {
        let mistake = |words| Mistake {
            source: Source::Flag(flag.to_owned()),
            key: key.to_owned(),
            words,
        };
        let rows = rows();
        let row = rows
            .iter()
            .find(|row| row.path() == key)
            .ok_or_else(|| mistake("there is no such setting".to_owned()))?;
        (row.set)(self, &Given::Bare(value.to_owned())).map_err(mistake)
    }

    /// What does not go together in the settings in force.
    #[must_use]
    pub fn contradictions(&self) -> Vec<Mistake> {
        let mistake = |key: &str, words: &str| Mistake {
            source: Source::Together,
            key: key.to_owned(),
            words: words.to_owned(),
        };
        let mut mistakes = Vec::new();
        if self.heartbeat.gone <= self.heartbeat.ping {
            mistakes.push(mistake(
                "heartbeat.gone",
                "must be longer than heartbeat.ping, or every quiet client is gone",
            ));
        }
        mistakes
    }

    /// The settings in force as TOML, each with what it does.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        let mut section = "";
        for row in rows() {
            if row.section != section {
                section = row.section;
                let gap = if out.is_empty() { "" } else { "\n" };
                out.push_str(&format!("{gap}[{section}]\n"));
            }
            out.push_str(&format!(
                "# {}\n{} = {}\n",
                row.doc,
                row.key,
                (row.show)(self)
            ));
        }
        out
    }
}

impl Row {
    fn path(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    fn is_named_by(&self, variable: &str) -> bool {
        let key = self.key.to_ascii_uppercase();
        if self.section == "server" {
            return variable.strip_prefix(ENV_PREFIX) == Some(&key)
                || (variable == "PORT" && self.key == "port");
        }
        variable.strip_prefix(ENV_PREFIX)
            == Some(&format!("{}_{key}", self.section.to_ascii_uppercase()))
    }
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    rows: Vec<Row>,
}

impl Reader<'_> {
    fn mistake(&self, at: usize, key: String, words: String) -> Mistake {
        let line = self
            .text
            .bytes()
            .take(at)
            .filter(|byte| *byte == b'\n')
            .count()
            + 1;
        Mistake {
            source: Source::File {
                file: self.file.to_owned(),
                line,
            },
            key,
            words,
        }
    }

    fn sections(&self, config: &mut Config, table: &DeTable<'_>, mistakes: &mut Vec<Mistake>) {
        for (name, section) in table {
            let DeValue::Table(keys) = section.get_ref() else {
                let words = "settings stand in sections, like [limits]".to_owned();
                mistakes.push(self.mistake(name.span().start, name.get_ref().to_string(), words));
                continue;
            };
            if !self.rows.iter().any(|row| row.section == name.get_ref()) {
                let words = "there is no such section".to_owned();
                mistakes.push(self.mistake(name.span().start, name.get_ref().to_string(), words));
                continue;
            }
            self.keys(config, name.get_ref(), keys, mistakes);
        }
    }

    fn keys(
        &self,
        config: &mut Config,
        section: &str,
        keys: &DeTable<'_>,
        mistakes: &mut Vec<Mistake>,
    ) {
        for (key, value) in keys {
            let row = self
                .rows
                .iter()
                .find(|row| row.section == section && row.key == key.get_ref());
            let taken = match row {
                Some(row) => (row.set)(config, &Given::of_toml(value.get_ref())),
                None => Err(self.unknown(section)),
            };
            if let Err(words) = taken {
                mistakes.push(self.mistake(
                    key.span().start,
                    format!("{section}.{}", key.get_ref()),
                    words,
                ));
            }
        }
    }

    fn unknown(&self, section: &str) -> String {
        let known = self
            .rows
            .iter()
            .filter(|row| row.section == section)
            .map(|row| row.key);
        format!(
            "unknown key; [{section}] has {}",
            known.collect::<Vec<_>>().join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        Config::default()
            .read_toml("f.toml", text)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn the_defaults_read_back_as_themselves() {
        let text = Config::default().to_toml();
        let mut config = Config::default();
        config.limits.frame_bytes = 1;
        assert_eq!(config.read_toml("f", &text), []);
        assert_eq!(config.to_toml(), text);
    }

    #[test]
    fn every_mistake_is_named_with_its_line_and_key() {
        let text = "[limits]\nframe_bytes = \"many\"\nframe_byte = 7\n\n[nowhere]\nx = 1\n[server]\nport = 70000\nport2 = 1\n";
        let found = mistakes(text);
        assert!(
            found.contains(
                &"f.toml:2: limits.frame_bytes: \"many\" is not a whole number, 0 or more"
                    .to_owned()
            ),
            "{found:#?}"
        );
        assert!(
            found.iter().any(|m| m.starts_with(
                "f.toml:3: limits.frame_byte: unknown key; [limits] has frame_bytes, "
            )),
            "{found:#?}"
        );
        assert!(
            found.contains(&"f.toml:5: nowhere: there is no such section".to_owned()),
            "{found:#?}"
        );
        assert!(
            found.contains(&"f.toml:8: server.port: 70000 is too large".to_owned()),
            "{found:#?}"
        );
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn a_file_that_is_no_toml_is_a_mistake_with_a_line() {
        let found = mistakes("[limits]\nframe_bytes = = 7\n");
        assert!(found[0].starts_with("f.toml:2: "), "{found:?}");
    }

    #[test]
    fn paths_that_are_taken_or_no_paths_are_mistakes() {
        for bad in ["ws", "/", "/healthz", "/a b", "/{x}", "/index.html"] {
            assert_eq!(
                mistakes(&format!("[singo]\npaths = [\"{bad}\"]\n")).len(),
                1,
                "{bad}"
            );
        }
        assert_eq!(
            mistakes("[singo]\npaths = [\"/connect\", \"/ws2\"]\n"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn settings_that_do_not_go_together_are_mistakes() {
        assert_eq!(Config::default().contradictions(), []);
        let mut config = Config::default();
        assert_eq!(config.read_toml("f", "[heartbeat]\nping = 60\n"), []);
        assert_eq!(config.contradictions().len(), 1);
    }

    #[test]
    fn the_environment_wins_over_the_file_and_ours_over_port() {
        let mut config = Config::default();
        assert_eq!(
            config.read_toml("f", "[server]\nport = 1\n[singo]\nping_secs = 9\n"),
            []
        );
        let variables = [
            ("SWITCHBOARD_PORT", "3"),
            ("PORT", "2"),
            ("SWITCHBOARD_LIMITS_NAME_BYTES", "5"),
            ("HOME", "/"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(config.read_environment(variables), []);
        assert_eq!((config.server.port, config.limits.name_bytes), (3, 5));
        let unknown = config.read_environment([("SWITCHBOARD_PROT".to_owned(), "3".to_owned())]);
        assert_eq!(
            unknown[0].to_string(),
            "environment variable SWITCHBOARD_PROT: there is no such setting"
        );
    }
}
