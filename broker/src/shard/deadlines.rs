//! What falls due: each deadline to the concern that set it.

use super::patience::GRACE_MS;
use super::timers::Timer;
use super::{ConnectionKey, Shard};

impl Shard {
    /// Puts a connection's next deadline among the timers, if it is earlier than the one that is there.
    pub(super) fn schedule(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Some(deadline) = connection.session.deadline()
            && deadline < connection.timer_ms
        {
            connection.timer_ms = deadline;
            self.timers.at(deadline, Timer::connection(key, connection.generation));
        }
    }

    pub(super) fn meet_deadlines(&mut self) {
        while let Some(timer) = self.timers.due(self.now.ms) {
            match timer {
                Timer::Connection(key, generation) => {
                    let key = key as ConnectionKey;
                    let Some(connection) = self.connections.get_mut(key).filter(|c| c.generation == generation) else { continue };
                    if connection.is_put_off {
                        connection.timer_ms = self.now.ms + GRACE_MS;
                        self.timers.at(connection.timer_ms, timer);
                        continue;
                    }
                    connection.timer_ms = u64::MAX;
                    connection.session.tick(self.now.ms);
                    self.act(key);
                    self.schedule(key);
                    if let Some(slot) = self.connections.get(key).and_then(|connection| connection.client) {
                        self.pump(slot);
                    }
                }
                Timer::Notices(key, generation) => self.notices_due(key as ConnectionKey, generation),
                // The driver asks whether the end may come.
                Timer::Ending => {}
                Timer::Sys => self.sys_due(),
                Timer::Ledger => self.keep_ledger(),
                Timer::Session(slot, generation) => self.session_due(slot, generation),
                Timer::Reports => self.reports_due(),
                Timer::Wake(slot, generation) => {
                    if self.clients.get(slot).is_some_and(|client| client.generation == generation) {
                        self.wake(slot);
                    }
                }
                Timer::Pump(slot, generation) => {
                    if self.clients.get(slot).is_some_and(|client| client.generation == generation) {
                        self.pump(slot);
                    }
                }
            }
        }
    }
}
