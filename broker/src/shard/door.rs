//! The seam to users: who a client is, asked once for each CONNECT.

use super::{Peer, Rights};
use candor_protocol::packet::{Connect, Refusal};
use std::sync::Arc;

/// Who a client is, once that is known.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The name it proved; empty: somebody anonymous.
    pub principal: Arc<str>,
    pub rights: Arc<dyn Rights>,
}

/// Says who a client is.
pub trait Authenticate: std::fmt::Debug + Send + Sync {
    /// `client_id`: the identifier of the session, where the client sent none the one that was chosen.
    fn authenticate(&self, connect: &Connect, client_id: &Arc<str>, peer: &Peer) -> Answer;
}

/// The answer to who a client is: at once, or from work that must not hold the shard up.
pub enum Answer {
    Now(Result<Admission, Refusal>),
    Later(Box<dyn FnOnce() -> Result<Admission, Refusal> + Send>),
}

impl Answer {
    /// The answer, with the work for it done here and now: for a driver that nobody else waits for.
    ///
    /// # Errors
    /// The client is not let in.
    pub fn wait(self) -> Result<Admission, Refusal> {
        match self {
            Self::Now(answer) => answer,
            Self::Later(work) => work(),
        }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Answer::Now(_) => "Now",
            Answer::Later(_) => "Later",
        })
    }
}
