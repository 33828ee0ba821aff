//! Whole exchanges over a [`Wire`] by a client that behaves: what a case does on its way to the point it is about.

use super::packet::{self, Delivery, PUBACK, PUBCOMP, PUBREC, PUBREL};
use super::{Wire, hex};
use crate::outcome::Checked;

impl Wire {
    /// Sends CONNECT and sees it accepted; returns session present.
    ///
    /// # Errors
    /// It is refused, or another packet comes first.
    pub fn connected(&mut self, connect: &packet::Connect) -> Checked<bool> {
        self.send(connect.bytes())?;
        let connack = self.expect_hex("20 02 .. 00")?;
        Ok(connack[2] == 1)
    }

    /// Subscribes and sees every filter granted what was asked for. Messages may come before SUBACK (section 3.8.4); they
    /// stay to be read.
    ///
    /// # Errors
    /// A filter is refused or granted less.
    pub fn subscribed<T: AsRef<[u8]>>(&mut self, filters: &[(T, u8)]) -> Checked {
        self.send(packet::subscribe(0x0A0A, filters))?;
        let granted: Vec<u8> = filters.iter().map(|(_, qos)| *qos).collect();
        let suback = self.skip_to(9).map_err(|stop| stop.within("expected SUBACK"))?;
        if suback == packet::suback(0x0A0A, &granted) {
            return Ok(());
        }
        Err(self.failure(format!("expected SUBACK with {granted:02x?}, got {}", hex::show(&suback))))
    }

    /// Unsubscribes and sees UNSUBACK.
    ///
    /// # Errors
    /// Another packet comes first.
    pub fn unsubscribed<T: AsRef<[u8]>>(&mut self, filters: &[T]) -> Checked {
        self.send(packet::unsubscribe(0x0B0B, filters))?;
        self.expect(packet::ack(0xB0, 0x0B0B))
    }

    /// Publishes and completes the exchange of its QoS; at QoS 0 a PINGREQ shows that it was read.
    ///
    /// # Errors
    /// Another packet comes first.
    pub fn published(&mut self, topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>, qos: u8) -> Checked {
        self.deliver(packet::publish(topic, payload, qos, 0x0C0C), qos)
    }

    /// As [`Wire::published`], with RETAIN.
    ///
    /// # Errors
    /// Another packet comes first.
    pub fn published_retained(&mut self, topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>, qos: u8) -> Checked {
        self.deliver(packet::publish_retained(topic, payload, qos, 0x0C0C), qos)
    }

    fn deliver(&mut self, publish: Vec<u8>, qos: u8) -> Checked {
        self.send(publish)?;
        match qos {
            0 => self.ping(),
            1 => self.expect(packet::ack(PUBACK, 0x0C0C)),
            _ => {
                self.expect(packet::ack(PUBREC, 0x0C0C))?;
                self.send(packet::ack(PUBREL, 0x0C0C))?;
                self.expect(packet::ack(PUBCOMP, 0x0C0C))
            }
        }
    }

    /// Receives a PUBLISH and completes the exchange of its QoS.
    ///
    /// # Errors
    /// Another packet comes first.
    pub fn received(&mut self) -> Checked<Delivery> {
        let seen = self.expect_publish()?;
        self.settle(&seen)?;
        Ok(seen)
    }

    /// Receives a PUBLISH of this topic and payload, and completes the exchange of its QoS.
    ///
    /// # Errors
    /// Another packet comes first.
    pub fn received_message(&mut self, topic: &str, payload: &str) -> Checked<Delivery> {
        let seen = self.expect_message(topic, payload)?;
        self.settle(&seen)?;
        Ok(seen)
    }

    /// Completes the exchange of a PUBLISH that came.
    ///
    /// # Errors
    /// Another packet than PUBREL comes next.
    pub fn settle(&mut self, seen: &Delivery) -> Checked {
        match seen.qos {
            0 => Ok(()),
            1 => self.send(packet::ack(PUBACK, seen.id)),
            2 => {
                self.send(packet::ack(PUBREC, seen.id))?;
                self.expect(packet::ack(PUBREL, seen.id))?;
                self.send(packet::ack(PUBCOMP, seen.id))
            }
            _ => Err(self.failure(format!("a PUBLISH with QoS 3: {}", hex::show(&seen.topic)))),
        }
    }

    /// Receives messages, acknowledging each, until `count` have come and every exchange is complete.
    ///
    /// # Errors
    /// One does not come in time.
    pub fn receive_all(&mut self, count: usize) -> Checked<Vec<Delivery>> {
        self.receive_until(|seen| seen.len() >= count)
    }

    /// Receives messages, acknowledging each, until there are `enough` and every exchange is complete; packets of the
    /// exchanges come between.
    ///
    /// # Errors
    /// Nothing comes in time.
    pub fn receive_until(&mut self, enough: impl Fn(&[Delivery]) -> bool) -> Checked<Vec<Delivery>> {
        let mut seen = vec![];
        let mut open = 0;
        while !enough(&seen) || open > 0 {
            let packet = self.next().map_err(|stop| stop.within(format!("{} messages have come", seen.len())))?;
            if packet[0] == PUBREL {
                self.send(packet::ack(PUBCOMP, packet::id_of(&packet)?))?;
                open -= 1;
                continue;
            }
            let delivery = Delivery::read(&packet).map_err(|stop| self.failure(stop.to_string()))?;
            match delivery.qos {
                1 => self.send(packet::ack(PUBACK, delivery.id))?,
                2 => {
                    self.send(packet::ack(PUBREC, delivery.id))?;
                    open += 1;
                }
                _ => {}
            }
            seen.push(delivery);
        }
        Ok(seen)
    }
}

/// The payloads of deliveries, as text.
pub fn payloads(seen: &[Delivery]) -> Vec<String> {
    seen.iter().map(Delivery::payload_text).collect()
}
