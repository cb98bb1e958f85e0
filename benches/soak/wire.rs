//! One HTTP/1.1 connection as a client has it, and what became of each request on it.
//!
//! Not here: who sends what (`callers`, `attacker`).

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use uuid::Uuid;

use crate::load::whole;

/// A connection that is open, as far as is known.
pub struct Line {
    stream: TcpStream,
    /// The last answer.
    buffer: Vec<u8>,
}

/// An answer by what the record must say of it, too.
#[derive(Clone, Copy)]
pub struct Answer {
    pub status: u16,
    /// Its `x-request-id`.
    pub id: Uuid,
    /// Whether the connection ends with it.
    pub last: bool,
}

impl Line {
    /// Connects from one of this machine's addresses.
    pub async fn open(from: [u8; 4], to: SocketAddr) -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Whether the other end has said nothing since the last answer, not even that it hangs up.
    pub fn is_open(&self) -> bool {
        let read = self.stream.try_read(&mut [0]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Sends a request and reads its answer; `None` where the connection ends before there is a whole one.
    pub async fn ask(&mut self, request: &[u8]) -> Option<Answer> {
        self.buffer.clear();
        self.stream.write_all(request).await.ok()?;
        let mut length = None;
        while length.is_none_or(|length| self.buffer.len() < length) {
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
            length = length.or_else(|| whole(&self.buffer));
        }
        let text = self.text();
        let head = text.split("\r\n\r\n").next().unwrap();
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let id = header("x-request-id: ").unwrap_or_else(|| panic!("an answer without an id: {head}"));
        Some(Answer {
            status: head[9..12].parse().unwrap(),
            id: id.parse().unwrap(),
            last: header("connection: ").is_some_and(|value| value == "close"),
        })
    }

    /// The last answer as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.buffer).into_owned()
    }
}
