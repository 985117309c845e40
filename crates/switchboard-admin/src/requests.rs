//! The requests of callers: filters, orders, and their limits.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    bans::{BanTarget, TTL_SECS_MAX},
    error::ApiError,
    types::RoomRef,
};

/// The characters of a reason. A close frame has 123 bytes.
pub const REASON_LENGTH_MAX: usize = 512;

/// The characters of a name: of a room, a namespace, an identity or a member.
pub(crate) const NAME_LENGTH_MAX: usize = 512;

/// The characters of an id, an address or the name of a dialect.
const ID_LENGTH_MAX: usize = 64;

/// The characters of a message to a room.
pub const MESSAGE_LENGTH_MAX: usize = 4096;

/// The entries of a page.
pub const PAGE_MAX: usize = 1000;

/// The entries of a page without `limit`.
const PAGE_DEFAULT: usize = 100;

/// The characters of a cursor.
const CURSOR_LENGTH_MAX: usize = 8192;

/// Which rooms to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RoomQuery {
    /// Only rooms whose names begin with this text.
    #[param(max_length = 512)]
    pub prefix: Option<String>,
    /// The rooms of a page.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// The `next` of the page before.
    #[param(max_length = 8192)]
    pub cursor: Option<String>,
}

/// Which sessions to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SessionQuery {
    /// Only sessions with this authenticated identity.
    #[param(max_length = 512)]
    pub identity: Option<String>,
    /// Only sessions from this address or network.
    #[param(max_length = 64, example = "192.0.2.7")]
    pub address: Option<String>,
    /// Only sessions of this dialect.
    #[param(max_length = 64)]
    pub dialect: Option<String>,
    /// The sessions of a page.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// The `next` of the page before.
    #[param(max_length = 64)]
    pub cursor: Option<String>,
}

/// Clients to kick. One of `session`, `identity`, `address` and `member` is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KickRequest {
    /// The id of a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub session: Option<String>,
    /// An authenticated identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 512)]
    pub identity: Option<String>,
    /// An IP address or a network, as `192.0.2.7` or `2001:db8::/64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub address: Option<String>,
    /// The address of a member of `room`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 512)]
    pub member: Option<String>,
    /// Only clients in this room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomRef>,
    /// The reason, which the client is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 512)]
    pub reason: Option<String>,
}

/// Clients to ban, as in a request to kick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BanRequest {
    /// The id of a session: its identity is banned, or its address if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub session: Option<String>,
    /// An authenticated identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 512)]
    pub identity: Option<String>,
    /// An IP address or a network, as `192.0.2.7` or `2001:db8::/64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub address: Option<String>,
    /// The address of a member of `room`: its identity is banned, or its IP address if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 512)]
    pub member: Option<String>,
    /// Bans from this room only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomRef>,
    /// The reason, which the client is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 512)]
    pub reason: Option<String>,
    /// The seconds of the ban.
    #[schema(minimum = 1, maximum = 31_622_400)]
    pub ttl_secs: u64,
}

/// A room to close.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseRequest {
    /// The room of the order.
    pub room: RoomRef,
    /// The reason, which the members are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 512)]
    pub reason: Option<String>,
    /// Whether the room is locked too, so that no client joins it again.
    #[serde(default)]
    pub lock: bool,
}

/// A room to lock or unlock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LockRequest {
    /// The room of the order.
    pub room: RoomRef,
    /// True: no client may join. False: clients may join, whatever the settings say. Null: as the settings say.
    pub locked: Option<bool>,
}

/// A message to a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageRequest {
    /// The room of the order.
    pub room: RoomRef,
    /// The text of the message.
    #[schema(min_length = 1, max_length = 4096)]
    pub text: String,
}

/// The clients that an order is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KickTarget {
    /// One session.
    Session(String),
    /// The sessions of an authenticated identity.
    Identity(String),
    /// The sessions from a network.
    Network(IpNet),
    /// The member of the room with this address.
    Member(String),
}

