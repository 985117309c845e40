//! The headers of a request that one node forwards to another.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use p256::elliptic_curve::subtle::ConstantTimeEq as _;

/// Header that authenticates a request as forwarded by another node. Removed from every received request.
pub(crate) const NODE_SECRET: HeaderName = HeaderName::from_static("x-switchboard-node-secret");

/// Header with the format version of a forwarded request: [`FORWARD_FORMAT`] of the node that forwards it.
pub(crate) const FORMAT: HeaderName = HeaderName::from_static("x-switchboard-node-format");

/// The format version of forwarded requests: the headers of this file and their meaning. A node refuses a request of
/// another version.
pub(crate) const FORWARD_FORMAT: &str = "2";

/// The version of a request without [`FORMAT`].
pub(crate) const FIRST_FORMAT: HeaderValue = HeaderValue::from_static("1");

/// Header with the access of the client, set by the node that forwards the request.
pub(crate) const ACCESS: HeaderName = HeaderName::from_static("x-switchboard-access");

/// Header with the client's address, set by the node that forwards the request.
pub(crate) const CLIENT: HeaderName = HeaderName::from_static("x-switchboard-client");

/// Whether a request has the node secret: it was forwarded by a node that has checked the client. `secret` is called only
/// if the request has one.
#[must_use]
pub fn is_from_node(headers: &HeaderMap, secret: impl FnOnce() -> Option<String>) -> bool {
    let Some(presented) = headers.get(NODE_SECRET) else {
        return false;
    };
    secret().is_some_and(|secret| presented.as_bytes().ct_eq(secret.as_bytes()).into())
}
