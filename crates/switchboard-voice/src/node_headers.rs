//! The headers of a request that one node forwards to another.

use axum::http::HeaderName;

/// Header that authenticates a request as forwarded by another node. Removed from every received request.
pub(crate) const NODE_SECRET: HeaderName = HeaderName::from_static("x-switchboard-node-secret");

/// Header with the format version of a forwarded request: [`FORWARD_FORMAT`] of the node that forwards it.
pub(crate) const FORMAT: HeaderName = HeaderName::from_static("x-switchboard-node-format");

/// The format version of forwarded requests: the headers of this file and their meaning. A request without [`FORMAT`] has
/// version 1. A node refuses a request of another version.
pub(crate) const FORWARD_FORMAT: &str = "1";

/// Header with the client's address, set by the node that forwards the request.
pub(crate) const CLIENT: HeaderName = HeaderName::from_static("x-switchboard-client");
