//! Which statements of MQTT 3.1.1 are covered by tests, in which role, and why the others are not.

use super::{client_statements, statements};
use std::collections::BTreeSet;
use std::fmt;

/// The end that a statement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Server => "server",
            Role::Client => "client",
        })
    }
}

/// The coverage of one role.
#[derive(Debug)]
pub struct OfRole {
    pub role: Role,
    /// Every statement about this role.
    pub all: Vec<&'static str>,
    /// Those that a test proves.
    pub covered: BTreeSet<&'static str>,
    /// Those that none can prove, each with the reason.
    pub unseen: Vec<(&'static str, &'static str)>,
}

impl OfRole {
    /// Statements without a test and without a reason.
    pub fn forgotten(&self) -> Vec<&'static str> {
        let excused = |id: &&str| self.unseen.iter().any(|(unseen, _)| unseen == id);
        self.all.iter().copied().filter(|id| !self.covered.contains(id) && !excused(id)).collect()
    }
}

/// The coverage of both roles.
#[derive(Debug)]
pub struct Coverage {
    pub roles: [OfRole; 2],
}

impl Coverage {
    pub fn of_all() -> Self {
        let of_servers = statements::STATEMENTS.iter().flat_map(|statement| statement.ids).copied();
        let of_clients = client_statements::CLIENT_STATEMENTS.iter().flat_map(|statement| statement.ids).copied();
        let server = OfRole {
            role: Role::Server,
            all: statements::SERVER_IDS.to_vec(),
            covered: of_servers.filter(|id| statements::SERVER_IDS.contains(id)).collect(),
            unseen: statements::UNSEEN.to_vec(),
        };
        let client = OfRole {
            role: Role::Client,
            all: client_statements::CLIENT_IDS.to_vec(),
            covered: of_clients.filter(|id| client_statements::CLIENT_IDS.contains(id)).collect(),
            unseen: client_statements::UNSEEN.to_vec(),
        };
        Self { roles: [server, client] }
    }

    /// Whether every statement has a test, or a reason why it has none.
    pub fn is_complete(&self) -> bool {
        self.roles.iter().all(|role| role.forgotten().is_empty())
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = |pick: fn(&OfRole) -> Vec<&'static str>| self.roles.iter().flat_map(pick).collect::<BTreeSet<_>>();
        let (all, covered) = (ids(|role| role.all.clone()), ids(|role| role.covered.iter().copied().collect()));
        writeln!(f, "statements of MQTT 3.1.1: {} of {} covered", covered.len(), all.len())?;
        for role in &self.roles {
            writeln!(f, "\n{}: {} of {} covered", role.role, role.covered.len(), role.all.len())?;
            for (id, reason) in &role.unseen {
                writeln!(f, "  [{id}] not covered: {reason}")?;
            }
            for id in role.forgotten() {
                writeln!(f, "  [{id}] not covered, and nobody says why")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_covered_and_what_is_not_adds_up_to_all() {
        let coverage = Coverage::of_all();
        for role in &coverage.roles {
            assert_eq!(role.covered.len() + role.unseen.len() + role.forgotten().len(), role.all.len(), "{}", role.role);
        }
        assert!(coverage.is_complete(), "{coverage}");
    }

    #[test]
    fn a_statement_without_a_test_and_without_a_reason_is_shown() {
        let mut coverage = Coverage::of_all();
        coverage.roles[0].covered.remove("MQTT-3.1.0-2");
        assert!(!coverage.is_complete());
        assert!(coverage.to_string().contains("[MQTT-3.1.0-2] not covered, and nobody says why"), "{coverage}");
    }
}
