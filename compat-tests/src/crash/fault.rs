//! A disk that fails under load: clients are refused and told, and when it is repaired the same process keeps again.

use super::run::Run;
use super::volatile::Fault;
use super::volatile::fault::REPAIR;
use crate::ensure;
use crate::outcome::{Checked, Stop};
use candor_protocol::packet::Durability;
use std::time::Instant;

impl Run {
    pub(super) fn fail_and_mend(&mut self, fault: Fault) -> Checked {
        let refused = self.ledger.counts.refused;
        self.tell_disk(fault.line())?;
        self.load_until(&format!("{fault:?}: publishers are refused"), |run| run.ledger.counts.refused > refused)?;
        self.load_until(&format!("{fault:?}: who can be told is told that nothing is kept"), |run| run.is_promised(Durability::None))?;
        self.tell_disk(REPAIR)?;
        self.load_until(&format!("{fault:?}: who was told is told that it is kept again"), |run| run.is_promised(Durability::Disk))?;
        let acknowledged = self.ledger.counts.acknowledged;
        self.load_until(&format!("{fault:?}: messages are acknowledged again"), |run| run.ledger.counts.acknowledged > acknowledged)?;
        let is_running = self.process.as_mut().is_some_and(|process| process.is_running());
        ensure!(is_running, "{fault:?}: the broker ended, and should go on");
        self.ledger.counts.faults_mended += 1;
        Ok(())
    }

    fn tell_disk(&mut self, line: &str) -> Checked {
        self.process.as_mut().ok_or_else(|| Stop::failed("there is no broker"))?.write_line(line)
    }

    /// Whether all who speak the extension and are connected were told so.
    fn is_promised(&self, durability: Durability) -> bool {
        let mut told = self.online.iter().filter(|online| online.actor.is_open).filter_map(|online| online.actor.promised).peekable();
        told.peek().is_some() && told.all(|promised| promised == durability)
    }

    fn load_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Checked {
        let deadline = Instant::now() + self.patience();
        while !is_so(self) {
            ensure!(Instant::now() < deadline, "expected within {:?} that {what}\n{}", self.patience(), self.ledger.counts);
            self.publish();
            self.pump(u64::MAX);
        }
        Ok(())
    }
}
