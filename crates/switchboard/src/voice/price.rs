//! Requests of voice that cost the server or a website much, bounded per address.

use std::{net::IpAddr, sync::Arc, time::Instant};

use axum::{
    body::Body,
    http::{StatusCode, request::Parts},
};
use hyper::body::Body as _;

use super::{Answer, Endpoint, Guest, Identity, Refusal, Voice};
use crate::server::{LIST_BYTES_PER_REQUEST, too_often};

/// The price of a request in the rate of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Price {
    Free,
    /// One, if the answer is 403: a wrong signature costs several verifications.
    OneIfForbidden,
    One,
    /// As much as the answer is long; a short one is free.
    ByLength,
}

impl Voice {
    /// Serves an admitted request, or answers 429 if its address is over its rate.
    pub(super) async fn attend_within_rate(
        self: &Arc<Self>,
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
        let now = Instant::now();
        match price {
            Price::Free | Price::One => {}
            Price::OneIfForbidden => {
                if !answer.as_ref().is_err_and(is_forbidden) {
                    self.rates.refund(address, now);
                }
            }
            Price::ByLength => {
                self.rates.refund(address, now);
                self.rates
                    .charge_more(address, price_of_length(&answer), now);
            }
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
            // The website is asked about the user and its access.
            Identity::Site(_) => Price::One,
        };
        match endpoint {
            // A ticket that is given out may push one out that was given to another key.
            Endpoint::Messages | Endpoint::Ticket => Price::One,
            Endpoint::TokenCheck
            | Endpoint::KeyExchange
            | Endpoint::NewCall
            | Endpoint::Answer
            | Endpoint::Answer2
            | Endpoint::Accept
            | Endpoint::Reject
            | Endpoint::HangUp
            | Endpoint::DisplayName
            | Endpoint::Up(_)
            | Endpoint::Join(_) => proven,
            Endpoint::ListRooms | Endpoint::ListMembers => Price::ByLength,
            Endpoint::Mode => Price::Free,
        }
    }
}

fn price_of_length(answer: &Answer) -> u32 {
    let length = answer
        .as_ref()
        .ok()
        .and_then(|response| response.body().size_hint().exact());
    u32::try_from(length.unwrap_or_default() / LIST_BYTES_PER_REQUEST).unwrap_or(u32::MAX)
}

fn is_forbidden(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Words(status, _) => *status == StatusCode::FORBIDDEN,
        Refusal::Ready(response) => response.status() == StatusCode::FORBIDDEN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voice::json;

    #[test]
    fn a_list_is_priced_by_its_length_and_a_refusal_is_free() {
        for (bytes, price) in [(0, 0), (65_535, 0), (65_536, 1), (200_000, 3)] {
            assert_eq!(price_of_length(&Ok(json("x".repeat(bytes)))), price);
        }
        assert_eq!(price_of_length(&Err(Refusal::bad("no"))), 0);
    }
}
