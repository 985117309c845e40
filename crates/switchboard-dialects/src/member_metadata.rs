//! The metadata of a member for the other nodes of a cluster. The store and the messages between nodes carry it as
//! opaque bytes. It is JSON, so that operators can read it in the store. Nodes of different versions can read each
//! other's metadata: a missing field has its default, and an unknown field is skipped.

use std::{num::NonZeroUsize, time::Duration};

use serde::{Deserialize, Serialize};
use switchboard_core::{
    Address, DialectTraits, DisplayName, Group, Identity, Member, PeerId, Token,
};
use thiserror::Error;

type FirstMemberBytes = [u8; 16];

#[derive(Default, Serialize, Deserialize)]
struct MemberMetadata {
    dialect: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    /// The secret with which the client reclaims its address after a lost connection, and the milliseconds for which
    /// the address stays reserved then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<(String, u64)>,
    /// The first member of the group of this member, and the capacity of the group (see `?next=N` of `matchbox`).
    /// Stored as `circle`, the earlier name of a group.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "circle")]
    group: Option<(FirstMemberBytes, NonZeroUsize)>,
    /// The serial number of the join on its node. It distinguishes a join that was abandoned from a later join of
    /// the same member.
    #[serde(default)]
    join: u64,
}

/// Encodes everything about a member except its id and its address, which the store keeps itself. `join` is the
/// serial number of the join on its node.
#[must_use]
pub fn encode_member(member: &Member, join: u64) -> Vec<u8> {
    let metadata = MemberMetadata {
        dialect: member.dialect.name.to_owned(),
        name: member.name.as_ref().map(|name| name.as_str().to_owned()),
        identity: match &member.identity {
            Identity::Claimed => None,
            Identity::Proven(name) => Some(name.to_string()),
        },
        token: member.token.as_ref().map(|token| {
            let grace = u64::try_from(token.grace.as_millis());
            (token.secret.to_string(), grace.unwrap_or(u64::MAX))
        }),
        group: (member.group.as_ref()).map(|group| (group.first.bytes(), group.capacity)),
        join,
    };
    // The serialization of strings and numbers cannot fail.
    serde_json::to_vec(&metadata).unwrap_or_default()
}

/// The metadata of a member cannot be decoded. Its source names the position and the expected type.
#[derive(Debug, Error)]
#[error("malformed metadata of member {address} ({peer})")]
pub struct MetadataError {
    peer: PeerId,
    address: Address,
    source: serde_json::Error,
}

/// Decodes the metadata of a member. `dialect` looks up a dialect by name.
///
/// # Errors
/// If the metadata is malformed.
pub fn decode_member(
    peer: PeerId,
    address: Address,
    metadata: &[u8],
    dialect: impl FnOnce(&str) -> &'static DialectTraits,
) -> Result<Member, MetadataError> {
    let metadata: MemberMetadata = match serde_json::from_slice(metadata) {
        Ok(metadata) => metadata,
        Err(source) => {
            return Err(MetadataError {
                peer,
                address,
                source,
            });
        }
    };
    Ok(Member {
        peer,
        address,
        name: metadata
            .name
            .and_then(|name| DisplayName::parse(&name, 0).ok()),
        dialect: dialect(&metadata.dialect),
        identity: match metadata.identity {
            Some(name) => Identity::Proven(name.into()),
            None => Identity::Claimed,
        },
        token: metadata.token.map(|(secret, grace)| {
            Box::new(Token {
                secret: secret.into(),
                grace: Duration::from_millis(grace),
            })
        }),
        group: metadata.group.map(|(first, capacity)| {
            Box::new(Group {
                first: first.into(),
                capacity,
            })
        }),
        policy: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    static TRAITS: DialectTraits = DialectTraits {
        name: "p2p",
        ..DialectTraits::DEFAULT
    };

    /// The bytes are part of the format in the store: nodes of older versions read them.
    #[test]
    fn metadata_has_a_stable_format_and_decodes_to_the_same_member() {
        let address = Address::parse("ann", 0).expect("an address");
        let member = Member {
            name: DisplayName::parse("Ann", 0).ok(),
            identity: Identity::Proven("ann@example".into()),
            token: Some(Box::new(Token {
                secret: "secret".into(),
                grace: Duration::from_millis(1500),
            })),
            ..Member::new(PeerId::from([7; 16]), address.clone(), &TRAITS)
        };
        let bytes = encode_member(&member, 3);
        let expected = r#"{"dialect":"p2p","name":"Ann","identity":"ann@example","token":["secret",1500],"join":3}"#;
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
        let read = decode_member(member.peer, address.clone(), &bytes, |name| {
            assert_eq!(name, "p2p");
            &TRAITS
        });
        let read = read.expect("the bytes of this version");
        assert_eq!(format!("{read:?}"), format!("{member:?}"));
        let newer = br#"{"dialect":"p2p","mood":{"a":[1]}}"#;
        let read = decode_member(member.peer, address.clone(), newer, |_| &TRAITS);
        let expected = Member::new(member.peer, address.clone(), &TRAITS);
        let read =
            read.expect("a later version with another field, or an earlier one without some");
        assert_eq!(format!("{read:?}"), format!("{expected:?}"));
        for malformed in [&b""[..], b"{", b"\xff", b"[]"] {
            let read = decode_member(member.peer, address.clone(), malformed, |_| &TRAITS);
            let error = read.expect_err("malformed").to_string();
            let expected = format!("malformed metadata of member ann ({})", member.peer);
            assert_eq!(error, expected);
        }
    }
}
