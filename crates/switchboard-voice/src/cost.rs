//! Per-address rate limits of voice requests that are expensive for the server or the website.

use std::{net::IpAddr, sync::Arc};

use axum::{
    body::Body,
    http::{StatusCode, request::Parts},
};
use hyper::body::Body as _;
use switchboard_transport::AddressRates;

use crate::{
    answer::{VoiceError, VoiceResult},
    clock,
    endpoint::VoiceEndpoint,
    host::AdmittedRequest,
    identity::IdentityProvider,
    service::VoiceService,
};

/// The cost of a request, charged to the rate limit of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestCost {
    /// Not limited.
    Free,
    /// Charged only if the response is 403, because the server verifies a wrong signature several times.
    OneIfForbidden,
    /// Always charged.
    One,
    /// Proportional to the length of the response; a short one is free.
    ByLength,
}

impl VoiceService {
    /// Serves an admitted request, or responds with 429 if its address exceeds its rate.
    pub(crate) async fn dispatch_within_rate(
        self: &Arc<Self>,
        endpoint: VoiceEndpoint,
        admitted: AdmittedRequest,
        parts: Parts,
        body: Body,
    ) -> VoiceResult {
        let (address, cost) = (admitted.address, self.cost(endpoint));
        if cost != RequestCost::Free {
            self.charge(address)?;
        }
        let answer = self.dispatch(endpoint, admitted, parts, body).await;
        let now = clock::now();
        match cost {
            RequestCost::Free | RequestCost::One => {}
            RequestCost::OneIfForbidden => {
                if !answer.as_ref().is_err_and(is_forbidden) {
                    self.host.rates().refund(address, now);
                }
            }
            RequestCost::ByLength => {
                self.host.rates().refund(address, now);
                self.host
                    .rates()
                    .charge_more(address, cost_of_length(&answer), now);
            }
        }
        answer
    }

    fn charge(&self, address: Option<IpAddr>) -> Result<(), VoiceError> {
        let charged = self.host.rates().try_charge(address, clock::now());
        charged.map_err(|wait| VoiceError::from(self.host.rate_limit_response(wait)))
    }

    fn cost(&self, endpoint: VoiceEndpoint) -> RequestCost {
        let authenticated = match &self.identity {
            IdentityProvider::Keys(_) => RequestCost::OneIfForbidden,
            // Each request makes the website check the user and its access.
            IdentityProvider::Site(_) => RequestCost::One,
        };
        match endpoint {
            // Issuing a ticket may evict a ticket of another key.
            VoiceEndpoint::Messages | VoiceEndpoint::Ticket => RequestCost::One,
            VoiceEndpoint::TokenCheck
            | VoiceEndpoint::KeyExchange
            | VoiceEndpoint::NewCall
            | VoiceEndpoint::Answer
            | VoiceEndpoint::Answer2
            | VoiceEndpoint::Accept
            | VoiceEndpoint::Reject
            | VoiceEndpoint::HangUp
            | VoiceEndpoint::DisplayName
            | VoiceEndpoint::Publish(_)
            | VoiceEndpoint::Subscribe(_) => authenticated,
            VoiceEndpoint::ListRooms | VoiceEndpoint::ListMembers => RequestCost::ByLength,
            VoiceEndpoint::Mode => RequestCost::Free,
        }
    }
}

fn cost_of_length(answer: &VoiceResult) -> u32 {
    let length = answer
        .as_ref()
        .ok()
        .and_then(|response| response.body().size_hint().exact());
    AddressRates::cost_of_list(length.unwrap_or_default())
}

fn is_forbidden(error: &VoiceError) -> bool {
    match error {
        VoiceError::Message(status, _) => *status == StatusCode::FORBIDDEN,
        VoiceError::Response(response) => response.status() == StatusCode::FORBIDDEN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::json;

    #[test]
    fn list_is_charged_by_its_length_and_an_error_is_free() {
        for (bytes, cost) in [(0, 0), (65_535, 0), (65_536, 1), (200_000, 3)] {
            assert_eq!(cost_of_length(&Ok(json("x".repeat(bytes)))), cost);
        }
        assert_eq!(cost_of_length(&Err(VoiceError::bad("no"))), 0);
    }
}