impl KickTarget {
    /// The clients of a ban; `None` for a session or a member, whose identity or address must be looked up.
    pub(crate) fn ban_target(&self) -> Option<BanTarget> {
        match self {
            Self::Identity(name) => Some(BanTarget::Identity(name.clone())),
            Self::Network(net) => Some(BanTarget::Network(net.trunc())),
            Self::Session(_) | Self::Member(_) => None,
        }
    }
}

impl KickRequest {
    /// The clients of the request.
    pub(crate) fn target(&self) -> Result<KickTarget, ApiError> {
        let given = [
            self.session.clone().map(|id| Ok(KickTarget::Session(id))),
            self.identity
                .clone()
                .map(|name| Ok(KickTarget::Identity(name))),
            self.address
                .as_deref()
                .map(|text| network(text).map(KickTarget::Network)),
            self.member
                .clone()
                .map(|address| Ok(KickTarget::Member(address))),
        ];
        let mut given = given.into_iter().flatten();
        let target = match (given.next(), given.next()) {
            (Some(target), None) => target?,
            (None, _) | (Some(_), Some(_)) => {
                let text = "give one of `session`, `identity`, `address` and `member`";
                return Err(ApiError::bad_request(text));
            }
        };
        if let (KickTarget::Member(_), None) = (&target, &self.room) {
            return Err(ApiError::bad_request("`member` needs `room`"));
        }
        check_length("session", self.session.as_deref(), ID_LENGTH_MAX)?;
        check_length("identity", self.identity.as_deref(), NAME_LENGTH_MAX)?;
        check_length("member", self.member.as_deref(), NAME_LENGTH_MAX)?;
        Ok(target)
    }
}

impl BanRequest {
    /// The clients, as in a request to kick.
    pub(crate) fn kick(&self) -> KickRequest {
        KickRequest {
            session: self.session.clone(),
            identity: self.identity.clone(),
            address: self.address.clone(),
            member: self.member.clone(),
            room: self.room.clone(),
            reason: self.reason.clone(),
        }
    }

    pub(crate) fn ttl_ms(&self) -> Result<u64, ApiError> {
        if !(1..=TTL_SECS_MAX).contains(&self.ttl_secs) {
            let text = format!("`ttl_secs` must be from 1 to {TTL_SECS_MAX}");
            return Err(ApiError::bad_request(text));
        }
        Ok(self.ttl_secs * 1000)
    }
}

/// Parses an address or a network. A network is at least a /8 of IPv4 or a /16 of IPv6, so that a slip does
/// not ban half of the internet.
pub(crate) fn network(text: &str) -> Result<IpNet, ApiError> {
    let address = text
        .parse::<IpAddr>()
        .map(|ip| IpNet::from(ip.to_canonical()));
    let net = address.or_else(|_| text.parse::<IpNet>());
    let net =
        net.map_err(|_| ApiError::bad_request("`address` is no IP address and no network"))?;
    let least = if net.addr().is_ipv4() { 8 } else { 16 };
    if net.prefix_len() < least {
        let text = format!(
            "the network /{} is too large; the least is /{least}",
            net.prefix_len()
        );
        return Err(ApiError::bad_request(text));
    }
    Ok(net.trunc())
}

/// The reason of an order, or its default.
pub(crate) fn reason(given: Option<&str>, default: &str) -> Result<String, ApiError> {
    let reason = given.filter(|text| !text.is_empty()).unwrap_or(default);
    if reason.chars().count() > REASON_LENGTH_MAX {
        let text = format!("`reason` has more than {REASON_LENGTH_MAX} characters");
        return Err(ApiError::bad_request(text));
    }
    // A close frame and a log line hold no control characters.
    let clean = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
    Ok(clean.collect())
}

/// The entries of a page.
pub(crate) fn page_size(limit: Option<usize>) -> Result<usize, ApiError> {
    match limit {
        None => Ok(PAGE_DEFAULT),
        Some(limit) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
        Some(_) => Err(ApiError::bad_request(format!(
            "`limit` must be from 1 to {PAGE_MAX}"
        ))),
    }
}

