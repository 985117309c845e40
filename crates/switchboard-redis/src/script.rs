//! The Lua scripts that run inside Redis, each in one atomic step.

/// A Lua script, by its purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    /// Heartbeats, fences and removals of nodes.
    Nodes,
    /// Reads a log.
    Read,
    /// Adds or removes one member.
    Change,
    /// Makes the members of a node those that it wants.
    Sync,
    /// Removes all members of a dead node from a log.
    Evict,
}

/// The text of a script: the common prelude and these files.
macro_rules! with_prelude {
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
            Self::Nodes => with_prelude!("nodes.lua"),
            Self::Read => with_prelude!("log.lua", "read.lua"),
            Self::Change => with_prelude!("log.lua", "change.lua"),
            Self::Sync => with_prelude!("log.lua", "sync.lua"),
            Self::Evict => with_prelude!("log.lua", "evict.lua"),
        }
    }
}
