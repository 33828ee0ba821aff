//! What one client may do: the rules that are about it, with its names filled in, compiled once when it connects.

use super::pattern::{Matcher, Names, TopicPattern, Unfit, overlap};
use super::rules::{Action, Rule, Rules};
use candor_protocol::packet::id::Qos;
use candor_protocol::packet::problem::{Problem, Refusal, Retry};
use candor_protocol::packet::reason::Reason;
use candor_protocol::packet::reserved::{ENVELOPE, FEEDBACK, OPERATOR, is_of};
use candor_protocol::packet::topic::{TopicFilter, pattern_covers};
use std::sync::Arc;

/// How refusals call what holds without a rules file.
const NO_RULES: &str = "no rules file";

/// The longest topic or filter that a refusal repeats, in bytes.
const SHOWN_LEN_MAX: usize = 1024;

/// The answer to a question that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant<'a> {
    /// The highest QoS that is granted; a subscription that asks for more is granted this.
    pub qos_max: Qos,
    /// The rule that granted it; `None` where no rule was needed.
    pub rule: Option<&'a str>,
}

/// The rights of one client. Cheap to ask, and never changed: new rules make new rights.
#[derive(Debug)]
pub struct Rights {
    /// `None`: there is no rules file.
    rules: Option<Arc<Rules>>,
    publish: Box<[Entry]>,
    subscribe: Box<[Entry]>,
    /// The first allow rule whose pattern could not be filled in, and why: the reason of a refusal is often here.
    passed_over: Option<(u32, Unfit)>,
}

/// One pattern of one rule. The entries keep the order of the rules.
#[derive(Debug)]
struct Entry {
    /// `None`: everything. That is what a deny rule covers whose pattern cannot be filled in, since what it was to cover is not known.
    pattern: Option<Matcher>,
    rule: u32,
    unfit: Option<Unfit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Publish,
    Will,
    Subscribe,
}

impl Verb {
    const fn name(self) -> &'static str {
        match self {
            Verb::Publish => "publish",
            Verb::Will => "will",
            Verb::Subscribe => "subscribe",
        }
    }
}

impl Rights {
    /// The rights of every client where there is no rules file: everything but publishing to topics that begin with `$`.
    pub fn open() -> Self {
        Self { rules: None, publish: Box::default(), subscribe: Box::default(), passed_over: None }
    }

    /// The rights that `rules` give to a client; `user` is `None` for an anonymous one.
    pub fn compile(rules: &Arc<Rules>, user: Option<&str>, client_id: &str) -> Self {
        let (mut publish, mut subscribe, mut passed_over) = (Vec::new(), Vec::new(), None);
        let names = Names { user, client_id };
        for (at, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.is_about(user, client_id)) {
            // A file of at most 16 MiB has fewer rules than a u32 counts.
            let at = at as u32;
            for (patterns, entries) in [(&rule.publish, &mut publish), (&rule.subscribe, &mut subscribe)] {
                entries.extend(patterns.iter().filter_map(|pattern| entry(pattern, names, rule, at, &mut passed_over)));
            }
        }
        Self { rules: Some(rules.clone()), publish: publish.into(), subscribe: subscribe.into(), passed_over }
    }