/// Checks the name of a room.
pub(crate) fn check_room(room: &RoomRef) -> Result<(), ApiError> {
    check_length("name", Some(&room.name), NAME_LENGTH_MAX)?;
    check_length("dialect", room.dialect.as_deref(), ID_LENGTH_MAX)?;
    let space = Some(&*room.space).filter(|space| !space.is_empty());
    check_length("space", space, NAME_LENGTH_MAX)?;
    let no_name = || ApiError::bad_request("the name of the room or its space is not valid");
    room.to_room_id().map(drop).ok_or_else(no_name)
}

/// Checks the length of a text, which must not be empty.
fn check_length(field: &str, text: Option<&str>, length_max: usize) -> Result<(), ApiError> {
    let length = text.map(|text| text.chars().count());
    match length {
        Some(length) if length == 0 || length > length_max => {
            let text = format!("`{field}` has {length} characters; 1 to {length_max} are allowed");
            Err(ApiError::bad_request(text))
        }
        Some(_) | None => Ok(()),
    }
}

/// Checks the length of a filter, which may be empty.
fn check_filter(field: &str, text: Option<&str>, length_max: usize) -> Result<(), ApiError> {
    check_length(field, text.filter(|text| !text.is_empty()), length_max)
}

impl RoomQuery {
    /// Checks the lengths of the filters. Returns the entries of a page.
    pub(crate) fn check(&self) -> Result<usize, ApiError> {
        check_filter("prefix", self.prefix.as_deref(), NAME_LENGTH_MAX)?;
        check_filter("cursor", self.cursor.as_deref(), CURSOR_LENGTH_MAX)?;
        page_size(self.limit)
    }
}

impl SessionQuery {
    /// Checks the lengths of the filters. Returns the entries of a page.
    pub(crate) fn check(&self) -> Result<usize, ApiError> {
        check_filter("identity", self.identity.as_deref(), NAME_LENGTH_MAX)?;
        check_filter("address", self.address.as_deref(), ID_LENGTH_MAX)?;
        check_filter("dialect", self.dialect.as_deref(), ID_LENGTH_MAX)?;
        check_filter("cursor", self.cursor.as_deref(), ID_LENGTH_MAX)?;
        page_size(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_target_is_needed() {
        let kick = |json: &str| {
            serde_json::from_str::<KickRequest>(json)
                .expect("a request")
                .target()
        };
        assert_eq!(
            kick(r#"{"session":"a"}"#),
            Ok(KickTarget::Session("a".to_owned()))
        );
        let net = KickTarget::Network("2001:db8::/64".parse().expect("a network"));
        assert_eq!(kick(r#"{"address":"2001:db8::5/64"}"#), Ok(net));
        let single = KickTarget::Network("192.0.2.1/32".parse().expect("a network"));
        assert_eq!(kick(r#"{"address":"::ffff:192.0.2.1"}"#), Ok(single));
        assert!(kick(r#"{"member":"a","room":{"name":"r"}}"#).is_ok());
        for bad in [
            "{}",
            r#"{"session":"a","identity":"b"}"#,
            r#"{"member":"a"}"#,
            r#"{"session":""}"#,
            r#"{"identity":""}"#,
            r#"{"address":"x"}"#,
            r#"{"address":"0.0.0.0/0"}"#,
            r#"{"address":"::/8"}"#,
        ] {
            assert!(kick(bad).is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<KickRequest>(r#"{"sesion":"a"}"#).is_err());
    }

    #[test]
    fn limits_are_checked() {
        assert_eq!(page_size(None), Ok(100));
        assert!(page_size(Some(0)).is_err() && page_size(Some(1001)).is_err());
        assert_eq!(reason(Some("a\nb"), ""), Ok("a b".to_owned()));
        assert_eq!(reason(Some(""), "kicked"), Ok("kicked".to_owned()));
        assert!(reason(Some(&"x".repeat(513)), "").is_err());
        for (ttl_secs, is_valid) in [(0, false), (1, true), (TTL_SECS_MAX + 1, false)] {
            let ban = BanRequest {
                ttl_secs,
                ..BanRequest::default()
            };
            assert_eq!(ban.ttl_ms().is_ok(), is_valid);
        }
    }
}
