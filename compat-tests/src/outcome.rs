//! What a case comes to, and the error that ends one early.

use std::fmt;

/// The result of one case on one pair of peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// What was promised did not happen; the text says what was expected, what came, and what was seen on the way.
    Failed(String),
    /// One of the peers cannot do what the case is about, and says so.
    Unsupported(String),
}

/// Why a case ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    Failed(String),
    Unsupported(String),
    /// A fault of the broker's hit the case by chance, as the broker's log says; the case has shown nothing.
    Hit(String),
}

/// The result of a step of a case.
pub type Checked<T = ()> = Result<T, Stop>;

impl Stop {
    pub fn failed(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }

    pub fn unsupported(why: impl Into<String>) -> Self {
        Self::Unsupported(why.into())
    }

    /// Says where or with what it happened, in front of what happened.
    pub fn within(self, place: impl fmt::Display) -> Self {
        match self {
            Self::Failed(why) => Self::Failed(format!("{place}: {why}")),
            Self::Unsupported(why) => Self::Unsupported(format!("{place}: {why}")),
            Self::Hit(why) => Self::Hit(format!("{place}: {why}")),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) | Self::Hit(why) => f.write_str(why),
            Self::Unsupported(why) => write!(f, "unsupported: {why}"),
        }
    }
}

impl std::error::Error for Stop {}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<Checked> for Outcome {
    fn from(checked: Checked) -> Self {
        match checked {
            Ok(()) => Self::Passed,
            Err(Stop::Failed(why) | Stop::Hit(why)) => Self::Failed(why),
            Err(Stop::Unsupported(why)) => Self::Unsupported(why),
        }
    }
}

/// Adds the place to the error of a step.
pub trait Within<T> {
    /// # Errors
    /// The step's own, with `place` in front.
    fn within(self, place: impl fmt::Display) -> Checked<T>;
}

impl<T, E: Into<Stop>> Within<T> for Result<T, E> {
    fn within(self, place: impl fmt::Display) -> Checked<T> {
        self.map_err(|error| error.into().within(place))
    }
}

/// Ends the case as failed unless the condition holds; the rest is a format string.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::outcome::Stop::failed(format!($($message)+)));
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_goes_in_front_of_what_happened() {
        let step: Result<(), Stop> = Err(Stop::failed("no PUBACK"));
        assert_eq!(step.within("publisher").within("mosquitto"), Err(Stop::failed("mosquitto: publisher: no PUBACK")));
    }
}
