//! The options of the command line.

use std::path::PathBuf;

use crate::failure::{Failure, Result};

pub(crate) const USAGE: &str = "\
Real matchbox clients (the crate matchbox_socket) against a signaling server.

    matchbox-compat [--original PATH] [--switchboard PATH]
    matchbox-compat URL...

    --original PATH       start this program, matchbox_server, and test it
    --switchboard PATH    start this program, switchboard, and test it at both of its addresses
    URL                   test a server that runs already: ws://HOST:PORT, with a path if its rooms have one before them

The servers that it starts, and their clients, have a network of their own, out of which nothing leads.
It prints a line for each scenario, in the form of TAP, and exits with 0 when all of them held.
";

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) original: Option<PathBuf>,
    pub(crate) switchboard: Option<PathBuf>,
    pub(crate) urls: Vec<String>,
}

impl Options {
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--original" => options.original = Some(path(&argument, arguments.next())?),
                "--switchboard" => options.switchboard = Some(path(&argument, arguments.next())?),
                url if url.starts_with("ws://") => {
                    options.urls.push(url.trim_end_matches('/').to_owned());
                }
                _ => return Err(unknown(&argument)),
            }
        }
        options.is_possible().map(|()| options)
    }

    /// Whether it is to start servers of its own.
    pub(crate) fn starts_servers(&self) -> bool {
        self.original.is_some() || self.switchboard.is_some()
    }

    fn is_possible(&self) -> Result<()> {
        match (self.starts_servers(), self.urls.is_empty()) {
            (true, true) | (false, false) => Ok(()),
            (false, true) => Err(Failure::new(format!("what is to be tested?\n\n{USAGE}"))),
            (true, false) => Err(Failure::new(
                "a server at a URL cannot be reached from the network of those that are started here: \
                 test it in a run of its own",
            )),
        }
    }
}

fn path(flag: &str, value: Option<String>) -> Result<PathBuf> {
    let path = PathBuf::from(value.ok_or_else(|| Failure::new(format!("{flag} wants a path")))?);
    // A server is started in no folder in particular.
    let path = path.canonicalize();
    path.map_err(|error| Failure::new(format!("{flag}: {error}")))
}

fn unknown(argument: &str) -> Failure {
    Failure::new(format!("`{argument}` means nothing here\n\n{USAGE}"))
}
