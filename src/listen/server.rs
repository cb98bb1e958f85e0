//! The listening socket: who is let in, how many at once, and how it ends.
//!
//! Not here: what a connection says (`http1`, `http2`).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::answer::{Alive, COME_BACK, Calls, Room, caught};
use super::client::Trusted;
use super::failed::{Failed, Failures};
use super::line::Line;
use super::places::{Place, Places};
use super::stream::Stream;
use super::tls::{Certificate, TlsError};
use super::{Service, http1, http2, request, stopped};
use crate::caller::{Network, Thumbprint};
use crate::config;
use crate::refusal::Refusal;

/// Connections and calls over the limit that are told so at once; more are closed without a word. Each costs a
/// record.
const TURNED_AWAY_AT_ONCE: usize = 16;

/// How long one of those may take, handshake and all.
const TURN_AWAY: Duration = Duration::from_secs(2);

/// After a failed accept (no file descriptor is free, say), how long to wait for things to get better.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What HTTP/2 begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) header_timeout: Duration,
    pub(super) body_timeout: Duration,
    pub(super) max_connection_age: Duration,
    pub(super) max_header_bytes: usize,
    pub(super) max_body_bytes: usize,
}

/// Why the listener can't start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address.
    #[error("can't listen on `{address}`; is it in use, or not this machine's?")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The certificate.
    #[error("can't serve TLS")]
    Tls(#[from] TlsError),
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All calls have ended.
    Whole,
    /// The time was up before all had.
    Cut,
}

/// How many connections are open, and how many failed, for metrics.
#[derive(Clone, Debug)]
pub struct Connections {
    places: Arc<Places>,
    failures: Arc<Failures>,
}

impl Connections {
    /// Connections that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.places.taken()
    }

    /// Connections that ended so before anything was asked on them.
    #[must_use]
    pub fn failed(&self, failed: Failed) -> u64 {
        self.failures.count(failed)
    }
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Certificate>>,
    bounds: Bounds,
    trusted: Arc<Trusted>,
    connections: Connections,
    calls: usize,
    drain_timeout: Duration,
}

/// Connections that may wait to be taken: as many as Linux lets wait by default (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

