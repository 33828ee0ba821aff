//! `mosquitto_sub` and `mosquitto_pub`: the one is the client, and is started anew when it subscribes; the other
//! publishes, on a connection of its own for each message.

use super::{Event, Incoming, Options, Outgoing, PlainClient, Ticket};
use crate::outcome::{Checked, Stop};
use crate::peer::process::Process;
use crate::peer::recipe::Transport;
use crate::peer::{Unavailable, on_path};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

/// A message on a line: QoS, retain, payload in hex, topic.
const FORMAT: &str = "!%q %r %x %t";

const KEEP_ALIVE_MIN_S: u16 = 5;

/// What it listens to before it is told to subscribe, since it does not connect without a filter.
const IDLE: &str = "candor-compat/idle";

#[derive(Debug)]
pub struct Commands {
    publish: PathBuf,
    subscribe: PathBuf,
    options: Option<Options>,
    filters: Vec<(String, u8)>,
    /// With a flag that its end is expected and nobody's business.
    subscriber: Option<(Process, Arc<AtomicBool>)>,
    sender: Sender<Event>,
    events: Receiver<Event>,
}

impl Commands {
    /// # Errors
    /// They are not installed.
    pub fn open() -> Result<Self, Unavailable> {
        let (sender, events) = channel();
        let (publish, subscribe) = (on_path("mosquitto_pub")?, on_path("mosquitto_sub")?);
        Ok(Self { publish, subscribe, options: None, filters: vec![], subscriber: None, sender, events })
    }

    fn options(&self) -> Checked<&Options> {
        self.options.as_ref().ok_or_else(|| Stop::failed("not connected"))
    }

    fn command(&self, program: &PathBuf, client_id: &str) -> Checked<Command> {
        let options = self.options()?;
        // Into a pipe they would write only when they have much to say.
        let mut command = Command::new("stdbuf");
        command.arg("-oL").arg(program).args(["-V", "mqttv311", "-h"]).arg(options.address.ip().to_string());
        command.arg("-p").arg(options.address.port().to_string()).arg("-k").arg(options.keep_alive_s.to_string());
        if !client_id.is_empty() {
            command.args(["-i", client_id]);
        }
        if options.transport.is_tls() {
            command.arg("--cafile").arg(&options.authority);
        }
        for (flag, value) in [("-u", &options.user_name), ("-P", &options.password)] {
            value.iter().for_each(|value| {
                command.args([flag, value]);
            });
        }
        Ok(command)
    }

    /// Starts the subscriber on the filters so far; without any it listens to a topic that nobody publishes to. `report`
    /// is the ticket of the subscription, or none when it is only to connect.
    fn listen(&mut self, report: Option<Ticket>) -> Checked {
        let options = self.options()?;
        if options.keep_alive_s < KEEP_ALIVE_MIN_S {
            return Err(Stop::unsupported("mosquitto_sub takes no keep alive under 5 s"));
        }
        let mut command = self.command(&self.subscribe, &options.client_id)?;
        let qos = self.filters.first().map_or(0, |(_, qos)| *qos);
        if self.filters.iter().any(|(_, other)| *other != qos) {
            return Err(Stop::unsupported("mosquitto_sub asks for one QoS for all its filters"));
        }
        command.args(["-d", "-F", FORMAT, "-q", &qos.to_string()]);
        if !options.clean_session {
            command.arg("-c");
        }
        if let Some((will, qos)) = &options.will {
            command.args(["--will-topic", &will.topic, "--will-qos", &qos.to_string(), "--will-payload"]);
            command.arg(String::from_utf8_lossy(&will.payload).as_ref());
            command.args(will.retain.then_some("--will-retain"));
        }
        for filter in self.filters.iter().map(|(filter, _)| filter.as_str()).chain(self.filters.is_empty().then_some(IDLE)) {
            command.args(["-t", filter]);
        }
        let expected = Arc::<AtomicBool>::default();
        let at_end = AtEnd { sender: self.sender.clone(), expected: expected.clone() };
        let sink = Box::new(move |line: &str| {
            let event = event_of(line, report);
            let taken = event.is_some();
            // Nobody listens once the client is dropped.
            let _ = event.map(|event| at_end.sender.send(event));
            taken
        });
        self.subscriber = Some((Process::spawn("mosquitto_sub", &mut command, sink)?, expected));
        Ok(())
    }
}

/// Tells that a subscriber has ended, unless it is only to be started anew. It lives in what reads the program's output,
/// so it is dropped when that ends.
struct AtEnd {
    sender: Sender<Event>,
    expected: Arc<AtomicBool>,
}

impl Drop for AtEnd {
    fn drop(&mut self) {
        if !self.expected.load(Ordering::Acquire) {
            let _ = self.sender.send(Event::Closed { why: "mosquitto_sub ended".into() });
        }
    }
}

