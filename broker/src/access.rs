//! Who may connect: the users and rights of a configuration, as the driver asks for them.

use crate::config::Config;
use crate::config::command::Passwd;
use crate::config::listener::{Anonymous, Listener};
use crate::driver::{Answer, Authenticate};
use crate::shard::settings::AllRights;
use crate::shard::{Admission, Peer};
use crate::start::StartError;
use candor_protocol::packet::{Connect, Problem, Reason, Refusal, Retry};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug)]
pub struct Access {}

pub fn load(_config: &Config) -> Result<Access, StartError> {
    Ok(Access {})
}

impl Access {
    pub fn for_listener(&self, listener: &Listener) -> Arc<dyn Authenticate> {
        Arc::new(AnonymousClients(listener.anonymous))
    }
}

#[derive(Debug)]
struct AnonymousClients(Anonymous);

impl Authenticate for AnonymousClients {
    fn authenticate(&self, _connect: &Connect, peer: &Peer) -> Answer {
        let allowed = match self.0 {
            Anonymous::Always => true,
            Anonymous::Never => false,
            Anonymous::Loopback => peer.address.ip().to_canonical().is_loopback(),
        };
        Answer::Now(match allowed {
            true => Ok(Admission { principal: "".into(), rights: Arc::new(AllRights) }),
            false => {
                let problem = Problem::titled("this listener serves no anonymous clients").rule("anonymous").retry(Retry::Changed);
                Err(Refusal::new(Reason::NOT_AUTHORIZED, problem))
            }
        })
    }
}

pub fn passwd(_passwd: &Passwd) -> ExitCode {
    ExitCode::FAILURE
}
