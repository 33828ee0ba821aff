//! Which topic each message of a stream goes to. All topics of a stream have one length, so that only digits change.

use crate::bench::wire::Template;

/// Digits of a number in a topic.
const DIGITS: usize = 7;

/// Where messages go.
#[derive(Debug)]
pub(super) enum Aim {
    /// To the one topic of the template.
    One,
    /// In turn to so many topics with a number, which stands at `at`.
    Numbered { at: usize, topics: u64 },
    /// Each to the topic that one of the filters matches.
    Filters(Filters),
}

/// So many filters over so many connections: of four, two are exact, one has a `+` and one a `#`.
#[derive(Debug, Clone)]
pub(super) struct Filters {
    pub(super) prefix: String,
    pub(super) count: usize,
    pub(super) connections: usize,
    /// Any number but 0.
    pub(super) random: u64,
    /// Messages to each connection so far.
    pub(super) sent: Vec<u32>,
}

impl Filters {
    /// The connection that has filter `at`. Four in a row have one, so that all connections have all kinds.
    fn connection(&self, at: usize) -> usize {
        at / 4 % self.connections
    }

    fn filter(&self, at: usize) -> String {
        let prefix = &self.prefix;
        match at % 4 {
            2 => format!("{prefix}/+/{at:0DIGITS$}/p"),
            3 => format!("{prefix}/h/{at:0DIGITS$}/#"),
            _ => format!("{prefix}/e/{at:0DIGITS$}/v"),
        }
    }

    /// All filters of a connection.
    pub(super) fn of_connection(&self, connection: usize) -> Vec<String> {
        let fours = (4 * connection..self.count).step_by(4 * self.connections);
        fours.flat_map(|four| four..self.count.min(four + 4)).map(|at| self.filter(at)).collect()
    }

    /// A topic as long as all of them.
    pub(super) fn topic(&self) -> String {
        format!("{}/e/{:0DIGITS$}/v", self.prefix, 0)
    }

    /// Writes a topic that a random filter matches, and no other; gives its connection's next lane number.
    #[inline]
    fn aim(&mut self, template: &mut Template) -> u32 {
        // Marsaglia's xorshift64: any spread will do, and it must cost nothing.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let at = (self.random >> 11) as usize % self.count;
        let (kind, leaf) = match at % 4 {
            2 => (b"p", b"p"),
            3 => (b"h", b"v"),
            _ => (b"e", b"v"),
        };
        let start = self.prefix.len() + 1;
        template.set_topic(start, kind);
        template.set_topic(start + 2, &digits(at as u64));
        template.set_topic(start + 3 + DIGITS, leaf);
        let connection = self.connection(at);
        let sent = &mut self.sent[connection];
        *sent += 1;
        *sent - 1
    }
}

impl Aim {
    /// A topic of the numbered kind, of which there are so many.
    pub(super) fn numbered(prefix: &str, topics: usize) -> (String, Self) {
        (numbered(prefix, 0), Self::Numbered { at: prefix.len() + 1, topics: topics.max(1) as u64 })
    }

    /// Makes `template` that of message `number`; gives the number on its lane.
    #[inline]
    pub(super) fn aim(&mut self, number: u64, template: &mut Template) -> u32 {
        match self {
            Aim::One => number as u32,
            Aim::Numbered { at, topics } => {
                template.set_topic(*at, &digits(number % *topics));
                number as u32
            }
            Aim::Filters(filters) => filters.aim(template),
        }
    }
}

/// The topic of message `number`, of those that are numbered.
pub(super) fn numbered(prefix: &str, number: u64) -> String {
    format!("{prefix}/{number:0DIGITS$}")
}

fn digits(mut number: u64) -> [u8; DIGITS] {
    let mut out = [b'0'; DIGITS];
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::wire::{self, Shape, Stamp};
    use candor_protocol::packet::TopicFilter;

    #[test]
    fn each_topic_is_matched_by_one_filter_and_that_is_where_it_is_counted() {
        let mut filters = Filters { prefix: "b/1".into(), count: 64, connections: 4, random: 7, sent: vec![0; 4] };
        let all: Vec<(usize, TopicFilter)> =
            (0..64).map(|at| (filters.connection(at), TopicFilter::new(filters.filter(at)).unwrap())).collect();
        for count in [61, 64] {
            let filters = Filters { count, ..filters.clone() };
            let of = |connection| (0..count).filter(|at| filters.connection(*at) == connection).map(|at| filters.filter(at)).collect();
            (0..4).for_each(|at| assert_eq!(filters.of_connection(at), Vec::<String>::from_iter::<Vec<String>>(of(at))));
        }
        let topic = filters.topic();
        let mut template = Template::new(Shape { topic: &topic, qos: 0, retain: false, payload_len: 16, dictionary: None });
        for _ in 0..500 {
            let before = filters.sent.clone();
            filters.aim(&mut template);
            let mut bytes = Vec::new();
            template.put(0, Stamp { stream: 0, number: 0, lane: 0 }, &mut bytes);
            let (frame, _) = wire::next_frame(&bytes).unwrap().unwrap();
            let topic = std::str::from_utf8(&frame.body[2..2 + topic.len()]).unwrap();
            let matching: Vec<usize> = all.iter().filter(|(_, filter)| matches(filter.as_str(), topic)).map(|(to, _)| *to).collect();
            let counted: Vec<usize> = (0..4).filter(|at| filters.sent[*at] > before[*at]).collect();
            assert_eq!(matching, counted, "{topic}");
        }
    }

    /// Section 4.7 in its shortest form.
    fn matches(filter: &str, topic: &str) -> bool {
        let (filter, topic): (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
        let is_open = filter.last() == Some(&"#");
        let fixed = filter.len() - usize::from(is_open);
        let same = filter[..fixed].iter().zip(&topic).all(|(filter, level)| *filter == "+" || filter == level);
        same && if is_open { topic.len() >= fixed } else { topic.len() == fixed }
    }
}