    /// Whether the client may publish to `topic`, a valid topic name.
    ///
    /// # Errors
    /// The refusal: it names the rule, the right that is missing, and for a QoS the limit.
    pub fn publish(&self, topic: &[u8], qos: Qos, retain: bool) -> Result<Grant<'_>, Refusal> {
        self.send(Verb::Publish, topic, qos, retain)
    }

    /// Whether the client may have a will to `topic`; asked when it connects, so that nobody relies on a will that is refused later.
    ///
    /// # Errors
    /// As for [`Rights::publish`].
    pub fn will(&self, topic: &[u8], qos: Qos, retain: bool) -> Result<Grant<'_>, Refusal> {
        self.send(Verb::Will, topic, qos, retain)
    }

    /// Whether [`Rights::publish`] allows a topic without a look at a rule: there are none, and it is not one of the server's.
    #[inline]
    pub fn publishes_freely(&self, topic: &[u8]) -> bool {
        self.rules.is_none() && topic.first() != Some(&b'$')
    }

    fn send(&self, verb: Verb, topic: &[u8], qos: Qos, retain: bool) -> Result<Grant<'_>, Refusal> {
        if topic.starts_with(FEEDBACK.as_bytes()) || topic.starts_with(ENVELOPE.as_bytes()) {
            let problem = missing(verb, topic).detail("these topics are views that the server makes: nobody publishes there");
            return Err(Refusal::new(Reason::NOT_AUTHORIZED, problem.retry(Retry::Never)));
        }
        let Some(rules) = &self.rules else { return unreserved(verb, topic, NO_RULES, None) };
        let decides = |entry: &&Entry| entry.pattern.as_ref().is_none_or(|pattern| pattern.matches(topic));
        let Some(entry) = self.publish.iter().find(decides) else { return self.by_default(rules, verb, topic) };
        let rule = rules.rule(entry.rule as usize).ok_or_else(|| Refusal::bare(Reason::NOT_AUTHORIZED))?;
        match rule.action {
            Action::Deny => Err(self.denied(rule, entry.unfit, verb, topic)),
            Action::Allow if verb == Verb::Will && !rule.will => Err(limited(rule, verb, topic, "will", "the rule allows no will")),
            Action::Allow if retain && !rule.retain => Err(limited(rule, verb, topic, "retain", "the rule allows no retained message")),
            Action::Allow if qos > rule.qos_max => {
                let mut refusal = limited(rule, verb, topic, "qos", "the rule allows a lower QoS only");
                let problem = refusal.problem_mut();
                (problem.limit, problem.seen) = (Some(rule.qos_max as u64), Some(qos as u64));
                Err(refusal)
            }
            Action::Allow => Ok(Grant { qos_max: rule.qos_max, rule: Some(&rule.label) }),
        }
    }

    /// Whether the client may subscribe to `filter`: to all of it. Where a part of it is denied, the whole is refused, since a
    /// subscription that leaves out a part in silence would be a lie.
    ///
    /// `$feedback/` needs no right; `$envelope/FILTER` needs those of FILTER.
    ///
    /// # Errors
    /// The refusal: it names the rule and the right that is missing.
    pub fn subscribe(&self, filter: &TopicFilter) -> Result<Grant<'_>, Refusal> {
        let pattern = filter.pattern();
        if pattern.starts_with(FEEDBACK) {
            return feedback(filter);
        }
        let pattern = pattern.strip_prefix(ENVELOPE).filter(|inner| !inner.is_empty()).unwrap_or(pattern);
        let Some(rules) = &self.rules else {
            return unasked(pattern, NO_RULES).map_or(Ok(Grant { qos_max: Qos::ExactlyOnce, rule: None }), Err);
        };
        // A part of the filter may be allowed by a rule of its own, with a lower QoS; then that holds for the whole.
        let mut qos_max = Qos::ExactlyOnce;
        for entry in &self.subscribe {
            let (meets, covers) = match &entry.pattern {
                None => (true, true),
                Some(right) => {
                    let right = right.as_str();
                    (overlap(right.as_bytes(), pattern.as_bytes()), pattern_covers(right.as_bytes(), pattern.as_bytes()))
                }
            };
            if !meets && !covers {
                continue;
            }
            let rule = rules.rule(entry.rule as usize).ok_or_else(|| Refusal::bare(Reason::NOT_AUTHORIZED))?;
            match rule.action {
                Action::Deny if covers => return Err(self.denied(rule, entry.unfit, Verb::Subscribe, filter.as_str().as_bytes())),
                Action::Deny => return Err(partly(rule, entry, filter)),
                Action::Allow => qos_max = qos_max.min(rule.qos_max),
            }
            if covers {
                return Ok(Grant { qos_max, rule: Some(&rule.label) });
            }
        }
        if let (Action::Allow, Some(refusal)) = (rules.default, unasked(pattern, &rules.default_label)) {
            return Err(refusal);
        }
        self.by_default(rules, Verb::Subscribe, filter.as_str().as_bytes())
            .map(|grant| Grant { qos_max: qos_max.min(grant.qos_max), ..grant })
    }

    /// What the declared default says where no rule decides. It does not open topics that begin with `$` to publishers.
    fn by_default<'a>(&'a self, rules: &'a Rules, verb: Verb, topic: &[u8]) -> Result<Grant<'a>, Refusal> {
        let mut problem = missing(verb, topic).rule(&*rules.default_label);
        match (rules.default, self.passed_over.and_then(|(at, unfit)| Some((rules.rule(at as usize)?, unfit)))) {
            (Action::Allow, _) => return unreserved(verb, topic, &rules.default_label, Some(&rules.default_label)),
            (Action::Deny, Some((rule, unfit))) => problem = problem.detail(format!("{} was passed over: {unfit}", rule.label)),
            (Action::Deny, None) => problem = problem.detail("no rule allows it"),
        }
        Err(Refusal::new(Reason::NOT_AUTHORIZED, problem))
    }

    fn denied(&self, rule: &Rule, unfit: Option<Unfit>, verb: Verb, topic: &[u8]) -> Refusal {
        let problem = missing(verb, topic).rule(&*rule.label);
        Refusal::new(
            Reason::NOT_AUTHORIZED,
            match unfit {
                None => problem.detail("the rule denies it"),
                Some(unfit) => problem.detail(format!("the rule denies everything to this client: {unfit}")),
            },
        )
    }
}

