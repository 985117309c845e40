//! The settings of the internal listener.

use super::{SettingDef, address, list, parse_all, quoted, row};

pub(super) fn rows() -> [SettingDef; 2] {
    [
        row(
            "internal",
            "listen",
            "The address of the internal listener, as \"ADDRESS:PORT\": the admin API, /metrics, /healthz, and /readyz with details; empty for no such listener. Without TLS. If it cannot be bound, the server warns and runs without it.",
            |config, raw| {
                let text = raw.text()?;
                let listen = match text {
                    "" => None,
                    text => Some(address::socket(text)?),
                };
                config.internal.listen = listen;
                Ok(())
            },
            |config| {
                let listen = config.internal.listen;
                quoted(listen.map(|it| it.to_string()).unwrap_or_default())
            },
        ),
        row(
            "internal",
            "allowed_hosts",
            "Host names by which the internal listener is reached, in addition to localhost and IP addresses; requests for other names get 403, against DNS rebinding.",
            |config, raw| {
                let hosts: Vec<HostName> = parse_all(raw, "a host name without a port")?;
                config.internal.allowed_hosts = hosts.into_iter().map(|host| host.0).collect();
                Ok(())
            },
            |config| list(&config.internal.allowed_hosts),
        ),
    ]
}

/// The most bytes of a host name (RFC 1035, section 2.3.4).
const NAME_BYTES: usize = 253;

/// A host name in lower case, without a port.
struct HostName(String);

impl std::str::FromStr for HostName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let is_name = !text.is_empty() && text.len() <= NAME_BYTES && text.chars().all(is_allowed);
        is_name.then(|| Self(text.to_ascii_lowercase())).ok_or(())
    }
}
