//! The client side of voice, `gostream`: users that are keys, talkers over a WebSocket, and listeners over HTTP.

use base16ct::lower::encode_string;
use futures_util::SinkExt as _;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request, Response,
    body::{Body as _, Bytes, Incoming},
    client::conn::http1,
    header::{HOST, HeaderName},
};
use hyper_util::rt::TokioIo;
use p256::{
    ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner as _},
    elliptic_curve::Generate as _,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, http::StatusCode},
};

use crate::{
    BenchError,
    client::{ANSWER_TIMEOUT, connect_tcp},
    target::BenchTarget,
};

/// The length in bytes of the number that is signed.
const DIGEST_LENGTH: usize = 32;

/// The longest body that is read for a challenge, to show it in an error.
const CHALLENGE_BODY_MAX: usize = 4 * 1024;

/// The mark at the start of each Ogg page.
const PAGE_MARK: &[u8] = b"OggS";

/// A user of the room of a run.
#[derive(Debug)]
pub(crate) struct VoiceUser<'a> {
    target: &'a BenchTarget,
    number: usize,
    key: SigningKey,
}

impl<'a> VoiceUser<'a> {
    pub(crate) fn new(target: &'a BenchTarget, number: usize) -> Self {
        let key = SigningKey::generate();
        Self {
            target,
            number,
            key,
        }
    }

    /// Opens a microphone in a room.
    pub(crate) async fn talk(&self, room: &str) -> Result<Microphone, BenchError> {
        let query = self.authenticated_query(room).await?;
        let path = format!("{}/upRoom?{query}", self.target.base);
        let stream = connect_tcp(self.target, self.number).await?;
        let url = format!("ws://{}{path}", self.target.host);
        let handshake = within(
            "answer to the WebSocket handshake",
            client_async(url, stream),
        );
        let (socket, _) = handshake
            .await?
            .map_err(|error| BenchError::web_socket(&path, error))?;
        Ok(Microphone(socket))
    }

    /// Opens the stream of a room's audio.
    pub(crate) async fn listen(&self, room: &str) -> Result<PageStream, BenchError> {
        let query = self.authenticated_query(room).await?;
        let path = format!("{}/joinRoom?format=opus&{query}", self.target.base);
        let response = self.get(&path).await?;
        Ok(PageStream {
            body: response.into_body(),
            tail: Vec::new(),
        })
    }

    /// The room and the proof of identity: the signature over a challenge of the server.
    async fn authenticated_query(&self, room: &str) -> Result<String, BenchError> {
        let response = self
            .get(&format!("{}/getCallTicket", self.target.base))
            .await?;
        let body = Limited::new(response.into_body(), CHALLENGE_BODY_MAX).collect();
        let challenge = within("challenge", body).await?;
        let challenge = challenge
            .map_err(|error| BenchError::Closed(error.to_string()))?
            .to_bytes();
        let signature = sign(&self.key, &challenge).ok_or_else(|| {
            let text = String::from_utf8_lossy(&challenge).into_owned();
            BenchError::Rejected(format!(
                "the challenge {text} is not 1-{DIGEST_LENGTH} bytes"
            ))
        })?;
        Ok(format!(
            "roomID={room}&PKey={}&Signature={signature}",
            self.public_key()
        ))
    }

    fn public_key(&self) -> String {
        encode_string(self.key.verifying_key().to_sec1_point(true).as_bytes())
    }

    async fn get(&self, path: &str) -> Result<Response<Incoming>, BenchError> {
        let stream = connect_tcp(self.target, self.number).await?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(closed)?;
        // The connection lives as long as the body of the response is read.
        tokio::task::spawn_local(connection);
        let request = Request::get(path)
            .header(HOST, &self.target.host)
            .header(HeaderName::from_static("pkey"), self.public_key())
            .body(Empty::<Bytes>::new());
        let request = request.map_err(|error| BenchError::option("--path", error.to_string()))?;
        let response = within("answer to a request", sender.send_request(request)).await?;
        let response = response.map_err(closed)?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => Err(BenchError::Status {
                path: without_query(path),
                status,
            }),
        }
    }
}

/// An open microphone.
#[derive(Debug)]
pub(crate) struct Microphone(WebSocketStream<TcpStream>);

impl Microphone {
    /// Sends samples: signed 16 bits little-endian, mono, 48000 Hz.
    pub(crate) async fn send(&mut self, samples: Bytes) -> Result<(), BenchError> {
        let sent = self.0.send(Message::Binary(samples)).await;
        sent.map_err(|error| BenchError::WebSocket(Box::new(error)))
    }
}

