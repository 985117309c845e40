//! The admin API of this node: its implementation of [`AdminHost`], the record of events, the key, and the calls of
//! other nodes.

mod host;
mod key;
mod node_calls;
mod recorder;

use std::sync::{Arc, OnceLock};

use axum::Router;
use switchboard_admin::{AdminContext, AdminService, EventLog};
use switchboard_voice::{NodeSecret, VoiceBackend};

pub use key::{AdminKey, AdminKeyError};
pub(crate) use node_calls::PATH as NODE_CALLS_PATH;

use crate::app_state::AppState;
use host::NodeAdmin;

/// The admin API of this node.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    service: AdminService,
    secret: Secret,
    /// Set when the events of the node are recorded.
    started: Arc<OnceLock<()>>,
    app: Arc<AppState>,
}

/// Returns the node secret.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) NodeSecret);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

impl Admin {
    pub(crate) fn new(
        app: &Arc<AppState>,
        voice: Option<VoiceBackend>,
        key: Option<AdminKey>,
    ) -> Self {
        let shards = app.shards.clone();
        let secret = Secret(Arc::new(move || shards.status()?.secret));
        let host = NodeAdmin::new(app.clone(), voice, key, secret.clone());
        let context = AdminContext {
            host: Arc::new(host),
            bans: app.rules.bans.clone(),
            events: Arc::new(EventLog::new(rand::random())),
            drain: app.context.drain.clone(),
        };
        Self {
            service: AdminService::new(context),
            secret,
            started: Arc::default(),
            app: app.clone(),
        }
    }

    /// Adds the routes of the API to the router of the internal listener. From the first call on, the events of the
    /// node are recorded.
    pub(crate) fn add_routes(&self, router: Router) -> Router {
        self.started.get_or_init(|| {
            let recording = recorder::record(self.app.clone(), self.service.clone());
            if tokio::runtime::Handle::try_current().is_ok() {
                self.app.tasks.spawn(recording);
            }
        });
        switchboard_admin::routes(router, &self.service)
    }

    /// Adds the path at which other nodes of the cluster call this one. On a server without a cluster there is none.
    pub(crate) fn add_node_routes<S>(&self, router: Router<S>) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        match self.app.url {
            None => router,
            Some(_) => node_calls::routes(router, self.clone()),
        }
    }

    /// Exchanges bans and locks with the other nodes, in a cluster.
    pub(crate) fn start_sync(&self) {
        if self.app.url.is_some() {
            self.app.tasks.spawn(self.service.clone().keep_in_sync());
        }
    }
}
