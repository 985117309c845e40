use std::{pin::pin, task::Waker};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    net::TcpListener,
    time::{advance, timeout},
};

use super::*;
use crate::frame::CloseFrame;

/// A frame from a client: `first` is its first byte, the mask is zero.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a short payload");
    let length = match length {
        0..=125 => vec![0x80 | length.to_be_bytes()[1]],
        _ => [vec![0x80 | 126], length.to_be_bytes().to_vec()].concat(),
    };
    [&[first][..], &length, &[0; 4], payload].concat()
}

/// A client, and the server's socket. The stream between them buffers at most `buffer_bytes`.
fn connect(buffer_bytes: usize) -> (DuplexStream, Socket<DuplexStream>) {
    let (client, server) = duplex(buffer_bytes);
    (client, Socket::new(server, &[], 100_000))
}

fn text(text: &str) -> Decoded {
    Decoded::Message(WebSocketMessage::Text(text.into()))
}

fn poll_receive(socket: &mut Socket<DuplexStream>) -> Poll<Result<Decoded, SocketError>> {
    let received = pin!(socket.receive());
    received.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn messages_that_arrive_together_are_received_one_by_one() {
    let (mut client, mut socket) = connect(64 * 1024);
    let large = "x".repeat(40_000);
    let frames = [
        frame(0x81, b"one"),
        frame(0x81, large.as_bytes()),
        frame(0x01, b"t"),
        frame(0x80, b"wo"),
    ];
    client.write_all(&frames.concat()).await.expect("room");
    for expected in [text("one"), text(&large), Decoded::Fragment, text("two")] {
        assert_eq!(socket.receive().await, Ok(expected));
    }
    assert!(poll_receive(&mut socket).is_pending());
    assert_eq!(socket.buffered(), 0);
    drop(client);
    assert_eq!(socket.receive().await, Err(SocketError::Closed));
}

#[tokio::test]
async fn bytes_read_during_the_handshake_are_received_first() {
    let (mut client, server) = duplex(100);
    let begun = Bytes::from(frame(0x81, b"early")[..4].to_vec());
    let mut socket = Socket::new(server, &begun, 0);
    let rest = &frame(0x81, b"early")[4..];
    client.write_all(rest).await.expect("room");
    assert_eq!(socket.receive().await, Ok(text("early")));
}

#[tokio::test]
async fn messages_arrive_in_order_through_a_stream_with_a_small_buffer() {
    let (mut client, mut socket) = connect(7);
    let large = "y".repeat(COPIED_BYTES_MAX);
    let sending = async {
        for message in ["one", "two", &large, "three"] {
            poll_fn(|context| socket.poll_ready(context))
                .await
                .expect("open");
            socket.start_send(WebSocketMessage::Text(message.into()));
        }
        assert!(!socket.is_flushed());
        poll_fn(|context| socket.poll_flush(context))
            .await
            .expect("open");
        assert!(socket.is_flushed());
        drop(socket);
    };
    let mut sent = Vec::new();
    let reading = client.read_to_end(&mut sent);
    let ((), read) = tokio::join!(sending, reading);
    read.expect("an end");
    let head = b"\x81\x7e\x10\x00";
    let expected = [b"\x81\x03one\x81\x03two", &head[..], large.as_bytes()].concat();
    assert_eq!(sent, [&expected[..], b"\x81\x05three"].concat());
}

#[tokio::test]
async fn a_ping_is_answered_and_a_close_frame_ends_both_directions() {
    let (mut client, mut socket) = connect(1000);
    let frames = [frame(0x89, b"there?"), frame(0x88, b"\x03\xe8bye")].concat();
    client.write_all(&frames).await.expect("room");
    let ping = WebSocketMessage::Ping(Bytes::from_static(b"there?"));
    assert_eq!(socket.receive().await, Ok(Decoded::Message(ping)));
    let close = WebSocketMessage::Close(Some(CloseFrame {
        code: 1000,
        reason: "bye".into(),
    }));
    assert_eq!(socket.receive().await, Ok(Decoded::Message(close)));
    poll_fn(|context| socket.poll_flush(context))
        .await
        .expect("open");
    assert_eq!(socket.receive().await, Err(SocketError::Closed));
    drop(socket);
    let mut answers = Vec::new();
    client.read_to_end(&mut answers).await.expect("an end");
    assert_eq!(answers, b"\x8a\x06there?\x88\x05\x03\xe8bye");
}

#[tokio::test]
async fn nothing_is_sent_after_a_close_frame() {
    let (mut client, mut socket) = connect(1000);
    socket
        .send(WebSocketMessage::Close(None))
        .await
        .expect("open");
    let frames = [frame(0x89, b""), frame(0x88, b"")].concat();
    client.write_all(&frames).await.expect("room");
    socket
        .send(WebSocketMessage::Text("late".into()))
        .await
        .expect("open");
    socket.finish().await;
    drop(socket);
    let mut sent = Vec::new();
    client.read_to_end(&mut sent).await.expect("an end");
    assert_eq!(sent, b"\x88\x00");
}

#[tokio::test]
async fn after_a_violation_further_data_is_discarded_until_the_client_closes() {
    let (mut client, mut socket) = connect(100);
    client.write_all(&frame(0x83, b"")).await.expect("room");
    let error = SocketError::Violation(Violation::UnknownOpcode);
    assert_eq!(socket.receive().await, Err(error));
    assert_eq!(
        socket.receive().await,
        Err(error),
        "every later call must return the same error"
    );
    let finishing = tokio::spawn(async move { socket.finish().await });
    client.write_all(&[0; 10_000]).await.expect("it is read");
    let mut end = Vec::new();
    client.read_to_end(&mut end).await.expect("an end");
    assert!(!finishing.is_finished());
    drop(client);
    finishing.await.expect("the task has panicked");
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_message_ends_ten_seconds_after_its_last_data() {
    let alive = frame(0x8A, b"");
    let empty = frame(0x00, b"");
    for begin in [
        frame(0x01, b"abc"),
        frame(0x81, b"abcdef")[..8].to_vec(),
        frame(0x81, b"abc")[..1].to_vec(),
    ] {
        let (mut client, mut socket) = connect(1000);
        client.write_all(&begin).await.expect("room");
        while poll_receive(&mut socket).is_ready() {}
        advance(PROGRESS_TIMEOUT - Duration::from_secs(1)).await;
        assert!(poll_receive(&mut socket).is_pending(), "{begin:?}");
        advance(Duration::from_secs(1)).await;
        let ended = poll_receive(&mut socket);
        assert_eq!(
            ended,
            Poll::Ready(Err(SocketError::NotCompleted)),
            "{begin:?}"
        );
        assert_eq!(
            socket.buffered(),
            0,
            "the bytes of the unfinished message must be freed"
        );
    }
    let (mut client, mut socket) = connect(1000);
    client.write_all(&frame(0x01, b"a")).await.expect("room");
    let started = Instant::now();
    // Neither control frames nor empty fragments are progress; payload is.
    let client = async move {
        for second in 0.. {
            let more = if second == 5 {
                frame(0x00, b"b")
            } else {
                [&alive[..], &empty].concat()
            };
            if client.write_all(&more).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let server = async move {
        loop {
            if let Err(error) = socket.receive().await {
                return error;
            }
        }
    };
    tokio::spawn(client);
    assert_eq!(server.await, SocketError::NotCompleted);
    assert_eq!(started.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn a_complete_message_and_time_without_reading_do_not_time_out() {
    let (mut client, mut socket) = connect(1000);
    client.write_all(&frame(0x01, b"a")).await.expect("room");
    assert_eq!(socket.receive().await, Ok(Decoded::Fragment));
    assert!(poll_receive(&mut socket).is_pending());
    // The server does not read for a while, and the client continues to send.
    client.write_all(&frame(0x00, b"b")).await.expect("room");
    advance(3 * PROGRESS_TIMEOUT).await;
    assert_eq!(socket.receive().await, Ok(Decoded::Fragment));
    assert!(poll_receive(&mut socket).is_pending());
    client.write_all(&frame(0x80, b"c")).await.expect("room");
    assert_eq!(socket.receive().await, Ok(text("abc")));
    let idle = timeout(10 * PROGRESS_TIMEOUT, socket.receive()).await;
    assert!(
        idle.is_err(),
        "a connection without an unfinished message must not time out"
    );
}

#[tokio::test]
async fn the_rest_of_an_encoded_frame_that_does_not_fit_is_written_later() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let mut client = TcpStream::connect(address).await.expect("a connection");
    let (stream, _) = listener.accept().await.expect("a connection");
    stream.writable().await.expect("open");
    let mut socket = Socket::new(UpgradedStream::Tcp(stream), &[], 0);
    // More than the buffers of both sockets hold.
    let frame: Vec<u8> = (0..16 << 20).map(|index: u32| (index >> 8) as u8).collect();
    assert!(matches!(socket.try_send_encoded(&frame), Ok(false)));
    assert!(!socket.is_flushed());
    let mut received = vec![0; frame.len()];
    let flushed = poll_fn(|context| socket.poll_flush(context));
    let (flushed, read) = tokio::join!(flushed, client.read_exact(&mut received));
    flushed.expect("open");
    read.expect("open");
    assert!(received == frame);
}
