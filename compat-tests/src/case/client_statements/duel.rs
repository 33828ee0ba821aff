//! A client before a server that is a script.

use crate::case::Target;
use crate::client::{Actor, Options, Outgoing};
use crate::ensure;
use crate::outcome::{Checked, Stop};
use crate::peer::{Feature, Peer, Unavailable};
use crate::wire::{Listener, Wire, hex, packet};

#[derive(Debug)]
pub struct Duel {
    pub client: &'static Peer,
    listener: Listener,
    serial: u64,
}

impl Duel {
    /// # Errors
    /// The script cannot listen.
    pub fn new(client: &'static Peer) -> Checked<Self> {
        Ok(Self { client, listener: Listener::bind("server")?, serial: Target::next_serial() })
    }

    /// # Errors
    /// [`Stop::Unsupported`], if the client lacks the feature.
    pub fn needs(&self, feature: Feature) -> Checked {
        self.client.needs(feature)
    }

    pub fn id(&self) -> String {
        format!("d{}", self.serial)
    }

    /// How the client connects to the script, with a clean session.
    pub fn options(&self) -> Options {
        Options::new(self.listener.address(), self.id())
    }

    /// # Errors
    /// The client cannot be made, or does more than it is told.
    pub fn actor(&self) -> Checked<Actor> {
        self.needs(Feature::Quiet)?;
        match crate::client::open(&self.client.name) {
            Ok(client) => Ok(Actor::new(client, "client")),
            Err(Unavailable::Broken(stop)) => Err(stop),
            Err(Unavailable::Missing(what)) => Err(Stop::failed(what)),
        }
    }

    /// The script's end of the client's next connection.
    ///
    /// # Errors
    /// The client does not connect.
    pub fn accept(&self) -> Checked<Wire> {
        self.listener.accept()
    }

    /// The script's end of the client's next connection; `None`: the client does not connect within `patience`.
    ///
    /// # Errors
    /// The socket's.
    pub fn accept_within(&self, patience: std::time::Duration) -> Checked<Option<Wire>> {
        self.listener.accept_within(patience)
    }

    /// A client that has sent CONNECT, the script's end, and the CONNECT.
    ///
    /// # Errors
    /// CONNECT does not come or is not as it must be.
    pub fn opened(&self, options: &Options) -> Checked<(Actor, Wire, Opening)> {
        let mut actor = self.actor()?;
        actor.start_connect(options)?;
        let mut server = self.accept()?;
        let opening = Opening::read(&server.next()?)?;
        Ok((actor, server, opening))
    }

    /// A client that was accepted, and the script's end.
    ///
    /// # Errors
    /// The client does not see it.
    pub fn accepted(&self, options: &Options) -> Checked<(Actor, Wire)> {
        let (mut actor, mut server, _) = self.opened(options)?;
        server.send(packet::connack(false, 0))?;
        actor.connected()?;
        Ok((actor, server))
    }

    /// A client with a clean session that was accepted, and the script's end.
    ///
    /// # Errors
    /// The client does not see it.
    pub fn ready(&self) -> Checked<(Actor, Wire)> {
        self.accepted(&self.options())
    }

    /// The client comes back with what it holds of its session, which the script has too. Some clients say that they are
    /// connected only when all that was open is done, so that is not waited for.
    ///
    /// # Errors
    /// The client cannot, or starts a clean session.
    pub fn resumed(&self, actor: &mut Actor) -> Checked<Wire> {
        actor.start_resume()?;
        let mut server = self.accept()?;
        let opening = Opening::read(&server.next()?)?;
        ensure!(opening.flags & packet::Connect::CLEAN_SESSION == 0, "the client comes back with CleanSession 1");
        server.send(packet::connack(true, 0))?;
        Ok(server)
    }

    /// A message to one topic of this duel.
    pub fn message(&self, payload: &str) -> Outgoing {
        Outgoing::new(self.topic(), payload)
    }

    pub fn topic(&self) -> String {
        format!("d{}/t", self.serial)
    }
}

/// A CONNECT as a client sent it, all of whose fields stand where they must and nothing behind.
#[derive(Debug)]
pub struct Opening {
    pub flags: u8,
    pub keep_alive_s: u16,
    pub client_id: Vec<u8>,
    pub will: Option<(Vec<u8>, Vec<u8>)>,
    pub user_name: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
}

impl Opening {
    /// # Errors
    /// The packet is not a CONNECT of MQTT 3.1.1, or its flags and fields do not fit together.
    pub fn read(packet: &[u8]) -> Checked<Self> {
        ensure!(packet.first() == Some(&0x10), "expected CONNECT, got {} {}", packet::name(packet), hex::show(packet));
        let body = packet::body(packet);
        let head = [0, 4, b'M', b'Q', b'T', b'T', 4];
        ensure!(body.len() >= 10 && body[..7] == head, "not a CONNECT of 3.1.1: {}", hex::show(packet));
        let flags = body[7];
        let mut rest = &body[10..];
        let mut string = || -> Checked<Vec<u8>> {
            let len = rest.get(..2).map(|len| usize::from(u16::from_be_bytes([len[0], len[1]])));
            let field = len.and_then(|len| rest.get(2..2 + len)).ok_or_else(|| Stop::failed("a field of CONNECT is missing"))?;
            rest = &rest[2 + field.len()..];
            Ok(field.to_vec())
        };
        let client_id = string()?;
        let will = if flags & packet::Connect::WILL != 0 { Some((string()?, string()?)) } else { None };
        let user_name = if flags & packet::Connect::USER_NAME != 0 { Some(string()?) } else { None };
        let password = if flags & packet::Connect::PASSWORD != 0 { Some(string()?) } else { None };
        ensure!(rest.is_empty(), "{} bytes stand behind the last field of CONNECT", rest.len());
        ensure!(flags & 1 == 0, "the reserved flag of CONNECT is set");
        Ok(Self { flags, keep_alive_s: u16::from_be_bytes([body[8], body[9]]), client_id, will, user_name, password })
    }
}
