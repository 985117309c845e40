//! Names of members as clients see them, for dialects in which the server's own frames have the sender `server`. A
//! member that is named like the server is shown with `~` before its name, so that clients can distinguish the two.

use std::{borrow::Cow, sync::Arc};

use switchboard_core::{Address, DisplayName, Member, RequestError, escape_server_address};

use crate::{HOST, error_message};

/// The bytes of a frame with a list of members besides the list, if its room has a short name.
const LIST_HEADER_BYTES: usize = 192;

/// The address of a member (the unique name by which its room knows it) as clients see it. An address that could be
/// confused with `server` is escaped; [`switchboard_core::unescape_server_address`] reverses this. The host program
/// is no member: it speaks for the server, and its address is `server` unescaped.
pub(crate) fn address_of(member: &Member) -> Cow<'_, str> {
    displayed_member_name(member, member.address.as_str())
}

/// The display name of a member as clients see it, escaped like its address. A member without a display
/// name is shown by its address.
pub(crate) fn name_of(member: &Member) -> Cow<'_, str> {
    let name = member.name.as_ref().map(DisplayName::as_str);
    displayed_member_name(member, name.unwrap_or(member.address.as_str()))
}

/// The bytes to allocate at once for a frame with a list of members, so that the frame does not grow in steps.
/// `member_bytes` are the bytes of each member besides its name and address.
pub(crate) fn list_bytes<'m>(
    members: impl Iterator<Item = &'m Arc<Member>>,
    member_bytes: usize,
) -> usize {
    let name = |member: &Member| member.name.as_ref().map_or(0, |name| name.as_str().len());
    let bytes = members.map(|member| member.address.as_str().len() + name(member) + member_bytes);
    LIST_HEADER_BYTES + bytes.sum::<usize>()
}

/// An address as clients write it: [`address_of`] for an address without its member.
pub(crate) fn displayed_address(address: &Address) -> Cow<'_, str> {
    displayed_name(address.as_str())
}

/// The text of an error for the client, which names the target as the client has written it.
pub(crate) fn error_text(error: &RequestError) -> String {
    let target = error.target.as_ref();
    // 0: an escaped address may be longer than the limit for addresses.
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
