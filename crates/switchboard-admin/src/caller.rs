//! The principal of an admin call, and the check of its grants. A call that a node forwards carries the caller, so that
//! the acting node checks the grants again.

use serde::{Deserialize, Serialize};
use switchboard_core::{GrantError, Grants, Power};

use crate::{
    error::{ApiError, ApiErrorCode},
    types::RoomRef,
};

/// The principal of an admin call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminCaller {
    /// The name under which the authenticator knows it.
    pub subject: String,
    /// The namespace of its rooms. A moderator acts in this namespace only.
    pub space: String,
    /// The texts of its grants.
    pub grants: Vec<String>,
}

/// The grants that a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need<'a> {
    /// The power `admin` in all rooms.
    Admin,
    /// The power `admin`, or `moderate` in this room.
    Moderate(&'a RoomRef),
}

impl AdminCaller {
    /// This node itself, for what it asks the other nodes on its own account.
    pub(crate) fn node() -> Self {
        Self {
            subject: "node".to_owned(),
            space: String::new(),
            grants: vec![Power::Admin.as_str().to_owned()],
        }
    }

    /// Whether the caller is an admin of the whole server. `admin:team-*` is not: it is as `moderate:team-*`.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.grants
            .iter()
            .any(|grant| grant == Power::Admin.as_str())
    }

    /// Checks the grants for a call.
    pub(crate) fn check(&self, need: Need<'_>) -> Result<(), ApiError> {
        let is_granted = match need {
            Need::Admin => self.is_admin(),
            Need::Moderate(room) => self.is_admin() || self.moderates(room).unwrap_or(false),
        };
        is_granted.then_some(()).ok_or_else(|| {
            let text = match need {
                Need::Admin => "this token does not grant \"admin\"".to_owned(),
                Need::Moderate(room) => {
                    format!(
                        "this token does not grant \"moderate\" in the room {:?}",
                        room.name
                    )
                }
            };
            ApiError::new(ApiErrorCode::Forbidden, text)
        })
    }

    fn moderates(&self, room: &RoomRef) -> Result<bool, GrantError> {
        let grants = Grants::parse(&self.grants)?;
        let Some(id) = room.to_room_id().filter(|_| room.space == self.space) else {
            return Ok(false);
        };
        let has = |power| grants.allows(power, &id.name);
        Ok(has(Power::Moderate) || has(Power::Admin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(grants: &[&str]) -> AdminCaller {
        AdminCaller {
            subject: "ops".to_owned(),
            space: String::new(),
            grants: grants.iter().map(|grant| (*grant).to_owned()).collect(),
        }
    }

    fn room(space: &str, name: &str) -> RoomRef {
        RoomRef {
            space: space.to_owned(),
            name: name.to_owned(),
            dialect: None,
        }
    }

    #[test]
    fn admin_may_do_everything_and_a_participant_nothing() {
        let admin = caller(&["admin"]);
        assert_eq!(admin.check(Need::Admin), Ok(()));
        assert_eq!(admin.check(Need::Moderate(&room("x", "y"))), Ok(()));
        for grants in [&["*"][..], &[], &["moderate"], &["admin:team-*"]] {
            let refused = caller(grants).check(Need::Admin).expect_err("no admin");
            assert_eq!(refused.code, ApiErrorCode::Forbidden);
        }
    }

    #[test]
    fn moderator_acts_in_rooms_of_the_pattern_and_of_its_space_only() {
        for grant in ["moderate:team-*", "admin:team-*"] {
            let moderator = caller(&[grant]);
            assert_eq!(moderator.check(Need::Moderate(&room("", "team-a"))), Ok(()));
            for other in [room("", "lobby"), room("x", "team-a"), room("", "")] {
                assert!(moderator.check(Need::Moderate(&other)).is_err());
            }
        }
        assert!(
            caller(&["nonsense"])
                .check(Need::Moderate(&room("", "a")))
                .is_err()
        );
    }
}
