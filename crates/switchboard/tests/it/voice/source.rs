//! Microphones: WebSocket messages, or a body that is streamed.

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

/// Frames sent ahead of time, so that a pause of the machine causes no gap.
const LEAD: usize = 4;

type WebSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A microphone that is on until it is dropped.
pub(super) enum Source {
    WebSocket(Box<WebSocket>),
    Body(TcpStream),
}

impl Source {
    pub(super) async fn websocket(address: SocketAddr, target: &str) -> Self {
        Self::try_websocket(address, target)
            .await
            .expect("an upgrade")
    }

    /// The microphone, or the status it is refused with.
    pub(super) async fn try_websocket(address: SocketAddr, target: &str) -> Result<Self, u16> {
        match connect_async(request(address, target)).await {
            Ok((socket, _)) => Ok(Self::WebSocket(Box::new(socket))),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(other) => panic!("an answer was due, not {other:?}"),
        }
    }

    /// A body that is sent as it is spoken.
    pub(super) async fn body(address: SocketAddr, method: &str, target: &str) -> Self {
        let mut stream = connect(address, None).await;
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: voice\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        stream
            .write_all(head.as_bytes())
            .await
            .expect("the server reads");
        Self::Body(stream)
    }

    /// A body that is sent once the server has said that it wants it, as curl does.
    pub(super) async fn body_when_told(address: SocketAddr, target: &str) -> Self {
        const EXPECT: &str = "Transfer-Encoding: chunked\r\nExpect: 100-continue";
        const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut stream = connect(address, None).await;
        let head = format!("PUT {target} HTTP/1.1\r\nHost: voice\r\n{EXPECT}\r\n\r\n");
        stream
            .write_all(head.as_bytes())
            .await
            .expect("the server reads");
        let mut told = [0; GO_ON.len()];
        let reading = timeout(TEST_TIMEOUT, stream.read_exact(&mut told)).await;
        reading.expect("an answer in time").expect("an answer");
        assert_eq!(told, GO_ON);
        Self::Body(stream)
    }

    pub(super) async fn send(&mut self, samples: &[i16]) {
        assert!(
            self.send_bytes(&bytes_of(samples)).await,
            "the server reads"
        );
    }

    /// Sends one message or chunk; says whether it could.
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
            panic!("a body has no text");
        };
        socket
            .send(Message::text(text))
            .await
            .expect("the server reads");
    }

    /// Speaks a tone in real time, until it is dropped or hung up on.
    pub(super) fn play(self, mut tone: Tone) -> Playing {
        self.play_all(move || tone.next(FRAME))
    }

    /// Speaks whatever comes, frame by frame in real time.
    pub(super) fn play_all(
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

    /// Waits until the server says goodbye: its code and its words.
    pub(super) async fn closed(&mut self) -> (u16, String) {
        let Self::WebSocket(socket) = self else {
            panic!("a body is answered");
        };
        loop {
            let message = timeout(TEST_TIMEOUT, socket.next())
                .await
                .expect("an end in time");
            match message.expect("a goodbye") {
                Ok(Message::Close(Some(frame))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Ok(_) => {}
                Err(error) => panic!("a goodbye was due, not {error:?}"),
            }
        }
    }

    /// Waits until the connection has ended, with a goodbye or without.
    pub(super) async fn closed_or_cut(&mut self) {
        let Self::WebSocket(socket) = self else {
            panic!("a body is answered");
        };
        let ends = async { while let Some(Ok(_)) = socket.next().await {} };
        timeout(TEST_TIMEOUT, ends).await.expect("an end in time");
    }

    /// Says goodbye, and waits for the answer.
    pub(super) async fn close(self) {
        match self {
            Self::WebSocket(mut socket) => {
                socket.close().await.expect("the server reads");
                while let Some(Ok(_)) = timeout(TEST_TIMEOUT, socket.next()).await.expect("in time")
                {
                }
            }
            Self::Body(stream) => {
                let answer = Self::Body(stream).finish().await;
                assert_eq!(answer.status, 200);
            }
        }
    }

    /// Ends the body, and reads what is answered.
    pub(super) async fn finish(self) -> HttpResponse {
        let Self::Body(mut stream) = self else {
            panic!("a WebSocket is closed");
        };
        // The server may have answered, and gone, before.
        drop(stream.write_all(b"0\r\n\r\n").await);
        HttpResponse::read(stream, Instant::now()).await
    }

    /// Reads what is answered to a body that goes on.
    pub(super) async fn answer(self) -> HttpResponse {
        let Self::Body(stream) = self else {
            panic!("a WebSocket is closed");
        };
        HttpResponse::read(stream, Instant::now()).await
    }
}

/// A microphone that is spoken into.
pub(super) struct Playing(JoinHandle<()>);

impl Drop for Playing {
    fn drop(&mut self) {
        self.0.abort();
    }
}
