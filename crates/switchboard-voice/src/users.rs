//! Requests about the identity of the caller: tickets, tokens, keys and display names.

use axum::response::IntoResponse;

use crate::{
    answer::{VoiceError, VoiceResult, json},
    clock, display_names, identity,
    keys::{KEY_EXCHANGE_MESSAGE, PublicKey, verify},
    parameters::RequestParameters,
    service::VoiceService,
};

impl VoiceService {
    /// `/getCallTicket`: issues a ticket, a challenge for the key to sign.
    pub(crate) fn ticket(&self, params: &RequestParameters) -> VoiceResult {
        let keys = self.identity.keys()?;
        let key = identity::key(params)?;
        Ok(keys.tickets.issue(&key, clock::now()).into_response())
    }

    /// `/tokenCheck`: returns the number of the token's user.
    pub(crate) async fn token_check(&self, params: &RequestParameters) -> VoiceResult {
        self.identity.site()?;
        let caller = self.identify(params).await?;
        Ok(caller.user.to_string().into_response())
    }

    /// `/keyXCHG`: returns the server's key to a client that proves possession of its own.
    pub(crate) fn key_exchange(&self, params: &RequestParameters) -> VoiceResult {
        self.identity.keys()?;
        let key = params.text("pubkey").and_then(PublicKey::parse);
        let key = key.ok_or(VoiceError::bad(
            "`pubkey` must be a compressed P-256 key in hex (66 digits).",
        ))?;
        if !verify(
            &key,
            KEY_EXCHANGE_MESSAGE,
            params.text("sign").unwrap_or_default(),
        ) {
            return Err(VoiceError::forbidden(
                "`sign` is not a signature of `pubkey` over the bytes 01 01 02 ... 0a.",
            ));
        }
        let own = self.server_key.public_hex_uncompressed();
        Ok(json(format!("{{\"pubkey\" : \"{own}\"}}")))
    }

    /// `/voice/name`: sets the display name of a key, for as long as the key has an event stream open.
    pub(crate) async fn set_display_name(&self, params: &RequestParameters) -> VoiceResult {
        self.identity.keys()?;
        let caller = self.authenticate(params).await?;
        let name = display_names::parse(params.text("name").unwrap_or_default())?;
        let kept = name
            .as_ref()
            .map_or(String::new(), |name| name.as_str().to_owned());
        if !self.state.set_display_name(&caller.user, name) {
            return Err(VoiceError::not_found(
                "A display name needs an open event stream: open /messages first.",
            ));
        }
        Ok(kept.into_response())
    }
}