/// The stream of a listener.
#[derive(Debug)]
pub(crate) struct PageStream {
    body: Incoming,
    /// The end of the last chunk, in which a page may begin.
    tail: Vec<u8>,
}

impl PageStream {
    /// The number of Ogg pages that begin in the next chunk.
    pub(crate) async fn next_pages(&mut self) -> Result<u64, BenchError> {
        loop {
            if self.body.is_end_stream() {
                return Err(BenchError::Closed("the audio stream ended".into()));
            }
            let Some(frame) = self.body.frame().await else {
                return Err(BenchError::Closed("the audio stream ended".into()));
            };
            if let Ok(chunk) = frame.map_err(closed)?.into_data() {
                return Ok(count_pages(&mut self.tail, &chunk));
            }
        }
    }
}

/// Counts the pages that begin in a chunk. `tail` is the end of the chunk before it, too short for a mark.
fn count_pages(tail: &mut Vec<u8>, chunk: &[u8]) -> u64 {
    tail.extend_from_slice(chunk);
    let pages = memchr::memmem::find_iter(tail, PAGE_MARK).count();
    let keep_from = tail.len().saturating_sub(PAGE_MARK.len() - 1);
    tail.drain(..keep_from);
    pages as u64
}

/// Signs a challenge: its bytes are the digest itself, padded on the left. DER in hex.
fn sign(key: &SigningKey, challenge: &[u8]) -> Option<String> {
    let start = DIGEST_LENGTH.checked_sub(challenge.len())?;
    let mut digest = [0; DIGEST_LENGTH];
    digest[start..].copy_from_slice(challenge);
    let signature: Signature = key.sign_prehash(&digest).ok()?;
    Some(encode_string(signature.to_der().as_bytes()))
}

async fn within<T>(
    awaited: &'static str,
    answer: impl Future<Output = T>,
) -> Result<T, BenchError> {
    let (seconds, dialect) = (ANSWER_TIMEOUT.as_secs(), "gostream");
    let answer = timeout(ANSWER_TIMEOUT, answer).await;
    answer.map_err(|_| BenchError::NoAnswer {
        awaited,
        seconds,
        dialect,
    })
}

fn without_query(path: &str) -> String {
    path.split('?').next().unwrap_or_default().to_owned()
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn closed(error: hyper::Error) -> BenchError {
    BenchError::Closed(error.to_string())
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        task::LocalSet,
    };

    use super::*;
    use crate::{BenchDialect, BenchOptions, Workload};

    #[test]
    fn page_is_counted_once_wherever_the_chunks_end() {
        let stream = b"OggS..OggS....OggSOggS.";
        for length in 1..=stream.len() {
            let mut tail = Vec::new();
            let chunks = stream.chunks(length);
            let pages: u64 = chunks.map(|chunk| count_pages(&mut tail, chunk)).sum();
            assert_eq!(pages, 4, "chunks of {length}");
        }
    }

    #[test]
    fn challenge_is_signed_as_a_number() {
        let key = SigningKey::generate();
        let signature = sign(&key, b"abc").expect("a challenge");
        let der = base16ct::lower::decode_vec(signature).expect("hex");
        let signature = Signature::from_der(&der).expect("DER");
        let mut digest = [0; DIGEST_LENGTH];
        digest[29..].copy_from_slice(b"abc");
        assert!(
            key.verifying_key()
                .verify_prehash(&digest, &signature)
                .is_ok()
        );
        assert_eq!(sign(&key, &[b'a'; 33]), None);
    }

    /// Answers one request with a body that does not end. From then on the time of the test passes by itself.
    async fn begin_body(listener: TcpListener) {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let _read = stream.read(&mut [0; 1024]).await.expect("a request");
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\nabc";
        stream.write_all(response).await.expect("a client");
        tokio::time::pause();
        std::future::pending().await
    }

    #[tokio::test]
    async fn challenge_that_does_not_end_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(begin_body(listener));
        let options = BenchOptions::new(Workload::Voice, url, BenchDialect::Gostream);
        let target = BenchTarget::resolve(&options).expect("a target");
        let user = VoiceUser::new(&target, 0);
        let refused = LocalSet::new()
            .run_until(user.authenticated_query("r"))
            .await;
        assert!(
            matches!(refused, Err(BenchError::NoAnswer { awaited, .. }) if awaited == "challenge"),
            "{refused:?}"
        );
    }
}
