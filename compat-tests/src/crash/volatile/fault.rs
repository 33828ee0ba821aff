//! What goes wrong on a disk, and how the harness says so.

use std::io::{self, BufRead};
use std::sync::{Arc, Mutex, PoisonError};

/// What goes wrong until it is repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Writes fail, and write nothing.
    Write,
    /// Writes fail behind a part of what they were to write.
    ShortWrite,
    /// Syncs fail, and what they were to keep is lost.
    Sync,
    /// There is no space.
    Full,
}

impl Fault {
    pub const ALL: [Self; 4] = [Self::Write, Self::ShortWrite, Self::Sync, Self::Full];

    /// The line that makes it begin.
    pub fn line(self) -> &'static str {
        match self {
            Self::Write => "fault write",
            Self::ShortWrite => "fault short-write",
            Self::Sync => "fault sync",
            Self::Full => "fault full",
        }
    }
}

/// The line that ends every fault.
pub const REPAIR: &str = "repair";

/// The fault that is in force.
#[derive(Debug, Clone, Default)]
pub struct Switch(Arc<Mutex<Option<Fault>>>);

impl Switch {
    pub fn get(&self) -> Option<Fault> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, fault: Option<Fault>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Does what the lines say, until they end.
    ///
    /// # Errors
    /// A line says nothing that is known, or cannot be read.
    pub fn follow(&self, lines: impl BufRead) -> io::Result<()> {
        for line in lines.lines() {
            let line = line?;
            let fault = Fault::ALL.into_iter().find(|fault| fault.line() == line);
            if fault.is_none() && line != REPAIR {
                let what = format!("{line:?} is no line of the harness: it is {REPAIR:?}, or one of {:?}", Fault::ALL.map(Fault::line));
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
            self.set(fault);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_makes_a_fault_begin_and_another_ends_it() {
        for fault in Fault::ALL {
            let switch = Switch::default();
            switch.follow(format!("{}\n", fault.line()).as_bytes()).unwrap();
            assert_eq!(switch.get(), Some(fault));
            switch.follow(REPAIR.as_bytes()).unwrap();
            assert_eq!(switch.get(), None);
        }
        let error = Switch::default().follow("fault unknown".as_bytes()).unwrap_err();
        assert!(error.to_string().contains("fault unknown"), "{error}");
    }
}
