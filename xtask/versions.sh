# Sourced by the scripts that install or run an original server.

# The version of the original matchbox server. The clients in compat/matchbox/Cargo.toml have the same version.
MATCHBOX=0.15.0
# The folder of its release build, for `cargo xtask bench-report`. A new version has a new folder.
MATCHBOX_RELEASE=${CARGO_TARGET_DIR:-target}/originals/matchbox_server-$MATCHBOX
