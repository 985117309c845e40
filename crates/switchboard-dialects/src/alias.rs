//! Names of members in dialects whose frames from the server itself have the sender `server`.

use std::borrow::Cow;

use switchboard_core::{Address, DisplayName, Member, RequestError, escape_server_address};

use crate::{HOST, error_message};

/// The address of a member (or of the host program, which is `server`) as clients see it. An address that
/// could be confused with `server` is escaped; [`switchboard_core::unescape_server_address`] reverses this.
pub(crate) fn address_of(member: &Member) -> Cow<'_, str> {
    displayed_member_name(member, member.address.as_str())
}

/// The display name of a member as clients see it, escaped like its address. A member without a display
/// name is shown by its address.
pub(crate) fn name_of(member: &Member) -> Cow<'_, str> {
    let name = member.name.as_ref().map(DisplayName::as_str);
    displayed_member_name(member, name.unwrap_or(member.address.as_str()))
}

/// A target address as the client has written it.
pub(crate) fn displayed_address(address: &Address) -> Cow<'_, str> {
    displayed_name(address.as_str())
}

/// The text of an error for the client, with its target named as the client has written it.
pub(crate) fn error_text(error: &RequestError) -> String {
    let target = error.target.as_ref();
    let target = target.and_then(|target| Address::parse(&displayed_address(target), 0).ok());
    error_message(&RequestError {
        target,
        ..error.clone()
    })
}

fn displayed_member_name<'m>(member: &Member, name: &'m str) -> Cow<'m, str> {
    match member.dialect.name == HOST.name {
        true => name.into(),
        false => displayed_name(name),
    }
}

fn displayed_name(name: &str) -> Cow<'_, str> {
    escape_server_address(name).map_or(Cow::Borrowed(name), Cow::Owned)
}