impl Listener {
    /// Binds the address and loads the certificate. Clients can connect from now on, and wait.
    ///
    /// # Errors
    /// An address that can't be had, or a certificate or key that can't be used.
    pub fn bind(config: &config::Listen) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Bind { address: config.address, source };
        let tls = config.tls.as_ref().map(Certificate::load).transpose()?.map(Arc::new);
        let socket = std::net::TcpListener::bind(config.address).map_err(failed)?;
        // Again, with more room than `std` asks for: where it is full, Linux resets connections that clients think they have.
        rustix::net::listen(&socket, BACKLOG).map_err(|e| failed(e.into()))?;
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let max = config.max_connections.min(Semaphore::MAX_PERMITS);
        Ok(Self {
            socket,
            address,
            tls,
            bounds: Bounds {
                header_timeout: config.header_timeout,
                body_timeout: config.body_timeout,
                max_connection_age: config.max_connection_age,
                max_header_bytes: config.max_header_bytes,
                max_body_bytes: config.max_body_bytes,
            },
            trusted: Arc::new(Trusted {
                proxies: config.proxy_protocol.clone(),
                hops: config.trusted_hops.clone(),
            }),
            connections: Connections {
                places: Places::new(max, config.connections_per_address),
                failures: Arc::default(),
            },
            calls: max,
            drain_timeout: config.drain_timeout,
        })
    }

    /// The address with the port that was given.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate, to reload; `None` without TLS.
    #[must_use]
    pub fn certificate(&self) -> Option<Arc<Certificate>> {
        self.tls.clone()
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Serves until `stop` is true, then lets calls end: also those whose clients have left.
    ///
    /// # Errors
    /// A socket that the runtime can't take over.
    pub async fn serve<S: Service>(
        self,
        service: Arc<S>,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<Drained> {
        let socket = TcpListener::from_std(self.socket)?;
        let (alive, mut all_ended) = Alive::new();
        let turn_away = Arc::new(Semaphore::new(TURNED_AWAY_AT_ONCE));
        // As many calls as connections: HTTP/1 has one each, and HTTP/2 clients rarely more.
        let room = Room::new(self.calls, Arc::clone(&turn_away));
        let door = Door {
            service,
            tls: self.tls,
            bounds: self.bounds,
            trusted: Arc::clone(&self.trusted),
            failures: Arc::clone(&self.connections.failures),
            alive,
            room,
            turn_away: Arc::clone(&turn_away),
            stop: stop.clone(),
        };
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                Some(_) = tasks.join_next() => continue,
                accepted = socket.accept() => accepted,
            };
            let (tcp, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(error = %error, "can't accept a connection; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let peer = peer.ip().to_canonical();
            let place = self.connections.places.take().and_then(|mut place| {
                // Of those who bring others' connections, the header tells whose it is.
                let fits = self.trusted.is_shared(peer) || place.is_for(Network::of(peer));
                fits.then_some(place)
            });
            if let Some(place) = place {
                tasks.spawn(door.clone().admit(tcp, peer, place));
            } else if let Ok(slot) = Arc::clone(&turn_away).try_acquire_owned() {
                tasks.spawn(door.clone().turn_away(tcp, peer, slot));
            }
        }
        drop((socket, door));
        let drain = async {
            while tasks.join_next().await.is_some() {}
            all_ended.recv().await;
        };
        let drained = tokio::time::timeout(self.drain_timeout, drain).await;
        Ok(drained.map_or(Drained::Cut, |()| Drained::Whole))
    }
}

/// What every connection is given.
struct Door<S> {
    service: Arc<S>,
    tls: Option<Arc<Certificate>>,
    bounds: Bounds,
    trusted: Arc<Trusted>,
    failures: Arc<Failures>,
    alive: Alive,
    room: Room,
    turn_away: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

impl<S> Clone for Door<S> {
    fn clone(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
            tls: self.tls.clone(),
            bounds: self.bounds,
            trusted: Arc::clone(&self.trusted),
            failures: Arc::clone(&self.failures),
            alive: self.alive.clone(),
            room: self.room.clone(),
            turn_away: Arc::clone(&self.turn_away),
            stop: self.stop.clone(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// A connection that has begun.
struct Opened {
    stream: Stream,
    protocol: Protocol,
    /// The certificate that the client proved to have, and who tells that it must be looked at again.
    client: Option<(Thumbprint, watch::Receiver<bool>)>,
}

impl<S: Service> Door<S> {
    async fn admit(mut self, mut tcp: TcpStream, peer: IpAddr, mut place: Place) {
        let mut stop = self.stop.clone();
        let opening = async {
            let client = self.client(&mut tcp, peer).await?;
            if client != peer && !self.trusted.is_shared(client) && !place.is_for(Network::of(client)) {
                if let Ok(_slot) = Arc::clone(&self.turn_away).try_acquire_owned() {
                    let _ = tokio::time::timeout(TURN_AWAY, self.tell_full(tcp, client)).await;
                }
                return None;
            }
            Some((client, self.open(tcp, client).await?))
        };
        let opened = tokio::select! {
            opened = tokio::time::timeout(self.bounds.header_timeout, opening) => opened,
            () = stopped(&mut stop) => return,
        };
        let Ok(Some((sender, Opened { stream, protocol, client }))) = opened else { return };
        let calls = Calls {
            service: Arc::clone(&self.service),
            peer: sender,
            trusted: Arc::clone(&self.trusted),
            certificate: client.as_ref().map(|(certificate, _)| *certificate),
            max_body_bytes: self.bounds.max_body_bytes,
            max_header_bytes: self.bounds.max_header_bytes,
            body_timeout: self.bounds.body_timeout,
            line: Line::new(),
            alive: self.alive.clone(),
            room: self.room.for_connection(),
        };
        let (end, ended) = watch::channel(false);
        let ending = async move {
            match client {
                Some((_, mut replaced)) => tokio::select! {
                    () = stopped(&mut stop) => {}
                    // Who no longer vouches for the client must not be believed for as long as it keeps the line.
                    () = stopped(&mut replaced) => {}
                },
                None => stopped(&mut stop).await,
            }
            end.send_replace(true);
            end.closed().await;
        };
        self.stop = ended;
        let serving = async move {
            match protocol {
                Protocol::Http1 => http1::serve(stream, calls, &self.bounds, &mut self.stop).await,
                Protocol::Http2 => http2::serve(stream, calls, &self.bounds, &mut self.stop).await,
            }
        };
        tokio::select! {
            () = serving => {}
            () = ending => {}
        }
    }

    async fn turn_away(self, mut tcp: TcpStream, peer: IpAddr, _slot: OwnedSemaphorePermit) {
        let turn = async {
            let Some(client) = self.client(&mut tcp, peer).await else { return };
            self.tell_full(tcp, client).await;
        };
        let _ = tokio::time::timeout(TURN_AWAY, turn).await;
    }

    /// Says 503 before anything is asked. Those who speak HTTP/2 see the connection close, which their clients
    /// take for the same.
    async fn tell_full(&self, tcp: TcpStream, client: IpAddr) {
        let Some(opened) = self.open(tcp, client).await else { return };
        let Opened { mut stream, protocol: Protocol::Http1, client: shown } = opened else { return };
        let certificate = shown.map(|(certificate, _)| certificate);
        let origin = request::origin(client, certificate, &http::HeaderMap::new());
        let refusal = Refusal::Overloaded { retry_after: COME_BACK };
        let Some(answer) = caught(self.service.refuse(origin, refusal)).await.flatten() else { return };
        http1::write(&mut stream, answer).await;
        http1::linger(&mut stream).await;
    }

    /// Who a connection is from, where that can be known.
    async fn client(&self, tcp: &mut TcpStream, peer: IpAddr) -> Option<IpAddr> {
        let client = self.trusted.client(tcp, peer).await;
        let note = |why: &Option<&str>| {
            why.iter().for_each(|why| self.failures.note(Failed::ProxyProtocol, peer, why));
        };
        client.inspect_err(note).ok()
    }

    /// The handshake, and which protocol it is. `None` for a client that never said.
    async fn open(&self, mut tcp: TcpStream, client: IpAddr) -> Option<Opened> {
        // Answers are written whole; waiting to fill a packet helps nobody.
        tcp.set_nodelay(true).ok()?;
        let Some(certificate) = &self.tls else {
            let (first, protocol) = tell(&mut tcp).await?;
            let stream = Stream::plain(tcp, first, self.bounds.body_timeout);
            return Some(Opened { stream, protocol, client: None });
        };
        let (settings, replaced) = certificate.current();
        let note = |error: &io::Error| {
            // Who goes, or is cut off, has said nothing.
            if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
                self.failures.note(Failed::Tls, client, &error.to_string());
            }
        };
        let tls = TlsAcceptor::from(settings).accept(tcp).await.inspect_err(note).ok()?;
        let connection = tls.get_ref().1;
        let protocol = match connection.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        let own = connection.peer_certificates().and_then(<[_]>::first);
        let shown = own.map(|own| (Thumbprint::of(own), replaced));
        Some(Opened { stream: Stream::tls(tls, self.bounds.body_timeout), protocol, client: shown })
    }
}

/// Reads until it is told whether the client begins with HTTP/2's preface.
async fn tell(tcp: &mut TcpStream) -> Option<(Bytes, Protocol)> {
    let mut first = BytesMut::with_capacity(PREFACE.len());
    loop {
        let mut space = [0u8; PREFACE.len()];
        let room = space.get_mut(first.len()..)?;
        let count = tcp.read(room).await.ok()?;
        if count == 0 {
            return None;
        }
        first.extend_from_slice(room.get(..count)?);
        if first == PREFACE {
            return Some((first.freeze(), Protocol::Http2));
        }
        if !PREFACE.starts_with(&first) {
            return Some((first.freeze(), Protocol::Http1));
        }
    }
}
