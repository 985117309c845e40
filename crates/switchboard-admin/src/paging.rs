//! Pages of sorted lists that several nodes have parts of.
//!
//! Each node returns its first entries after the cursor, one more than a page has. The first entries of all together are
//! the page, so a list may change between two pages without a gap or a repetition of what did not change.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ipnet::IpNet;

use crate::{
    error::ApiError,
    requests::{RoomQuery, SessionQuery, network},
    types::{RoomRef, RoomSummary, SessionSummary},
};

/// The opaque cursor after a room.
pub(crate) fn room_cursor(room: &RoomRef) -> String {
    // A struct of texts is always JSON.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(room).unwrap_or_default())
}

fn parse_room_cursor(cursor: &str) -> Result<RoomRef, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    let room = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    room.ok_or_else(|| ApiError::bad_request("`cursor` is not the `next` of a page"))
}

/// The rooms of a query in this list, and whether there are more. `rooms` need not be sorted; a room that is twice in
/// it is once in the page, with the larger number of members.
pub(crate) fn page_of_rooms(
    mut rooms: Vec<RoomSummary>,
    query: &RoomQuery,
    limit: usize,
) -> Result<(Vec<RoomSummary>, Option<String>), ApiError> {
    let after = query.cursor.as_deref().map(parse_room_cursor).transpose()?;
    let prefix = query.prefix.as_deref().unwrap_or_default();
    rooms.retain(|it| {
        let is_after = after.as_ref().is_none_or(|after| it.room > *after);
        is_after && it.room.name.starts_with(prefix)
    });
    rooms.sort_by(|a, b| a.room.cmp(&b.room).then(b.members.cmp(&a.members)));
    rooms.dedup_by(|later, earlier| later.room == earlier.room);
    let next = cut(&mut rooms, limit, |last| room_cursor(&last.room));
    Ok((rooms, next))
}

/// The sessions of a query in this list, and the cursor of the next page.
pub(crate) fn page_of_sessions(
    mut sessions: Vec<SessionSummary>,
    query: &SessionQuery,
    limit: usize,
) -> Result<(Vec<SessionSummary>, Option<String>), ApiError> {
    let net = query.address.as_deref().map(network).transpose()?;
    let is_wanted = |filter: &Option<String>, value: Option<&str>| {
        filter.as_deref().is_none_or(|wanted| value == Some(wanted))
    };
    sessions.retain(|it| {
        let is_after = query.cursor.as_ref().is_none_or(|after| it.id > *after);
        let is_in = net.is_none_or(|net| is_within(it.address.as_deref(), net));
        is_after
            && is_in
            && is_wanted(&query.identity, it.identity.as_deref())
            && is_wanted(&query.dialect, Some(&it.dialect))
    });
    sessions.sort_by(|a, b| a.id.cmp(&b.id));
    let next = cut(&mut sessions, limit, |last| last.id.clone());
    Ok((sessions, next))
}

/// Whether an address is in a network.
pub(crate) fn is_within(address: Option<&str>, net: IpNet) -> bool {
    let address = address.and_then(|text| text.parse::<std::net::IpAddr>().ok());
    address.is_some_and(|address| net.contains(&address.to_canonical()))
}

/// Cuts a list to a page. Returns the cursor of the next one.
fn cut<T>(list: &mut Vec<T>, limit: usize, cursor: impl FnOnce(&T) -> String) -> Option<String> {
    let has_more = list.len() > limit;
    list.truncate(limit);
    list.last().filter(|_| has_more).map(cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str, members: usize) -> RoomSummary {
        RoomSummary {
            room: RoomRef {
                space: String::new(),
                name: name.to_owned(),
                dialect: None,
            },
            members,
            locked: None,
        }
    }

    #[test]
    fn pages_of_several_nodes_have_each_room_once() {
        let names = ["d", "a", "c", "b", "a", "x"];
        let rooms = || {
            names
                .iter()
                .enumerate()
                .map(|(n, name)| room(name, n))
                .collect()
        };
        let mut query = RoomQuery::default();
        let mut all = Vec::new();
        loop {
            let (page, next) = page_of_rooms(rooms(), &query, 2).expect("a page");
            assert!(page.len() <= 2);
            all.extend(page.into_iter().map(|it| (it.room.name, it.members)));
            query.cursor = next;
            if query.cursor.is_none() {
                break;
            }
        }
        let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d", "x"]);
        assert_eq!(all[0].1, 4, "the larger number of members");
        let query = RoomQuery {
            prefix: Some("x".to_owned()),
            ..RoomQuery::default()
        };
        assert_eq!(
            page_of_rooms(rooms(), &query, 2).expect("a page").0.len(),
            1
        );
        let bad = RoomQuery {
            cursor: Some("!".to_owned()),
            ..RoomQuery::default()
        };
        assert!(page_of_rooms(rooms(), &bad, 2).is_err());
    }

    #[test]
    fn sessions_are_filtered() {
        let session = |id: &str, address: Option<&str>, identity: Option<&str>| SessionSummary {
            id: id.to_owned(),
            node: "n".to_owned(),
            address: address.map(str::to_owned),
            dialect: "p2p".to_owned(),
            identity: identity.map(str::to_owned),
            rooms: Vec::new(),
            since_ms: 0,
            queued_bytes: 0,
        };
        let ids = |query: &SessionQuery| {
            let sessions = vec![
                session("3", None, Some("ada")),
                session("1", Some("2001:db8::5"), Some("ada")),
                session("2", Some("192.0.2.1"), None),
            ];
            let (page, _) = page_of_sessions(sessions, query, 9).expect("a page");
            page.into_iter()
                .map(|it| it.id)
                .collect::<Vec<_>>()
                .join("")
        };
        let text = |text: &str| Some(text.to_owned());
        let all = SessionQuery::default();
        assert_eq!(ids(&all), "123");
        assert_eq!(
            ids(&SessionQuery {
                identity: text("ada"),
                ..all.clone()
            }),
            "13"
        );
        assert_eq!(
            ids(&SessionQuery {
                address: text("2001:db8::/64"),
                ..all.clone()
            }),
            "1"
        );
        assert_eq!(
            ids(&SessionQuery {
                dialect: text("mesh"),
                ..all.clone()
            }),
            ""
        );
        assert_eq!(
            ids(&SessionQuery {
                cursor: text("1"),
                ..all
            }),
            "23"
        );
    }
}
