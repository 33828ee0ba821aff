//! rumqttc, on a thread with a runtime of its own.

use super::{Event, Incoming, Options, Outgoing, PlainClient, Ticket};
use crate::outcome::{Checked, Stop};
use crate::peer::recipe::Transport;
use rumqttc::{AsyncClient, ConnectionError, EventLoop, LastWill, MqttOptions, Packet, QoS, SubscribeFilter};
use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How many requests may wait for the event loop.
const REQUESTS_MAX: usize = 4096;

/// The most bytes of a packet either way.
const PACKET_MAX: usize = 8 << 20;

#[derive(Default)]
pub struct Rumqttc {
    running: Option<Running>,
}

impl std::fmt::Debug for Rumqttc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rumqttc").finish_non_exhaustive()
    }
}

struct Running {
    client: AsyncClient,
    orders: UnboundedSender<Order>,
    events: Receiver<Event>,
    asked: Arc<Mutex<Asked>>,
}

enum Order {
    DropConnection,
    Resume,
}

/// Requests that the event loop has not yet given an identifier, in order.
#[derive(Default)]
struct Asked {
    publish: VecDeque<(Ticket, u8)>,
    subscribe: VecDeque<Ticket>,
    unsubscribe: VecDeque<Ticket>,
}

impl Rumqttc {
    fn running(&mut self) -> Checked<&mut Running> {
        self.running.as_mut().ok_or_else(|| Stop::failed("not connected"))
    }
}

impl Running {
    fn asked(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PlainClient for Rumqttc {
    fn connect(&mut self, options: &Options) -> Checked {
        let options = mqtt_options(options)?;
        let (client, event_loop) = AsyncClient::new(options, REQUESTS_MAX);
        let (orders, taken) = unbounded_channel();
        let (sender, events) = channel();
        let asked = Arc::<Mutex<Asked>>::default();
        let work =
            Loop { event_loop, orders: taken, events: sender, asked: asked.clone(), open: HashMap::new(), subscriptions: HashMap::new() };
        std::thread::spawn(move || work.run());
        self.running = Some(Running { client, orders, events, asked });
        Ok(())
    }

    fn resume(&mut self) -> Checked {
        self.running()?.orders.send(Order::Resume).map_err(gone)
    }

    fn subscribe(&mut self, ticket: Ticket, filters: &[(String, u8)]) -> Checked {
        let running = self.running()?;
        running.asked().subscribe.push_back(ticket);
        let filters = filters.iter().map(|(filter, qos)| SubscribeFilter::new(filter.clone(), quality(*qos)));
        running.client.try_subscribe_many(filters).map_err(gone)
    }

    fn unsubscribe(&mut self, ticket: Ticket, filters: &[String]) -> Checked {
        let [filter] = filters else { return Err(Stop::unsupported("rumqttc puts one filter in an UNSUBSCRIBE")) };
        let running = self.running()?;
        running.asked().unsubscribe.push_back(ticket);
        running.client.try_unsubscribe(filter).map_err(gone)
    }

    fn publish(&mut self, ticket: Ticket, message: &Outgoing, qos: u8) -> Checked {
        let running = self.running()?;
        running.asked().publish.push_back((ticket, qos));
        running.client.try_publish(&message.topic, quality(qos), message.retain, message.payload.clone()).map_err(gone)
    }

    fn disconnect(&mut self) -> Checked {
        self.running()?.client.try_disconnect().map_err(gone)
    }

    fn drop_connection(&mut self) -> Checked {
        self.running()?.orders.send(Order::DropConnection).map_err(gone)
    }

    fn event(&mut self, deadline: Instant) -> Checked<Option<Event>> {
        match self.running()?.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Stop::failed("rumqttc's event loop ended")),
        }
    }
}

fn gone(error: impl std::fmt::Display) -> Stop {
    Stop::failed(format!("rumqttc: {error}"))
}

