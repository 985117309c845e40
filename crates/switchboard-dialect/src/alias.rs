//! Names of members in dialects in which the server itself speaks as `server`.

use std::borrow::Cow;

use switchboard_core::{Address, DisplayName, Member, RequestError, beside_server};

use crate::{HOST, error_message};

/// The address of a member, or of the server, where the server speaks as `server`. A client that sends
/// a frame to this address means the member that [`switchboard_core::behind_server`] finds.
pub(crate) fn address_of(member: &Member) -> Cow<'_, str> {
    beside(member, member.address.as_str())
}

/// The display name of a member, or of the server, where the server speaks as `server`.
pub(crate) fn name_of(member: &Member) -> Cow<'_, str> {
    let name = member.name.as_ref().map(DisplayName::as_str);
    beside(member, name.unwrap_or(member.address.as_str()))
}

/// An address that a client has sent something to, in its own words.
pub(crate) fn as_shown(address: &Address) -> Cow<'_, str> {
    shown(address.as_str())
}

/// The error text of a refusal, in one sentence, with members named as the client knows them.
pub(crate) fn words_of(refused: &RequestError) -> String {
    let target = refused.target.as_ref();
    let target = target.and_then(|target| Address::parse(&as_shown(target), 0).ok());
    error_message(&RequestError {
        target,
        ..refused.clone()
    })
}

fn beside<'m>(member: &Member, name: &'m str) -> Cow<'m, str> {
    match member.dialect.name == HOST.name {
        true => name.into(),
        false => shown(name),
    }
}

fn shown(name: &str) -> Cow<'_, str> {
    beside_server(name).map_or(Cow::Borrowed(name), Cow::Owned)
}
