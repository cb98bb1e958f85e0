//! An upstream written by hand, byte for byte, so that it can misbehave exactly.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with one request of a connection. After the last one it closes the connection.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Reads nothing.
    Close,
    /// Reads the request and closes.
    Drop,
    /// Reads the request and answers.
    Answer(Vec<u8>),
    /// Reads the request and then nothing, until the client gives up.
    Hang,
    /// Answers, says that no more will come, and keeps what the client sends all the same.
    AnswerAndListen(Vec<u8>),
}

pub(super) struct Server {
    pub(super) base: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Follows the script of the first connection, then of the second, and refuses more.
    pub(super) async fn start(connections: Vec<Vec<Act>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            for (nth, acts) in connections.into_iter().enumerate() {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(play(stream, nth, acts, Arc::clone(&log)));
            }
        });
        Self { base, seen }
    }

    /// One connection, one request, one answer.
    pub(super) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        Self::start(vec![vec![Act::Answer(answer.into())]]).await
    }

    /// The requests that came, as they came.
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn play(mut stream: TcpStream, nth: usize, acts: Vec<Act>, seen: Arc<Mutex<Vec<String>>>) {
    for act in acts {
        if matches!(act, Act::Close) {
            return;
        }
        let Some(request) = request(&mut stream).await else { return };
        seen.lock().unwrap().push(request);
        match act {
            Act::Answer(bytes) => {
                // The client may have gone, which is its right.
                let _ = stream.write_all(&bytes).await;
            }
            Act::Hang => {
                let _ = stream.read(&mut [0; 1]).await;
            }
            Act::AnswerAndListen(bytes) => {
                let _ = stream.write_all(&bytes).await;
                // A different moment each time, from at once to well after the next call has begun.
                (0..nth % 40 * 1000).for_each(|_| std::hint::spin_loop());
                let _ = stream.shutdown().await;
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
                if !rest.is_empty() {
                    seen.lock().unwrap().push(String::from_utf8_lossy(&rest).into_owned());
                }
                return;
            }
            Act::Close | Act::Drop => return,
        }
    }
}

/// One request, head and body.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// An answer with a length.
pub(super) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A plain good answer.
pub(super) fn good() -> Vec<u8> {
    answer("200 OK", "content-type: application/json\r\n", b"{\"success\":true,\"result\":{}}")
}
