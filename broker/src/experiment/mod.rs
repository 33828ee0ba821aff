//! The broker's half of an experiment: what it does to the messages that wait for a session. The protocol's half, under the
//! same name, is a [`candor_protocol::extension::Extension`].

pub mod priority;

use crate::message::Envelope;
use candor_protocol::extension::{Extension, Registry};
use candor_protocol::packet::Refusal;
use std::fmt;
use std::sync::Arc;

/// What is in a queue that a message is about to enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueView {
    pub len: usize,
    pub bytes: usize,
}

/// What an experiment does in queues. Every method has a default that does nothing.
pub trait QueueExtension: fmt::Debug + Send + Sync {
    /// The name of the experiment, as it is negotiated.
    fn name(&self) -> &'static str;

    /// How urgent a message is; a higher rank is handed out first, and the same rank by age. `None`: no opinion.
    fn rank(&self, _envelope: &Envelope) -> Option<u64> {
        None
    }

    /// Until when a message is of use, in milliseconds since 1970; the earliest of all opinions counts.
    fn deadline(&self, _envelope: &Envelope) -> Option<u64> {
        None
    }

    /// Whether a message may enter a queue.
    ///
    /// # Errors
    /// The reason why not: the message is a gap for this subscriber.
    fn admit(&self, _envelope: &Envelope, _queue: QueueView) -> Result<(), Refusal> {
        Ok(())
    }
}

/// One experiment that this broker knows.
#[derive(Debug, Clone)]
pub struct Experiment {
    pub protocol: Arc<dyn Extension>,
    pub queue: Option<Arc<dyn QueueExtension>>,
}

/// Every experiment that this broker knows. A new one is one more row.
pub fn known() -> Vec<Experiment> {
    vec![Experiment { protocol: Arc::new(candor_protocol::extension::priority::Priority), queue: Some(Arc::new(priority::PriorityQueue)) }]
}

/// The experiments of these names: for the negotiation, and for the queues.
///
/// # Errors
/// A name that is not known, or twice; the error lists those that are.
pub fn switched_on(names: &[String]) -> Result<(Registry, QueueExtensions), String> {
    let known = known();
    let (mut registry, mut queues) = (Registry::default(), Vec::new());
    for name in names {
        let Some(experiment) = known.iter().find(|experiment| experiment.protocol.name() == name) else {
            let names: Vec<_> = known.iter().map(|experiment| experiment.protocol.name()).collect();
            return Err(format!("`{name}` is not an experiment of this broker; allowed: {}", names.join(", ")));
        };
        registry.add(Arc::clone(&experiment.protocol)).map_err(|error| error.to_string())?;
        queues.extend(experiment.queue.clone());
    }
    Ok((registry, QueueExtensions(queues)))
}

/// What all experiments together do in queues.
#[derive(Debug, Clone, Default)]
pub struct QueueExtensions(Vec<Arc<dyn QueueExtension>>);

impl QueueExtensions {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rank of a message: the first opinion counts.
    pub fn rank(&self, envelope: &Envelope) -> u64 {
        self.0.iter().find_map(|extension| extension.rank(envelope)).unwrap_or(0)
    }

    pub fn deadline(&self, envelope: &Envelope) -> Option<u64> {
        self.0.iter().filter_map(|extension| extension.deadline(envelope)).min()
    }

    /// # Errors
    /// The first objection.
    pub fn admit(&self, envelope: &Envelope, queue: QueueView) -> Result<(), Refusal> {
        self.0.iter().try_for_each(|extension| extension.admit(envelope, queue))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_experiment_is_answered_with_those_that_are_known() {
        let error = switched_on(&["x-speed".to_owned()]).unwrap_err();
        assert_eq!(error, "`x-speed` is not an experiment of this broker; allowed: x-priority");
        assert!(switched_on(&["x-priority".to_owned(), "x-priority".to_owned()]).unwrap_err().contains("taken"));
        let (registry, queues) = switched_on(&["x-priority".to_owned()]).unwrap();
        assert!(registry.names() == ["x-priority"] && !queues.is_empty());
    }
}
