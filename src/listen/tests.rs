//! The listener over real sockets, with a service that writes down what it was asked.

mod calls;
mod client;
mod client_certificates;
mod frames;
mod http2;
mod limits;
mod refusals;
mod tls;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::{Arrived, Certificate, Connections, Drained, Form, Gone, Listener, Service};
use crate::caller::Origin;
use crate::config;
use crate::refusal::Refusal;

/// Nothing here takes this long; it ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the service was asked, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Called(String),
    Refused(String),
    Finished { gone: bool },
}

/// Answers by path: `/silent` not at all, `/wait` when told to, `/body` what it reads, `/panic` never, others at once.
#[derive(Debug, Default)]
struct Double {
    asked: Mutex<Vec<Asked>>,
    origins: Mutex<Vec<Origin>>,
    gone: Mutex<Vec<Gone>>,
    changed: Notify,
    go: Notify,
}

impl Double {
    fn note(&self, asked: Asked) {
        self.asked.lock().unwrap().push(asked);
        self.changed.notify_waiters();
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn refusals(&self) -> Vec<String> {
        let refused = |asked: Asked| if let Asked::Refused(name) = asked { Some(name) } else { None };
        self.asked().into_iter().filter_map(refused).collect()
    }

    /// Waits until `holds` is true of what was asked.
    async fn until(&self, holds: impl Fn(&[Asked]) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if holds(&self.asked()) {
                    break;
                }
                let _ = tokio::time::timeout(Duration::from_millis(50), changed).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {:?}", self.asked()));
    }

    /// Waits until the client of the first call is known to be gone.
    async fn until_gone(&self) {
        let wait = async {
            while !self.gone.lock().unwrap()[0].now() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the first client is gone");
    }

    fn answer(status: u16, text: &str) -> Response<Full<Bytes>> {
        Response::builder()
            .status(status)
            .header("x-request-id", "019ae000-0000-7000-8000-000000000000")
            .body(Full::new(Bytes::copy_from_slice(text.as_bytes())))
            .unwrap()
    }
}

impl Service for Double {
    async fn call(&self, arrived: Arrived) -> Option<Response<Full<Bytes>>> {
        let Arrived { target, body, gone, origin, .. } = arrived;
        let path = if target.form == Form::Origin { target.path } else { format!("{:?}", target.form) };
        self.origins.lock().unwrap().push(origin.clone());
        self.gone.lock().unwrap().push(gone.clone());
        self.note(Asked::Called(path.clone()));
        Some(match path.as_str() {
            "/silent" => return None,
            "/wait" => {
                self.go.notified().await;
                self.note(Asked::Finished { gone: gone.now() });
                Self::answer(200, "waited")
            }
            "/body" => match body.read().await {
                Ok(bytes) => Self::answer(200, &format!("{} bytes", bytes.len())),
                Err(refusal) => return self.refuse(origin, refusal).await,
            },
            "/panic" => panic!("as the test wants it"),
            "/long" => Self::answer(200, &"x".repeat(32 * 1024 * 1024)),
            _ => Self::answer(200, "good"),
        })
    }

    async fn refuse(&self, origin: Origin, refusal: Refusal) -> Option<Response<Full<Bytes>>> {
        self.origins.lock().unwrap().push(origin);
        self.note(Asked::Refused(refusal.name().to_owned()));
        Some(Self::answer(refusal.terms().status.as_u16(), &refusal.message()))
    }
}

/// A listener that serves a [`Double`].
struct Serving {
    address: SocketAddr,
    double: Arc<Double>,
    connections: Connections,
    stop: watch::Sender<bool>,
    served: JoinHandle<std::io::Result<Drained>>,
}

fn limits() -> config::Listen {
    config::Listen {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        tls: None,
        proxy_protocol: Vec::new(),
        trusted_hops: Vec::new(),
        max_connections: 64,
        connections_per_address: 64,
        header_timeout: PATIENCE,
        body_timeout: PATIENCE,
        max_connection_age: PATIENCE * 100,
        max_header_bytes: 8 * 1024,
        max_body_bytes: 1024,
        drain_timeout: PATIENCE,
        unidentified_per_address: config::Rate { requests: 100.try_into().unwrap(), per: PATIENCE },
        unidentified_in_all: config::Rate { requests: 100.try_into().unwrap(), per: PATIENCE },
    }
}

fn serve(limits: &config::Listen) -> Serving {
    serve_with(limits).0
}

/// With the certificate, to be replaced.
fn serve_with(limits: &config::Listen) -> (Serving, Option<Arc<Certificate>>) {
    let listener = Listener::bind(limits).unwrap();
    let certificate = listener.certificate();
    let address = listener.address();
    let connections = listener.connections();
    let double = Arc::new(Double::default());
    let (stop, stopped) = watch::channel(false);
    let served = tokio::spawn(listener.serve(Arc::clone(&double), stopped));
    (Serving { address, double, connections, stop, served }, certificate)
}

impl Serving {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn stop(self) -> Drained {
        self.stop.send_replace(true);
        tokio::time::timeout(PATIENCE, self.served).await.unwrap().unwrap().unwrap()
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), text: &[u8]) {
    stream.write_all(text).await.unwrap();
    stream.flush().await.unwrap();
}

/// Everything until the other end closes.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    // A reset after the last byte is an end, too; what was read before it counts.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.unwrap();
    String::from_utf8(all).unwrap()
}

/// Reads until what came ends with `end`.
async fn until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let read = async {
        let mut all = Vec::new();
        while !all.ends_with(end.as_bytes()) {
            all.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(all).unwrap()
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap()
}

/// The statuses of all answers in a text.
fn statuses(text: &str) -> Vec<u16> {
    let status = |(at, _): (usize, &str)| text.get(at + 9..at + 12)?.parse().ok();
    text.match_indices("HTTP/1.1 ").filter_map(status).collect()
}

#[tokio::test]
async fn clients_that_come_all_at_once_are_connected_before_they_are_taken() {
    // Nobody takes them: they stand in the queue.
    let listener = Listener::bind(&limits()).unwrap();
    let mut open = Vec::new();
    for n in 0..1000 {
        let connect = tokio::net::TcpStream::connect(listener.address());
        let connected = tokio::time::timeout(Duration::from_secs(10), connect).await;
        open.push(connected.unwrap_or_else(|_| panic!("connection {n} waits")).unwrap());
    }
}
