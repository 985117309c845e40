//! The router of voice, and its service: of this node alone, or of a cluster.

use std::sync::Arc;

use axum::{Router, extract::Request, response::Response, routing::any};

use crate::{
    clustered::ClusteredVoice,
    drain_on_drop::DrainOnDrop,
    endpoint::{ENDPOINTS, VoiceEndpoint},
    host::{ClusterContext, VoiceContext},
    service::VoiceService,
    state::VoiceState,
};

/// Serves voice requests, locally or in a cluster.
#[derive(Clone, Debug)]
pub struct VoiceBackend(Backend);

#[derive(Clone, Debug)]
enum Backend {
    /// This node is the only one.
    Local(Arc<VoiceService>),
    /// One elected node of the cluster serves voice.
    Clustered(Arc<ClusteredVoice>),
}

impl VoiceBackend {
    /// Returns `None` if voice is off or its settings cannot be used; the latter logs an error. Without a cluster this
    /// node serves all voice requests itself. With a cluster, call it within a Tokio runtime.
    #[must_use]
    pub fn new(context: VoiceContext, cluster: Option<ClusterContext>) -> Option<Self> {
        let voice = VoiceService::new(context)?;
        Some(Self(match cluster {
            None => Backend::Local(voice),
            Some(cluster) => Backend::Clustered(ClusteredVoice::new(&voice, cluster)),
        }))
    }

    /// Ends all streams and calls when the server shuts down.
    pub fn end(&self) {
        match &self.0 {
            Backend::Local(voice) => voice.state.end(),
            Backend::Clustered(clustered) => clustered.end(),
        }
    }

    /// The calls and rooms of this node.
    pub(crate) fn state(&self) -> Arc<VoiceState> {
        match &self.0 {
            Backend::Local(voice) => voice.state.clone(),
            Backend::Clustered(clustered) => clustered.state(),
        }
    }

    /// Whether this node does the work of voice.
    pub(crate) fn leads(&self) -> bool {
        match &self.0 {
            Backend::Local(_) => true,
            Backend::Clustered(clustered) => clustered.leads(),
        }
    }

    /// Adds the routes of the voice endpoints to `router`.
    pub fn add_routes<S: Clone + Send + Sync + 'static>(&self, router: Router<S>) -> Router<S> {
        ENDPOINTS
            .into_iter()
            .fold(router, |router, (path, endpoint)| {
                let backend = self.clone();
                let handler = move |request: Request| async move {
                    backend.serve(endpoint, DrainOnDrop::wrap(request)).await
                };
                router.route(path, any(handler))
            })
    }

    async fn serve(self, endpoint: VoiceEndpoint, request: Request) -> Response {
        match self.0 {
            Backend::Local(voice) => voice.serve(endpoint, request).await,
            Backend::Clustered(clustered) => clustered.serve(endpoint, request).await,
        }
    }
}