fn quality(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

fn mqtt_options(options: &Options) -> Checked<MqttOptions> {
    if options.transport != Transport::Tcp {
        return Err(Stop::unsupported("rumqttc is built without TLS and WebSocket here: they bring a second TLS provider"));
    }
    let mut mqtt = MqttOptions::new(&options.client_id, options.address.ip().to_string(), options.address.port());
    if options.client_id.is_empty() && !options.clean_session {
        return Err(Stop::unsupported("rumqttc refuses an empty client identifier with a stored session"));
    }
    mqtt.set_clean_session(options.clean_session).set_keep_alive(Duration::from_secs(options.keep_alive_s.into()));
    mqtt.set_max_packet_size(PACKET_MAX, PACKET_MAX);
    if let Some((will, qos)) = &options.will {
        mqtt.set_last_will(LastWill::new(&will.topic, will.payload.clone(), quality(*qos), will.retain));
    }
    if let Some(user_name) = &options.user_name {
        mqtt.set_credentials(user_name, options.password.clone().unwrap_or_default());
    }
    Ok(mqtt)
}

/// The thread's work.
struct Loop {
    event_loop: EventLoop,
    orders: UnboundedReceiver<Order>,
    events: Sender<Event>,
    asked: Arc<Mutex<Asked>>,
    /// Publications by packet identifier.
    open: HashMap<u16, Ticket>,
    /// Subscriptions and unsubscriptions by packet identifier.
    subscriptions: HashMap<u16, Ticket>,
}

impl Loop {
    fn run(mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.work()),
            Err(error) => self.tell(Event::Error { why: error.to_string() }),
        }
    }

    /// Polls until the connection ends; then waits to be told to resume, or ends with its client.
    async fn work(&mut self) {
        loop {
            let polled = tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    None => return,
                    Some(Order::Resume) => continue,
                    Some(Order::DropConnection) => {
                        self.event_loop.clean();
                        self.tell(Event::Closed { why: "dropped".into() });
                        None
                    }
                },
                polled = self.event_loop.poll() => Some(polled),
            };
            match polled {
                Some(Ok(rumqttc::Event::Outgoing(rumqttc::Outgoing::Disconnect))) => {
                    // It was sent; to close is left to the application.
                    self.event_loop.clean();
                    self.tell(Event::Closed { why: "disconnected".into() });
                }
                Some(Ok(event)) => {
                    self.note(event);
                    continue;
                }
                Some(Err(error)) => self.failed(&error),
                None => {}
            }
            if self.orders.recv().await.is_none() {
                return;
            }
        }
    }

    fn failed(&self, error: &ConnectionError) {
        let why = error.to_string();
        match error {
            ConnectionError::ConnectionRefused(_) => self.tell(Event::Refused { why }),
            _ => self.tell(Event::Closed { why }),
        }
    }

    fn note(&mut self, event: rumqttc::Event) {
        let event = match event {
            rumqttc::Event::Incoming(packet) => self.incoming(packet),
            rumqttc::Event::Outgoing(outgoing) => self.outgoing(&outgoing),
        };
        if let Some(event) = event {
            self.tell(event);
        }
    }

    fn incoming(&mut self, packet: Packet) -> Option<Event> {
        let published = |ticket| Event::Published { ticket };
        match packet {
            Packet::ConnAck(connack) => Some(Event::Connected { session_present: Some(connack.session_present) }),
            Packet::Publish(publish) => Some(Event::Message(Incoming {
                topic: publish.topic,
                payload: publish.payload.to_vec(),
                qos: publish.qos as u8,
                retain: publish.retain,
                dup: Some(publish.dup),
            })),
            Packet::PubAck(ack) => self.open.remove(&ack.pkid).map(published),
            Packet::PubComp(ack) => self.open.remove(&ack.pkid).map(published),
            Packet::UnsubAck(ack) => self.subscriptions.remove(&ack.pkid).map(|ticket| Event::Unsubscribed { ticket }),
            Packet::SubAck(ack) => {
                let codes = ack.return_codes.iter().map(|code| match code {
                    rumqttc::SubscribeReasonCode::Success(qos) => *qos as u8,
                    rumqttc::SubscribeReasonCode::Failure => 0x80,
                });
                let codes = codes.collect();
                self.subscriptions.remove(&ack.pkid).map(|ticket| Event::Subscribed { ticket, codes })
            }
            _ => None,
        }
    }

    /// What is sent tells which identifier a request got; a PUBLISH that is sent again has its ticket already.
    fn outgoing(&mut self, outgoing: &rumqttc::Outgoing) -> Option<Event> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match outgoing {
            rumqttc::Outgoing::Publish(id) if !self.open.contains_key(id) => {
                let (ticket, qos) = asked.publish.pop_front()?;
                if qos == 0 {
                    return Some(Event::Published { ticket });
                }
                self.open.insert(*id, ticket);
                None
            }
            rumqttc::Outgoing::Subscribe(id) => {
                asked.subscribe.pop_front().and_then(|ticket| self.subscriptions.insert(*id, ticket)).and(None)
            }
            rumqttc::Outgoing::Unsubscribe(id) => {
                asked.unsubscribe.pop_front().and_then(|ticket| self.subscriptions.insert(*id, ticket)).and(None)
            }
            _ => None,
        }
    }

    fn tell(&self, event: Event) {
        // A client that was dropped hears nothing more.
        let _ = self.events.send(event);
    }
}
