//! Exit statuses, and the failures that lead to them.

use crate::error::{Error, Misbehaved, NotAvailable, PublishError, RequestError, Step};
use crate::store::StoreError;
use candor_protocol::packet::{Reason, Refusal};
use std::fmt;
use std::process::ExitCode;

/// The exit statuses of binaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Other = 1,
    Usage = 2,
    Refused = 3,
    NoConnection = 4,
    NotAvailable = 5,
    Lost = 6,
    TimedOut = 7,
}

/// As `--help` prints them.
pub(super) const TABLE: &str = "Exit status:
  0  done
  1  another failure
  2  wrong usage
  3  refused by the peer, with the reason
  4  could not connect
  5  a guarantee that was required is not available
  6  the connection was lost later
  7  timed out";

impl Exit {
    pub const fn name(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Other => "other",
            Exit::Usage => "usage",
            Exit::Refused => "refused",
            Exit::NoConnection => "no connection",
            Exit::NotAvailable => "not available",
            Exit::Lost => "lost",
            Exit::TimedOut => "timed out",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what it was told.
#[derive(Debug)]
pub(super) enum Failure {
    Usage(String),
    /// There never was a connection.
    Connect(Error),
    /// There was one, and it is gone.
    Later(Error),
    Publish(PublishError),
    Request(RequestError),
    /// A topic filter was refused.
    Filter {
        filter: String,
        refusal: Refusal,
    },
    TimedOut(String),
    Other(String),
    /// The output has said it already.
    Said(Exit),
}

impl Failure {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Failure::Said(exit) => *exit,
            Failure::Usage(_) => Exit::Usage,
            Failure::Connect(error) => exit_of(error, Exit::NoConnection),
            Failure::Later(error) => exit_of(error, Exit::Lost),
            Failure::Filter { refusal, .. } | Failure::Publish(PublishError::Rejected(refusal)) => exit_of_refusal(refusal),
            Failure::Publish(PublishError::NotAvailable { .. }) | Failure::Request(RequestError::NotAvailable { .. }) => Exit::NotAvailable,
            Failure::Publish(PublishError::TooLarge { .. }) => Exit::Refused,
            Failure::Publish(PublishError::Lost { .. }) | Failure::Request(RequestError::Lost) => Exit::Lost,
            Failure::Publish(PublishError::Ended(error)) | Failure::Request(RequestError::Ended(error)) => exit_of(error, Exit::Lost),
            Failure::Publish(PublishError::Misuse(_)) | Failure::Request(RequestError::Misuse(_)) => Exit::Usage,
            Failure::Publish(PublishError::QueueFull { .. }) | Failure::Request(RequestError::Misbehaved(_)) => Exit::Other,
            Failure::TimedOut(_) => Exit::TimedOut,
            Failure::Other(_) => Exit::Other,
        }
    }

    /// The refusal of the peer, where it is one.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Failure::Connect(error) | Failure::Later(error) => error.refusal(),
            Failure::Publish(PublishError::Ended(error)) | Failure::Request(RequestError::Ended(error)) => error.refusal(),
            Failure::Publish(PublishError::Rejected(refusal)) | Failure::Filter { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// What happened, in one line without the refusal's details.
    pub(super) fn headline(&self) -> String {
        match self {
            Failure::Connect(Error::Refused(_)) | Failure::Later(Error::Refused(_)) => "the server refused the connection".to_owned(),
            Failure::Connect(Error::Ended(_)) | Failure::Later(Error::Ended(_)) => "the server ended the connection".to_owned(),
            Failure::Connect(Error::NotAvailable(NotAvailable::Profile(_))) => "the server cannot keep what is required".to_owned(),
            Failure::Publish(PublishError::Ended(error)) | Failure::Request(RequestError::Ended(error)) => {
                Failure::Later(error.clone()).headline()
            }
            Failure::Publish(PublishError::Rejected(_)) => "the server refused the message".to_owned(),
            Failure::Filter { filter, .. } => format!("the server refused the subscription to `{filter}`"),
            other => other.to_string(),
        }
    }
}

fn exit_of(error: &Error, otherwise: Exit) -> Exit {
    match error {
        Error::Refused(refused) => exit_of_refusal(&refused.refusal),
        Error::Ended(refused) if refused.refusal.reason.is_error() => exit_of_refusal(&refused.refusal),
        Error::NotAvailable(_) => Exit::NotAvailable,
        Error::Misuse(_) => Exit::Usage,
        Error::Transport(error) if error.step == Step::TlsFiles => Exit::Usage,
        Error::Misbehaved(Misbehaved::Silent) | Error::Transport(_) | Error::Ended(_) => otherwise,
        Error::Store(StoreError::OtherClient { .. }) => Exit::Usage,
        Error::Misbehaved(_) | Error::GivenBack(_) | Error::Store(_) | Error::Left | Error::Cancelled => Exit::Other,
    }
}

fn exit_of_refusal(refusal: &Refusal) -> Exit {
    if refusal.reason == Reason::PROFILE_NOT_AVAILABLE { Exit::NotAvailable } else { Exit::Refused }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) | Failure::TimedOut(text) | Failure::Other(text) => f.write_str(text),
            Failure::Said(exit) => f.write_str(exit.name()),
            Failure::Connect(error) | Failure::Later(error) => error.fmt(f),
            Failure::Publish(error) => error.fmt(f),
            Failure::Request(error) => error.fmt(f),
            Failure::Filter { filter, refusal } => write!(f, "the server refused the subscription to `{filter}`: {refusal}"),
        }
    }
}