/// A client's own verdicts are always its to read; nobody else's are within reach, so there is nothing to share.
fn feedback(filter: &TopicFilter) -> Result<Grant<'static>, Refusal> {
    if filter.group().is_none() {
        return Ok(Grant { qos_max: Qos::AtLeastOnce, rule: None });
    }
    let problem = missing(Verb::Subscribe, filter.as_str().as_bytes()).detail("feedback is for one client and is not shared");
    Err(Refusal::new(Reason::NOT_AUTHORIZED, problem.retry(Retry::Never)))
}

fn entry(pattern: &TopicPattern, names: Names<'_>, rule: &Rule, at: u32, passed_over: &mut Option<(u32, Unfit)>) -> Option<Entry> {
    match (pattern.fill(names), rule.action) {
        (Ok(pattern), _) => Some(Entry { pattern: Some(Matcher::new(pattern)), rule: at, unfit: None }),
        (Err(unfit), Action::Deny) if unfit != Unfit::Anonymous => Some(Entry { pattern: None, rule: at, unfit: Some(unfit) }),
        (Err(unfit), _) => {
            passed_over.get_or_insert((at, unfit));
            None
        }
    }
}

/// Everything is allowed but publishing where the server itself does; `label` is what a refusal names.
fn unreserved<'a>(verb: Verb, topic: &[u8], label: &str, rule: Option<&'a str>) -> Result<Grant<'a>, Refusal> {
    if verb != Verb::Subscribe && topic.starts_with(b"$") {
        let problem = missing(verb, topic).rule(label).detail("topics that begin with $ are the server's, unless a rule allows them");
        return Err(Refusal::new(Reason::NOT_AUTHORIZED, problem));
    }
    Ok(Grant { qos_max: Qos::ExactlyOnce, rule })
}

/// What no rule has allowed by name is refused of an operator's questions, whatever else holds; `label` is what holds otherwise.
fn unasked(pattern: &str, label: &str) -> Option<Refusal> {
    is_of(pattern.as_bytes(), OPERATOR).then(|| {
        let detail = "it tells about other clients: a rule has to allow it by name, as in subscribe = [\"$operator/#\"]";
        let problem = missing(Verb::Subscribe, pattern.as_bytes()).rule(label).detail(detail);
        Refusal::new(Reason::NOT_AUTHORIZED, problem)
    })
}

fn limited(rule: &Rule, verb: Verb, topic: &[u8], field: &str, detail: &str) -> Refusal {
    Refusal::new(Reason::NOT_AUTHORIZED, missing(verb, topic).rule(&*rule.label).field(field).detail(detail))
}

fn partly(rule: &Rule, entry: &Entry, filter: &TopicFilter) -> Refusal {
    let part = entry.pattern.as_ref().map_or("#", Matcher::as_str);
    let detail = format!("the rule denies the part of it that {part} matches");
    Refusal::new(Reason::NOT_AUTHORIZED, missing(Verb::Subscribe, filter.as_str().as_bytes()).rule(&*rule.label).detail(detail))
}

/// The problem of a right that is missing. A retry can help once a rule has changed.
fn missing(verb: Verb, topic: &[u8]) -> Problem {
    Problem::titled(match verb {
        Verb::Publish => "publishing to this topic is not allowed",
        Verb::Will => "a will to this topic is not allowed",
        Verb::Subscribe => "subscribing to this filter is not allowed",
    })
    .missing_scope(scope(verb.name(), topic))
    .retry(Retry::Changed)
}

/// A right in words: `publish:plant/1/x`. One that is too long for a refusal is cut, which `...` at its end says.
pub(super) fn scope(verb: &str, object: &[u8]) -> String {
    let shown = String::from_utf8_lossy(object.get(..SHOWN_LEN_MAX).unwrap_or(object));
    match object.len() {
        0..=SHOWN_LEN_MAX => [verb, ":", &shown].concat(),
        // The cut may have gone through a character.
        _ => [verb, ":", shown.trim_end_matches(char::REPLACEMENT_CHARACTER), "..."].concat(),
    }
}

#[cfg(test)]
#[path = "rights_tests.rs"]
mod tests;
