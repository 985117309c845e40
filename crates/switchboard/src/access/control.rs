//! The configured authenticators, and the checks of grants in HTTP requests.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::OriginalUri,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use switchboard_auth::{
    AccessConfig, AuthError, AuthServices, AuthenticatorChain, CredentialError, Credentials,
    Principal,
};
use switchboard_core::{Grants, Power, RoomName};
use switchboard_session::CredentialFrames;
use thiserror::Error;

use crate::{access::OwnPlaces, app_state::unix_secs};

/// Authenticates clients by the settings of the section `access`. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct AccessControl {
    chain: AuthenticatorChain,
    cookie: Arc<str>,
    is_open: bool,
    services: AuthServices,
}

/// The client of a request, as the authenticators know it.
#[derive(Debug)]
pub(crate) struct Authenticated {
    pub(crate) principal: Principal,
    /// The frames in which credentials are read.
    pub(crate) frames: CredentialFrames,
}

/// The reason why a client is not authenticated.
#[derive(Debug, Error)]
pub(crate) enum AccessError {
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error(transparent)]
    Authentication(#[from] AuthError),
}

/// A request whose client is not authenticated.
#[derive(Debug)]
pub(crate) struct UnauthenticatedRequest {
    pub(crate) error: AccessError,
    /// Whether the client has presented a wrong credential.
    pub(crate) is_wrong_credential: bool,
}

impl UnauthenticatedRequest {
    /// The refusal of these credentials.
    pub(crate) fn new(error: AuthError, credentials: &Credentials) -> Self {
        Self {
            is_wrong_credential: error.is_wrong_credential(credentials),
            error: error.into(),
        }
    }
}

impl From<CredentialError> for UnauthenticatedRequest {
    fn from(error: CredentialError) -> Self {
        Self {
            error: error.into(),
            is_wrong_credential: false,
        }
    }
}

impl AccessControl {
    pub(crate) fn new(config: &AccessConfig, services: &AuthServices) -> Self {
        let chain = config.chain(services);
        chain.prepare(unix_secs());
        Self {
            chain,
            cookie: (&*config.cookie).into(),
            is_open: config.is_open(),
            services: services.clone(),
        }
    }

    /// Access control by new settings, with the services of this one.
    pub(crate) fn with_settings(&self, config: &AccessConfig) -> Self {
        Self::new(config, &self.services)
    }

    /// Authenticates the client of a request.
    pub(crate) async fn authenticate(
        &self,
        request: &Parts,
        address: Option<IpAddr>,
        places: OwnPlaces<'_>,
    ) -> Result<Authenticated, UnauthenticatedRequest> {
        let mut credentials = self.credentials(request, address)?;
        credentials.own_parameters.extend(places.parameter);
        if let Some(text) = places.credential.filter(|_| !self.is_open) {
            credentials.add_of_dialect(text)?;
        }
        let may_follow = places.in_first_frame && !self.is_open && credentials.token.is_none();
        let frames = match may_follow {
            true => CredentialFrames::FirstFrame,
            false if self.is_open => CredentialFrames::None,
            false => CredentialFrames::Renewals,
        };
        match self.check(&credentials).await {
            Ok(principal) => Ok(Authenticated { principal, frames }),
            Err(AuthError::Missing | AuthError::Denied(_)) if may_follow => Ok(Authenticated {
                principal: Principal::anonymous(Grants::none()),
                frames: CredentialFrames::RequiredFirstFrame,
            }),
            // The answer needs no authentication, whatever a webhook says about a client without a token.
            Err(_) if places.is_public && credentials.token.is_none() => Ok(Authenticated {
                principal: Principal::anonymous(Grants::none()),
                frames,
            }),
            Err(error) => Err(UnauthenticatedRequest::new(error, &credentials)),
        }
    }

    /// Asks the authenticators about these credentials, of a request or a frame.
    pub(crate) async fn check(&self, credentials: &Credentials) -> Result<Principal, AuthError> {
        self.chain.authenticate(credentials, unix_secs()).await
    }

    /// The credentials of a request. Without an authenticator that reads them they are empty: a request of a client
    /// of an original server has parameters that look like tokens and are none.
    pub(crate) fn credentials(
        &self,
        request: &Parts,
        address: Option<IpAddr>,
    ) -> Result<Credentials, CredentialError> {
        if self.is_open {
            return Ok(Credentials::default());
        }
        let original = request.extensions.get::<OriginalUri>();
        let uri = original.map_or(&request.uri, |original| &original.0);
        let headers = &request.headers;
        let mut credentials = Credentials::of_request(uri, headers, address, &self.cookie)?;
        credentials.is_voice = switchboard_voice::is_reserved_path(request.uri.path());
        if credentials.is_voice {
            credentials
                .own_parameters
                .extend(switchboard_voice::TOKEN_PARAMETERS);
        }
        Ok(credentials)
    }
}

impl IntoResponse for AccessError {
    fn into_response(self) -> Response {
        let text = format!("{}\n", sentence(&self));
        match self {
            Self::Credential(_) => (StatusCode::BAD_REQUEST, text).into_response(),
            Self::Authentication(AuthError::Missing) => challenge("Bearer", text),
            Self::Authentication(AuthError::Invalid(_) | AuthError::Expired) => {
                challenge("Bearer error=\"invalid_token\"", text)
            }
            Self::Authentication(AuthError::Denied(Some(text))) => {
                (StatusCode::FORBIDDEN, format!("{text}\n")).into_response()
            }
            Self::Authentication(AuthError::Denied(None)) => {
                (StatusCode::FORBIDDEN, text).into_response()
            }
            Self::Authentication(AuthError::Unavailable) => {
                let retry = [(header::RETRY_AFTER, HeaderValue::from_static("5"))];
                (StatusCode::SERVICE_UNAVAILABLE, retry, text).into_response()
            }
        }
    }
}

/// A response with status 401 (RFC 6750, section 3).
fn challenge(value: &'static str, text: String) -> Response {
    let header = [(header::WWW_AUTHENTICATE, HeaderValue::from_static(value))];
    (StatusCode::UNAUTHORIZED, header, text).into_response()
}

/// The text of an error as a sentence.
pub(crate) fn sentence(error: &AccessError) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

/// Checks that the client of a request has a power in a room.
///
/// # Errors
/// The response with status 403 if it has not.
pub(crate) fn require(power: Power, grants: &Grants, room: &RoomName) -> Result<(), Box<Response>> {
    let place = || format!(" in the room {room:?}");
    let is_granted = grants.allows(power, room);
    is_granted
        .then_some(())
        .ok_or_else(|| missing_grant(power, &place()))
}

/// Checks that the client of a request has a power in some room.
///
/// # Errors
/// The response with status 403 if it has not.
pub(crate) fn require_somewhere(power: Power, grants: &Grants) -> Result<(), Box<Response>> {
    let is_granted = grants.has(power);
    is_granted
        .then_some(())
        .ok_or_else(|| missing_grant(power, ""))
}

fn missing_grant(power: Power, place: &str) -> Box<Response> {
    let text = format!("You do not have the grant {:?}{place}.\n", power.as_str());
    Box::new((StatusCode::FORBIDDEN, text).into_response())
}
