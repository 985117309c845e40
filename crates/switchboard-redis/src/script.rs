//! The Lua scripts that run inside Redis, each in one atomic step.

/// A Lua script, by its purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Nodes,
    Read,
    Change,
    Sync,
    Evict,
}

macro_rules! whole {
    ($($file:literal),+) => {
        concat!(include_str!("prelude.lua"), $(include_str!($file)),+)
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
            Self::Nodes => whole!("nodes.lua"),
            Self::Read => whole!("log.lua", "read.lua"),
            Self::Change => whole!("log.lua", "change.lua"),
            Self::Sync => whole!("log.lua", "sync.lua"),
            Self::Evict => whole!("log.lua", "evict.lua"),
        }
    }
}