/// What a line of `mosquitto_sub -d` says.
fn event_of(line: &str, report: Option<Ticket>) -> Option<Event> {
    if let Some(message) = line.strip_prefix('!') {
        let mut fields = message.splitn(4, ' ');
        let (qos, retain, payload, topic) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let payload = hex_bytes(payload)?;
        return Some(Event::Message(Incoming { topic: topic.into(), payload, qos: qos.parse().ok()?, retain: retain == "1", dup: None }));
    }
    if let Some((_, codes)) = line.strip_prefix("Subscribed (mid: ").and_then(|rest| rest.split_once("): ")) {
        let codes = codes.split(", ").filter_map(|code| code.parse().ok()).collect();
        // Once it listens to nothing it waits for signals; a SIGTERM before can lock it up.
        return Some(report.map_or(Event::Connected { session_present: None }, |ticket| Event::Subscribed { ticket, codes }));
    }
    match line.split_once(" received CONNACK (")?.1.trim_end_matches(')') {
        "0" => None,
        code => Some(Event::Refused { why: format!("CONNACK {code}") }),
    }
}

fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    digits.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

impl PlainClient for Commands {
    fn connect(&mut self, options: &Options) -> Checked {
        if options.transport.is_websocket() {
            return Err(Stop::unsupported("mosquitto_pub and mosquitto_sub have no WebSocket"));
        }
        if options.transport == Transport::Tcp && options.client_id.is_empty() {
            return Err(Stop::unsupported("mosquitto_sub makes up a client identifier"));
        }
        self.options = Some(options.clone());
        self.listen(None)
    }

    fn resume(&mut self) -> Checked {
        Err(Stop::unsupported("mosquitto_pub and mosquitto_sub hold nothing between two runs"))
    }

    fn subscribe(&mut self, ticket: Ticket, filters: &[(String, u8)]) -> Checked {
        let clean = self.options()?.clean_session;
        if clean && !self.filters.is_empty() {
            return Err(Stop::unsupported("mosquitto_sub cannot subscribe to more once it runs"));
        }
        if self.options()?.will.is_some() {
            return Err(Stop::unsupported("mosquitto_sub is started anew to subscribe, which would publish the will"));
        }
        if let Some((idle, expected)) = self.subscriber.take() {
            expected.store(true, Ordering::Release);
            drop(idle);
        }
        self.filters = filters.to_vec();
        self.listen(Some(ticket))
    }

    fn unsubscribe(&mut self, _: Ticket, _: &[String]) -> Checked {
        Err(Stop::unsupported("mosquitto_sub cannot unsubscribe while it runs"))
    }

    fn publish(&mut self, ticket: Ticket, message: &Outgoing, qos: u8) -> Checked {
        let client_id = format!("{}-pub", self.options()?.client_id);
        let mut command = self.command(&self.publish, &client_id)?;
        command.args(["-q", &qos.to_string(), "-t", &message.topic]).args(message.retain.then_some("-r"));
        command.arg(if message.payload.is_empty() { "-n" } else { "-s" }).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            std::io::Write::write_all(&mut stdin, &message.payload)?;
        }
        let output = child.wait_with_output()?;
        let event = match output.status.success() {
            true => Event::Published { ticket },
            false => Event::Error { why: format!("mosquitto_pub: {}", String::from_utf8_lossy(&output.stderr).trim()) },
        };
        self.sender.send(event).map_err(|error| Stop::failed(error.to_string()))
    }

    fn disconnect(&mut self) -> Checked {
        // It sends DISCONNECT when it is asked to end.
        self.subscriber.take().map_or(Ok(()), |(mut process, _)| process.terminate())
    }

    fn drop_connection(&mut self) -> Checked {
        self.subscriber = None;
        Ok(())
    }

    fn event(&mut self, deadline: Instant) -> Checked<Option<Event>> {
        match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Closed { why }) => {
                let said = self.subscriber.as_ref().map(|(process, _)| process.log().tail()).unwrap_or_default();
                Ok(Some(Event::Closed { why: why + &said }))
            }
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Stop::failed("mosquitto_sub's events ended")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_mosquitto_sub_are_read() {
        let message = Incoming { topic: "a b/c".into(), payload: b"hi".to_vec(), qos: 1, retain: true, dup: None };
        assert_eq!(event_of("!1 1 6869 a b/c", None), Some(Event::Message(message)));
        let empty = Incoming { topic: "t".into(), payload: vec![], qos: 0, retain: false, dup: None };
        assert_eq!(event_of("!0 0  t", None), Some(Event::Message(empty)));
        assert_eq!(event_of("Subscribed (mid: 1): 2, 128", Some(3)), Some(Event::Subscribed { ticket: 3, codes: vec![2, 128] }));
        assert_eq!(event_of("Subscribed (mid: 1): 0", None), Some(Event::Connected { session_present: None }));
        assert_eq!(event_of("Client x received CONNACK (0)", None), None);
        assert_eq!(event_of("Client x received CONNACK (5)", None), Some(Event::Refused { why: "CONNACK 5".into() }));
    }
}
