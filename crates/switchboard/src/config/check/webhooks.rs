//! Validates the settings of the webhooks.

use std::net::IpAddr;

use axum::http::Uri;
use switchboard_auth::{AuthenticatorKind, webhook::AccessEvent};

use super::{Reason, Validator};

impl Validator<'_> {
    pub(super) fn webhooks(&mut self) {
        let access = &self.config.access;
        let authenticates = access.authenticators.contains(&AuthenticatorKind::Webhook);
        if authenticates && access.webhook.url.is_empty() {
            self.report_pair(
                ["access.webhook.url", "access.authenticators"],
                "must be set with",
                "no web service could authenticate clients",
            );
        } else if authenticates && !access.webhook.has(AccessEvent::Connect) {
            self.report_pair(
                ["access.webhook.events", "access.authenticators"],
                "must contain \"connect\" with",
                "no web service could authenticate clients",
            );
        }
        if !access.webhook.url.is_empty() && access.webhook.secret.is_empty() {
            let keys = ["access.webhook.secret", "access.webhook.url"];
            let why = "the web service could not verify that the requests come from this server";
            self.report_pair(keys, "must be set with", why);
        }
    }

    /// Reports authenticators behind the webhook, which decides about every client.
    pub(super) fn authenticators_after_webhook(&mut self) {
        let authenticators = &self.config.access.authenticators;
        let webhook = AuthenticatorKind::Webhook;
        let position = authenticators.iter().position(|kind| *kind == webhook);
        if position.is_some_and(|position| position + 1 < authenticators.len()) {
            let problem = "the authenticators after \"webhook\" are never asked: it decides about every client";
            self.report_together(&["access.authenticators"], problem);
        }
    }

    /// Reports webhooks to which other machines can read and change the requests and decisions.
    pub(super) fn webhooks_without_tls(&mut self) {
        if is_plain_and_remote(&self.config.access.webhook.url) {
            let message = "the requests are not encrypted, and contain tokens and names of users: use https://";
            self.report(&["access.webhook.url"], Reason::Disclosure(message));
        }
    }
}

/// Whether requests to this URL go to another machine without TLS.
fn is_plain_and_remote(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_local = match address {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    };
    uri.scheme_str() == Some("http") && !is_local
}
