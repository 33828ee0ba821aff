//! A door at which passwords take as long as the test wants.

use super::{DEADLINE, TestRights};
use candor_broker::shard::{Admission, Answer, Authenticate, Peer};
use candor_protocol::packet::{Connect, Reason, Refusal};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};

/// Whoever shows the password `right` is let in; nobody is answered before the gate opens.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// The door, and word of every client that asks at it.
    pub fn door(&self) -> (Arc<dyn Authenticate>, Receiver<String>) {
        let (asked, asks) = channel();
        (Arc::new(Door { gate: self.clone(), asked: Mutex::new(asked) }), asks)
    }

    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let (is_open, opened) = &*self.0;
        // A test that fails before it opens the gate must not wait for ever for the end of its broker.
        drop(opened.wait_timeout_while(is_open.lock().unwrap(), 2 * DEADLINE, |is_open| !*is_open).unwrap());
    }
}

#[derive(Debug)]
struct Door {
    gate: Gate,
    asked: Mutex<Sender<String>>,
}

impl Authenticate for Door {
    fn authenticate(&self, connect: &Connect, client_id: &Arc<str>, _: &Peer) -> Answer {
        // A test that does not listen wants no word.
        let _ = self.asked.lock().unwrap().send(client_id.to_string());
        let (gate, is_right) = (self.gate.clone(), connect.password.as_deref() == Some(b"right"));
        let principal = connect.user_name.clone().unwrap_or_default().into();
        Answer::Later(Box::new(move || {
            gate.pass();
            match is_right {
                true => Ok(Admission { principal, rights: Arc::new(TestRights) }),
                false => Err(Refusal::bare(Reason::BAD_USER_NAME_OR_PASSWORD)),
            }
        }))
    }
}
