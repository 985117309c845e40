//! The headers of a request that one node forwards to another.

use axum::http::HeaderName;

/// Header that authenticates a request as forwarded by another node. Removed from every received request.
pub(crate) const NODE_SECRET: HeaderName = HeaderName::from_static("x-switchboard-node-secret");

/// Header with the client's address, set by the node that forwards the request.
pub(crate) const CLIENT: HeaderName = HeaderName::from_static("x-switchboard-client");
