//! candor-rfc: the Internet-Draft, built from the tests.
//!
//! ```text
//! protocol/ broker/ client/ ...  --scan-->  clauses, recordings --.
//! exchanges/*.json               --exchange, ladder-------------> |
//! candor_protocol::packet        --table, cddl------------------> splice --> Markdown --tools--> .txt .html
//! draft/*.md                     --draft------------------------' |
//! cargo test's output            --results----------------------> check, coverage
//! ```
//!
//! Prose explains and clauses bind. A clause is the doc comment of the test that proves it ([`clause`]), so a normative
//! sentence without a test cannot be written; [`check`] refuses a draft in which one stands in the prose, in which a
//! clause has no test that passes, or in which an exchange was not recorded by a test.

pub mod cddl;
pub mod check;
pub mod clause;
pub mod coverage;
pub mod draft;
pub mod exchange;
pub mod finding;
pub mod ladder;
pub mod recorder;
pub mod results;
pub mod scan;
pub mod source;
pub mod splice;
pub mod table;
pub mod target;
pub mod tools;
pub mod workspace;
mod wrap;
