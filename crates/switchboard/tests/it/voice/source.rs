//! Audio sources: a WebSocket connection or a streamed request body.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message},
};

use super::{
    http::{HttpResponse, connect},
    sound::{FRAME, Tone, bytes_of},
};
use crate::client::{TEST_TIMEOUT, request};

/// Frames sent ahead of time: a pause of the machine then causes no gap.
const LEAD: usize = 4;

type WebSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A connected source. It disconnects when dropped.
pub(super) enum Source {
    WebSocket(Box<WebSocket>),
    Body(TcpStream),
}

impl Source {
    /// Connects a source by WebSocket.
    pub(super) async fn websocket(address: SocketAddr, target: &str) -> Self {
        Self::try_websocket(address, target)
            .await
            .expect("the server refuses the upgrade")
    }

    /// Connects a source by WebSocket. The error is the status of the response.
    pub(super) async fn try_websocket(address: SocketAddr, target: &str) -> Result<Self, u16> {
        match connect_async(request(address, target)).await {
            Ok((socket, _)) => Ok(Self::WebSocket(Box::new(socket))),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(other) => panic!("expected a response, got {other:?}"),
        }
    }

    /// Connects a source by a request with a chunked body: sends its head.
    pub(super) async fn body(address: SocketAddr, method: &str, target: &str) -> Self {
        let mut stream = connect(address, None).await;
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: voice\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        stream
            .write_all(head.as_bytes())
            .await
            .expect("cannot send to the server");
        Self::Body(stream)
    }

    /// Like [`Self::body`], and waits for `100 Continue`, as curl does.
    pub(super) async fn body_after_continue(address: SocketAddr, target: &str) -> Self {
        const EXPECT: &str = "Transfer-Encoding: chunked\r\nExpect: 100-continue";
        const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut stream = connect(address, None).await;
        let head = format!("PUT {target} HTTP/1.1\r\nHost: voice\r\n{EXPECT}\r\n\r\n");
        stream
            .write_all(head.as_bytes())
            .await
            .expect("cannot send to the server");
        let mut received = [0; CONTINUE.len()];
        let reading = timeout(TEST_TIMEOUT, stream.read_exact(&mut received)).await;
        reading
            .expect("timeout: no response")
            .expect("cannot read the response");
        assert_eq!(received, CONTINUE);
        Self::Body(stream)
    }

    pub(super) async fn send(&mut self, samples: &[i16]) {
        assert!(
            self.send_bytes(&bytes_of(samples)).await,
            "the server reads"
        );
    }

    /// Sends one message or chunk. Returns false if the connection has ended.
    pub(super) async fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        match self {
            Self::WebSocket(socket) => socket
                .send(Message::Binary(bytes.to_vec().into()))
                .await
                .is_ok(),
            Self::Body(_) if bytes.is_empty() => true,
            Self::Body(stream) => {
                let head = format!("{:x}\r\n", bytes.len());
                let chunk = [head.as_bytes(), bytes, b"\r\n"].concat();
                stream.write_all(&chunk).await.is_ok()
            }
        }
    }

    pub(super) async fn send_text(&mut self, text: &str) {
        let Self::WebSocket(socket) = self else {
            panic!("a body has no text messages");
        };
        socket
            .send(Message::text(text))
            .await
            .expect("cannot send to the server");
    }

    /// Sends a tone in real time until dropped or disconnected.
    pub(super) fn play(self, mut tone: Tone) -> Playing {
        self.play_frames(move || tone.next(FRAME))
    }

    /// Sends the frames of `next` in real time until dropped or disconnected.
    pub(super) fn play_frames(
        mut self,
        mut next: impl FnMut() -> Vec<i16> + Send + 'static,
    ) -> Playing {
        Playing(tokio::spawn(async move {
            let mut ticks = interval(Duration::from_millis(20));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            for _ in 0..LEAD {
                self.send_bytes(&bytes_of(&next())).await;
            }
            loop {
                ticks.tick().await;
                if !self.send_bytes(&bytes_of(&next())).await {
                    return;
                }
            }
        }))
    }

    /// Waits for the close frame of the server. Returns its code and reason.
    pub(super) async fn closed(&mut self) -> (u16, String) {
        let Self::WebSocket(socket) = self else {
            panic!("a body has no close frame");
        };
        loop {
            let message = timeout(TEST_TIMEOUT, socket.next())
                .await
                .expect("timeout: the stream does not end");
            match message.expect("the connection ended without a close frame") {
                Ok(Message::Close(Some(frame))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Ok(_) => {}
                Err(error) => panic!("expected a close frame, got {error:?}"),
            }
        }
    }

    /// Waits until the connection has ended, with or without a close frame.
    pub(super) async fn closed_or_cut(&mut self) {
        let Self::WebSocket(socket) = self else {
            panic!("a body has no close frame");
        };
        let ends = async { while let Some(Ok(_)) = socket.next().await {} };
        timeout(TEST_TIMEOUT, ends)
            .await
            .expect("timeout: the stream does not end");
    }

    /// Closes the connection, or ends the body, and waits for the response.
    pub(super) async fn close(self) {
        match self {
            Self::WebSocket(mut socket) => {
                socket.close().await.expect("cannot send to the server");
                while let Some(Ok(_)) = timeout(TEST_TIMEOUT, socket.next())
                    .await
                    .expect("timeout: the connection does not end")
                {}
            }
            Self::Body(stream) => {
                let answer = Self::Body(stream).finish().await;
                assert_eq!(answer.status, 200);
            }
        }
    }

    /// Ends the body and reads the response.
    pub(super) async fn finish(self) -> HttpResponse {
        let Self::Body(mut stream) = self else {
            panic!("a WebSocket connection has no response");
        };
        // The server may have responded and closed the connection before.
        drop(stream.write_all(b"0\r\n\r\n").await);
        HttpResponse::read(stream, Instant::now()).await
    }

    /// Reads the response before the body has ended.
    pub(super) async fn response(self) -> HttpResponse {
        let Self::Body(stream) = self else {
            panic!("a WebSocket connection has no response");
        };
        HttpResponse::read(stream, Instant::now()).await
    }
}

/// A source that sends audio until dropped.
pub(super) struct Playing(JoinHandle<()>);

impl Drop for Playing {
    fn drop(&mut self) {
        self.0.abort();
    }
}
