//! Webhooks: requests to web services of the operator.

mod access;
mod client;
mod dialects;
mod gate;

pub(crate) use access::AccessWebhooks;
pub(crate) use client::WebhookMetrics;
pub(crate) use dialects::DialectWebhooks;
