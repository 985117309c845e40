//! The errors of a run. Each names the cause and, where there is one, the setting or flag to change.

use std::{io, net::SocketAddr};

use tokio_tungstenite::tungstenite::{
    self,
    http::StatusCode,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

/// The reason for which a run, or one of its clients, failed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// An option is outside of its bounds, or does not fit the workload or the dialect.
    #[error("{option}: {problem}")]
    Option {
        /// The name of the option, as on the command line.
        option: &'static str,
        /// The value and the bound.
        problem: String,
    },
    /// The target is not an address of this machine.
    #[error(
        "{0} is not a loopback address: load on a server of others is an attack; --allow-remote permits it"
    )]
    Remote(SocketAddr),
    /// The host of the URL has no address.
    #[error("{host}: no address of this host: {source}")]
    Resolve {
        /// The host and port of the URL.
        host: String,
        /// The error of the resolver.
        source: io::Error,
    },
    /// No TCP connection to the server.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The address of the server.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The server answered the WebSocket handshake with an HTTP status.
    #[error("the server answered {path} with {status}{}", status_hint(*.status))]
    Status {
        /// The request target.
        path: String,
        /// The status of the response.
        status: StatusCode,
    },
    /// The server closed a connection.
    #[error("the server closed the connection: {0}")]
    Closed(String),
    /// The WebSocket or its connection failed.
    #[error("WebSocket: {0}")]
    WebSocket(Box<tungstenite::Error>),
    /// The server rejected a request of a client in the words of the dialect.
    #[error("the server rejected a request: {0}")]
    Rejected(String),
    /// The server did not send an expected frame in time.
    #[error(
        "no {awaited} from the server in {seconds} s: it may speak another dialect than --dialect {dialect}"
    )]
    NoAnswer {
        /// The expected frame.
        awaited: &'static str,
        /// The time limit.
        seconds: u64,
        /// The dialect of the run.
        dialect: &'static str,
    },
    /// The process of the server cannot be observed.
    #[error("--pid {pid}: {problem}")]
    Process {
        /// The process id of the server.
        pid: u32,
        /// The file or tool that failed, and its error.
        problem: String,
    },
    /// A part of the run that is independent of the server failed.
    #[error("{action}: {source}")]
    Io {
        /// The action that failed.
        action: &'static str,
        /// The error of the system.
        source: io::Error,
    },
}

impl BenchError {
    pub(crate) fn option(option: &'static str, problem: impl Into<String>) -> Self {
        let problem = problem.into();
        Self::Option { option, problem }
    }

    /// The error of a connection that the server closed.
    pub(crate) fn closed(frame: Option<&CloseFrame>) -> Self {
        let Some(frame) = frame else {
            return Self::Closed("without a close frame".into());
        };
        let (code, reason) = (u16::from(frame.code), frame.reason.as_str());
        Self::Closed(format!("{code} {reason}{}", close_hint(frame.code)))
    }

    /// The error of a WebSocket whose handshake went to `path`.
    pub(crate) fn web_socket(path: &str, error: tungstenite::Error) -> Self {
        if let tungstenite::Error::Http(response) = error {
            let (path, status) = (path.to_owned(), response.status());
            return Self::Status { path, status };
        }
        Self::WebSocket(Box::new(error))
    }
}

/// The next step after a handshake that was answered with this status.
fn status_hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => {
            ": the server may speak another dialect, or serve it at another path (--path)"
        }
        StatusCode::TOO_MANY_REQUESTS => {
            ": raise limits.connections_per_address or limits.expensive_requests_per_second of the server"
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            ": raise limits.connections of the server (for voice: room.listeners, room.sources, room.rooms)"
        }
        StatusCode::OK => ": it did not accept a WebSocket; is a page served at this path?",
        _ => "",
    }
}

/// The next step after a close frame of the server with this code.
fn close_hint(code: CloseCode) -> &'static str {
    match u16::from(code) {
        1008 => {
            ": if this is a limit, raise limits.frames_per_second, limits.deliveries_per_second and limits.delivered_bytes_per_second of the server; else the server may speak another dialect"
        }
        1009 => ": lower --size or raise limits.frame_bytes of the server",
        1013 => ": lower --rate, --window or --members, or raise limits.outbox_bytes of the server",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_the_setting_to_raise() {
        let status = |status| {
            let path = "/ws".to_owned();
            BenchError::Status { path, status }.to_string()
        };
        assert!(status(StatusCode::TOO_MANY_REQUESTS).contains("limits.connections_per_address"));
        assert!(status(StatusCode::NOT_FOUND).contains("another dialect"));
        let close = |code: u16| {
            let reason = "too many frames".into();
            let code = code.into();
            BenchError::closed(Some(&CloseFrame { code, reason })).to_string()
        };
        assert!(close(1008).contains("limits.frames_per_second"));
        assert!(close(1013).contains("limits.outbox_bytes"));
        assert!(close(1008).contains("too many frames"));
    }
}
