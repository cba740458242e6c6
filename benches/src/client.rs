//! One MQTT connection: the handshake, then packets in and bytes out.

use std::io;
use std::time::Duration;

use banyan_core::mqtt::packet::{
    Ack, Connect, Disconnect, Packet, ProtocolVersion, QoS, RetainHandling, Subscribe, SubscribeFilter, UserProperties,
};
use banyan_core::mqtt::{DecodeError, DecodeLimits, ReasonCode, decode_as_client, encode};
use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time to connect and to be answered.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a connection could not be made, or ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("{}", .0.kind())]
    Io(#[from] io::Error),
    #[error("closed by the broker")]
    Closed,
    #[error("no answer to CONNECT within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    #[error("refused: {0}")]
    Refused(ReasonCode),
    #[error("DISCONNECT from the broker: {0}")]
    Disconnected(ReasonCode),
    #[error("no acknowledgement for {0} s")]
    Stalled(u64),
    #[error("the broker sent what is no MQTT: {0}")]
    Decode(#[from] DecodeError),
    #[error("the broker sent an unexpected packet")]
    Unexpected,
}

/// A connection after CONNACK.
pub(crate) struct Client {
    stream: TcpStream,
    version: ProtocolVersion,
    received: BytesMut,
    unsent: BytesMut,
    /// Messages the broker lets us have in flight.
    pub(crate) receive_maximum: u16,
    /// Whether the broker knew the session.
    pub(crate) session_present: bool,
}

/// What CONNECT asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session {
    pub(crate) clean_start: bool,
    /// Session Expiry Interval, seconds.
    pub(crate) expiry_s: Option<u32>,
    /// Receive Maximum of the client.
    pub(crate) receive_maximum: Option<u16>,
}

impl Session {
    /// A session that ends with its connection.
    const CLEAN: Self = Self {
        clean_start: true,
        expiry_s: None,
        receive_maximum: None,
    };
}

impl Client {
    /// Connects to `address` (`host:port`) with a clean session and no keep alive.
    pub(crate) async fn connect(address: &str, version: ProtocolVersion, client_id: &str) -> Result<Self, ClientError> {
        Self::connect_session(address, version, client_id, Session::CLEAN).await
    }

    /// As [`connect`](Self::connect), with a session as asked for.
    pub(crate) async fn connect_session(
        address: &str,
        version: ProtocolVersion,
        client_id: &str,
        session: Session,
    ) -> Result<Self, ClientError> {
        timeout(CONNECT_TIMEOUT, Self::handshake(address, version, client_id, session))
            .await
            .map_err(|_| ClientError::Timeout)?
    }

    async fn handshake(
        address: &str,
        version: ProtocolVersion,
        client_id: &str,
        session: Session,
    ) -> Result<Self, ClientError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream,
            version,
            received: BytesMut::with_capacity(16 * 1024),
            unsent: BytesMut::with_capacity(16 * 1024),
            receive_maximum: u16::MAX,
            session_present: false,
        };
        encode(
            &connect_packet(version, client_id, session),
            version,
            &mut client.unsent,
        );
        loop {
            client.flush()?;
            client.wait().await?;
            match client.next_packet()? {
                None => {}
                Some(Packet::ConnAck(connack)) if connack.reason.is_failure() => {
                    return Err(ClientError::Refused(connack.reason));
                }
                Some(Packet::ConnAck(connack)) => {
                    client.receive_maximum = connack.receive_maximum.unwrap_or(u16::MAX);
                    client.session_present = connack.session_present;
                    return Ok(client);
                }
                Some(_) => return Err(ClientError::Unexpected),
            }
        }
    }

    /// Bytes to be sent are appended here; [`flush`](Self::flush) sends them.
    pub(crate) fn unsent(&mut self) -> &mut BytesMut {
        &mut self.unsent
    }

    /// Appends a packet to what is sent next.
    pub(crate) fn send(&mut self, packet: &Packet) {
        encode(packet, self.version, &mut self.unsent);
    }

    /// Subscribes, and waits for SUBACK.
    pub(crate) async fn subscribe(
        &mut self,
        filter: &str,
        qos: QoS,
        user_properties: UserProperties,
    ) -> Result<(), ClientError> {
        self.send(&Packet::Subscribe(Box::new(Subscribe {
            packet_id: 1,
            subscription_id: None,
            user_properties,
            filters: vec![SubscribeFilter {
                filter: Bytes::copy_from_slice(filter.as_bytes()),
                qos,
                no_local: false,
                retain_as_published: false,
                retain_handling: RetainHandling::Send,
            }],
        })));
        loop {
            match self.next_packet()? {
                Some(Packet::SubAck(suback)) => {
                    let refused = suback.reasons.iter().find(|reason| reason.is_failure());
                    return refused.map_or(Ok(()), |reason| Err(ClientError::Refused(*reason)));
                }
                Some(Packet::Publish(publish)) if publish.retain => {}
                Some(_) => return Err(ClientError::Unexpected),
                None => {
                    self.flush()?;
                    self.wait().await?;
                }
            }
        }
    }

    /// The socket alone, for a connection that stays idle.
    pub(crate) fn into_socket(self) -> TcpStream {
        self.stream
    }

    /// Sends as much as the socket takes; [`wait`](Self::wait) sends the rest when it takes more.
    pub(crate) fn flush(&mut self) -> Result<(), ClientError> {
        while !self.unsent.is_empty() {
            match self.stream.try_write(&self.unsent) {
                Ok(sent) if sent == self.unsent.len() => self.unsent.clear(), // keeps the buffer's start
                Ok(sent) => drop(self.unsent.split_to(sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until more was received, sending what is unsent meanwhile. Cancelling loses nothing.
    pub(crate) async fn wait(&mut self) -> Result<(), ClientError> {
        loop {
            let (mut read, write) = self.stream.split();
            tokio::select! {
                biased;
                received = read.read_buf(&mut self.received) => return match received? {
                    0 => Err(ClientError::Closed),
                    _ => Ok(()),
                },
                writable = write.writable(), if !self.unsent.is_empty() => writable?,
            }
            self.flush()?;
        }
    }

    /// The next packet received, if all of it is there.
    pub(crate) fn next_packet(&mut self) -> Result<Option<Packet>, ClientError> {
        Ok(decode_as_client(
            &mut self.received,
            self.version,
            &DecodeLimits::default(),
        )?)
    }

    /// Says goodbye, as far as the socket takes it at once.
    pub(crate) fn disconnect(mut self) {
        encode(
            &Packet::Disconnect(Disconnect::default()),
            self.version,
            &mut self.unsent,
        );
        let _gone_either_way = self.flush();
    }
}

fn connect_packet(version: ProtocolVersion, client_id: &str, session: Session) -> Packet {
    Packet::Connect(Box::new(Connect {
        version,
        clean_start: session.clean_start,
        keep_alive_s: 0,
        client_id: Bytes::copy_from_slice(client_id.as_bytes()),
        session_expiry_s: session.expiry_s,
        receive_maximum: session.receive_maximum,
        maximum_packet_size: None,
        topic_alias_maximum: None,
        request_response_information: false,
        request_problem_information: true,
        user_properties: Vec::new(),
        authentication_method: None,
        authentication_data: None,
        will: None,
        user_name: None,
        password: None,
    }))
}

/// An acknowledgement that says nothing but yes.
pub(crate) fn answer(packet_id: u16) -> Ack {
    Ack {
        packet_id,
        ..Ack::default()
    }
}
