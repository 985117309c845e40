//! Webhooks: requests to web services of the operator.

mod access;
mod client;
mod config;
mod dialects;
mod gate;

pub(crate) use access::AccessWebhooks;
pub(crate) use client::WebhookMetrics;
pub use config::{EventKind, WebhooksConfig};
pub(crate) use dialects::DialectWebhooks;
