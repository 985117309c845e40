//! Validation of the settings of access control.

use super::Validator;

impl Validator<'_> {
    pub(super) fn access(&mut self) {
        let access = &self.config.access;
        // A browser sends the cookie with the requests of every page.
        if !access.cookie.is_empty() && self.config.allows_every_origin() {
            self.report_pair(
                ["access.allowed_origins", "access.cookie"],
                "must list origins without \"*\" with",
                "a page of any other site could act for the user whose browser has the cookie",
            );
        }
    }
}
