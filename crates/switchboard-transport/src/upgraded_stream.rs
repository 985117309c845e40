//! The byte stream of a WebSocket connection after the handshake.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::upgrade::{Parts, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::{timed_stream::TimedStream, tls::TlsStream};

/// The stream of a connection after its upgrade.
#[derive(Debug)]
pub enum UpgradedStream {
    /// A plain TCP connection of a [`Listener`](crate::Listener) or of `axum::serve`.
    Tcp(TcpStream),
    /// A connection of a [`Listener`](crate::Listener) with TLS. Boxed, because its state is many times larger.
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    /// Any other stream, such as TLS in the server of a host program. Boxed, so that a TCP connection takes less memory.
    Foreign(Box<TokioIo<Upgraded>>),
}

impl UpgradedStream {
    /// The stream of an upgraded connection, and the bytes that hyper has already read from it.
    pub(crate) fn of(upgraded: Upgraded) -> (Self, Bytes) {
        let upgraded = match upgraded.downcast::<TokioIo<TimedStream<TcpStream>>>() {
            Ok(Parts { io, read_buf, .. }) => {
                return (Self::Tcp(io.into_inner().into_inner()), read_buf);
            }
            Err(upgraded) => upgraded,
        };
        let upgraded = match upgraded.downcast::<TokioIo<TimedStream<Box<TlsStream>>>>() {
            Ok(Parts { io, read_buf, .. }) => {
                return (Self::Tls(io.into_inner().into_inner()), read_buf);
            }
            Err(upgraded) => upgraded,
        };
        match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(Parts { io, read_buf, .. }) => (Self::Tcp(io.into_inner()), read_buf),
            Err(upgraded) => {
                let stream = Box::new(TokioIo::new(upgraded));
                (Self::Foreign(stream), Bytes::new())
            }
        }
    }

    /// The TCP connection, if the stream is nothing else.
    pub(crate) fn plain_tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Tls(_) | Self::Foreign(_) => None,
        }
    }
}

impl AsyncRead for UpgradedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Foreign(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for UpgradedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Foreign(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Foreign(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Foreign(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Foreign(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
