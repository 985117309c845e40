//! Requests of voice that cost the server or a website much, bounded per address.

use std::{net::IpAddr, time::Instant};

use axum::{body::Body, http::StatusCode, http::request::Parts};

use super::{Answer, Endpoint, Guest, Identity, Refusal, Voice};
use crate::server::too_often;

/// What a request counts for in the rate of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Price {
    Free,
    /// One, if the answer is 403: a wrong signature costs several verifications.
    OneIfForbidden,
    One,
}

impl Voice {
    /// Does what an admitted request asks, unless its address has asked for too much.
    pub(super) async fn attend_within_rate(
        self: &std::sync::Arc<Self>,
        endpoint: Endpoint,
        guest: Guest,
        parts: Parts,
        body: Body,
    ) -> Answer {
        let (address, price) = (guest.address, self.price(endpoint));
        if price != Price::Free {
            self.charge(address)?;
        }
        let answer = self.attend(endpoint, guest, parts, body).await;
        let is_forbidden = || answer.as_ref().is_err_and(is_forbidden);
        if price == Price::OneIfForbidden && !is_forbidden() {
            self.rates.refund(address, Instant::now());
        }
        answer
    }

    fn charge(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        let charged = self.rates.try_charge(address, Instant::now());
        charged.map_err(|wait| Refusal::from(too_often(wait)))
    }

    fn price(&self, endpoint: Endpoint) -> Price {
        let proven = match &self.identity {
            Identity::Keys(_) => Price::OneIfForbidden,
            // The website is asked who it is, and whether it may.
            Identity::Site(_) => Price::One,
        };
        match endpoint {
            Endpoint::Messages => Price::One,
            Endpoint::TokenCheck
            | Endpoint::KeyExchange
            | Endpoint::NewCall
            | Endpoint::Answer
            | Endpoint::Answer2
            | Endpoint::Accept
            | Endpoint::Reject
            | Endpoint::HangUp
            | Endpoint::Up(_)
            | Endpoint::Join(_) => proven,
            Endpoint::Ticket | Endpoint::ListRooms | Endpoint::ListMembers | Endpoint::Mode => {
                Price::Free
            }
        }
    }
}

fn is_forbidden(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Words(status, _) => *status == StatusCode::FORBIDDEN,
        Refusal::Ready(response) => response.status() == StatusCode::FORBIDDEN,
    }
}
