//! The scripts that run inside Redis, each in one atomic step.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Nodes,
    Read,
    Change,
    Sync,
    Evict,
}

macro_rules! of_a_log {
    ($file:literal) => {
        concat!(include_str!("log.lua"), include_str!($file))
    };
}

impl Script {
    pub(super) const ALL: [Self; 5] = [
        Self::Nodes,
        Self::Read,
        Self::Change,
        Self::Sync,
        Self::Evict,
    ];

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Nodes => include_str!("nodes.lua"),
            Self::Read => of_a_log!("read.lua"),
            Self::Change => of_a_log!("change.lua"),
            Self::Sync => of_a_log!("sync.lua"),
            Self::Evict => of_a_log!("evict.lua"),
        }
    }
}
