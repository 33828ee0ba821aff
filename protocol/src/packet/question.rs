//! "May I?": what a client asks about its own rights in PINGREQ, under `questions`, and what PINGRESP says to it, under `answers`.

use super::id::Qos;
use super::problem::{Problem, Refusal, Retry};
use super::property::{Key, ValueType};
use super::reason::Reason;
use super::topic::{TopicFilter, TopicName};
use crate::codec::dictionary::{Dictionary, KeyRef, MapBuilder};
use crate::packet::property::KeyValue;

/// The most questions of one packet that are answered.
pub const QUESTIONS_MAX: usize = 500;

/// The most bytes of problems in the answers of one packet: what does not fit is answered with its reason alone.
pub const PROBLEMS_LEN_MAX: usize = 8 * 1024;

/// One row of the map of a question or of an answer.
#[derive(Debug, Clone, Copy)]
pub struct QuestionInfo {
    pub number: i64,
    pub name: &'static str,
    pub value: ValueType,
    pub meaning: &'static str,
}

const PUBLISH: Key<String> = Key::new("publish", 0);
const SUBSCRIBE: Key<String> = Key::new("subscribe", 1);
const QOS: Key<u64> = Key::new("qos", 2);
const RETAIN: Key<bool> = Key::new("retain", 3);
const REASON: Key<u64> = Key::new("reason", 0);
const PROBLEM: Key<Dictionary> = Key::new("problem", 1);

const fn row<T: KeyValue>(key: Key<T>, meaning: &'static str) -> QuestionInfo {
    QuestionInfo { number: key.number, name: key.name, value: T::TYPE, meaning }
}

/// The map of a question: it has `publish` or `subscribe`.
pub const QUESTION_KEYS: &[QuestionInfo] = &[
    row(PUBLISH, "Text: the topic name that the client would publish to."),
    row(SUBSCRIBE, "Text: the topic filter that it would subscribe to."),
    row(QOS, "Unsigned: the QoS, 0 to 2; 0 when absent."),
    row(RETAIN, "Boolean: whether the message would be retained; false when absent."),
];

/// The map of an answer.
pub const ANSWER_KEYS: &[QuestionInfo] = &[
    row(REASON, "Unsigned: the reason that the acknowledgement would have; the QoS that would be granted to a subscription."),
    row(PROBLEM, "Map: the problem that would stand beside it."),
];

/// Something that a client would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    Publish { topic: TopicName, qos: Qos, retain: bool },
    Subscribe { filter: TopicFilter, qos: Qos },
}

impl Question {
    fn to_dictionary(&self) -> Dictionary {
        let mut map = MapBuilder::new();
        let qos = match self {
            Self::Publish { topic, qos, retain } => {
                map.set(PUBLISH, &topic.as_str().to_owned());
                map.set_some(RETAIN, Some(retain).filter(|retain| **retain));
                *qos
            }
            Self::Subscribe { filter, qos } => {
                map.set(SUBSCRIBE, &filter.as_str().to_owned());
                *qos
            }
        };
        map.set_some(QOS, Some(qos as u64).filter(|qos| *qos > 0).as_ref()).finish()
    }

    /// # Errors
    /// It asks nothing, or about what is no topic: the answer to it.
    fn of_dictionary(map: &Dictionary) -> Result<Self, Refusal> {
        let bad = |reason, title: String, field: &str| {
            Refusal::new(reason, Problem::titled(title).field(format!("questions: {field}")).retry(Retry::Never))
        };
        let number = map.value(QOS).unwrap_or(0);
        let qos = u8::try_from(number).ok().and_then(Qos::new);
        let qos = qos.ok_or_else(|| bad(Reason::QOS_NOT_SUPPORTED, format!("{number} is no QoS"), QOS.name))?;
        match (map.value(PUBLISH), map.value(SUBSCRIBE)) {
            (Some(topic), None) => {
                let topic = TopicName::new(topic).map_err(|wrong| bad(Reason::TOPIC_NAME_INVALID, wrong.to_string(), PUBLISH.name))?;
                Ok(Self::Publish { topic, qos, retain: map.value(RETAIN).unwrap_or(false) })
            }
            (None, Some(filter)) => {
                let filter =
                    TopicFilter::new(filter).map_err(|wrong| bad(Reason::TOPIC_FILTER_INVALID, wrong.to_string(), SUBSCRIBE.name))?;
                Ok(Self::Subscribe { filter, qos })
            }
            _ => Err(bad(Reason::IMPLEMENTATION_SPECIFIC_ERROR, "a question has either publish or subscribe".to_owned(), "keys")),
        }
    }
}

/// The answer to a question: the QoS that would be granted, or the refusal.
pub type Answer = Result<Qos, Refusal>;

/// What stands under `questions`.
pub fn questions_to_dictionary(questions: &[Question]) -> Dictionary {
    let mut map = MapBuilder::new();
    for (index, question) in questions.iter().enumerate() {
        map.put(index as i64, |out| question.to_dictionary().write(out));
    }
    map.finish()
}

/// The questions under `questions` with their indices, at most [`QUESTIONS_MAX`]. What is no question is its own answer.
pub fn questions_of_dictionary(map: &Dictionary) -> Vec<(i64, Result<Question, Refusal>)> {
    // In one pass: to look each up by its index would take the square of their number.
    let numbered = map.entries().filter_map(|(key, item)| if let KeyRef::Number(index @ 0..) = key { Some((index, item)) } else { None });
    let question = |(index, item)| (index, Question::of_dictionary(&Dictionary::read(item).unwrap_or_default()));
    numbered.take(QUESTIONS_MAX).map(question).collect()
}

/// What stands under `answers`.
pub fn answers_to_dictionary(answers: &[(i64, Answer)]) -> Dictionary {
    let (mut map, mut left) = (MapBuilder::new(), PROBLEMS_LEN_MAX);
    for (index, answer) in answers {
        let mut said = MapBuilder::new();
        match answer {
            Ok(qos) => drop(said.set(REASON, &(*qos as u64))),
            Err(refusal) => {
                said.set(REASON, &u64::from(refusal.reason.0));
                let problem = refusal.problem.to_dictionary();
                if !problem.is_empty() && problem.as_bytes().len() <= left {
                    left -= problem.as_bytes().len();
                    said.set(PROBLEM, &problem);
                }
            }
        }
        map.put(*index, |out| said.write(out));
    }
    map.finish()
}

/// The answers to `count` questions; `None`: not every one was answered.
pub fn answers_of_dictionary(map: &Dictionary, count: usize) -> Option<Vec<Answer>> {
    let answer = |index| {
        let said = map.value(Key::<Dictionary>::new("index", index))?;
        let reason = Reason(u8::try_from(said.value(REASON)?).ok()?).known_or_class();
        if !reason.is_error() {
            return Some(Ok(Qos::new(reason.0).unwrap_or_default()));
        }
        let problem = said.value(PROBLEM).map(|problem| Problem::of_dictionary(&problem)).unwrap_or_default();
        Some(Err(Refusal::new(reason, problem)))
    };
    (0..count as i64).map(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(map: &MapBuilder) -> Result<Question, Reason> {
        let mut all = MapBuilder::new();
        all.put(0, |out| map.write(out));
        questions_of_dictionary(&all.finish()).remove(0).1.map_err(|refusal| refusal.reason)
    }

    #[test]
    fn questions_and_answers_are_read_as_they_were_written() {
        let questions = [
            Question::Publish { topic: TopicName::new("a").unwrap(), qos: Qos::ExactlyOnce, retain: true },
            Question::Publish { topic: TopicName::new("b/c").unwrap(), qos: Qos::AtMostOnce, retain: false },
            Question::Subscribe { filter: TopicFilter::new("$share/g/#").unwrap(), qos: Qos::AtLeastOnce },
        ];
        let asked = questions_of_dictionary(&questions_to_dictionary(&questions));
        assert_eq!(asked, questions.into_iter().enumerate().map(|(index, one)| (index as i64, Ok(one))).collect::<Vec<_>>());
        let refusal = Refusal::new(Reason::NOT_AUTHORIZED, Problem::titled("no").rule("rules:1"));
        let answers = vec![Ok(Qos::AtLeastOnce), Err(refusal), Err(Refusal::bare(Reason::SERVER_BUSY))];
        let numbered: Vec<(i64, Answer)> = answers.iter().cloned().enumerate().map(|(index, one)| (index as i64, one)).collect();
        let said = answers_to_dictionary(&numbered);
        assert_eq!(answers_of_dictionary(&said, 3), Some(answers));
        assert_eq!(answers_of_dictionary(&said, 4), None);
    }

    #[test]
    fn what_is_no_question_is_answered_as_such() {
        let mut map = MapBuilder::new();
        assert_eq!(read(&map), Err(Reason::IMPLEMENTATION_SPECIFIC_ERROR));
        assert_eq!(read(map.set(PUBLISH, &"a/+".to_owned())), Err(Reason::TOPIC_NAME_INVALID));
        assert_eq!(read(map.set(PUBLISH, &"a".to_owned()).set(QOS, &3)), Err(Reason::QOS_NOT_SUPPORTED));
        assert_eq!(read(map.set(SUBSCRIBE, &"a".to_owned()).set(QOS, &1)), Err(Reason::IMPLEMENTATION_SPECIFIC_ERROR));
        assert_eq!(read(map.remove(PUBLISH.number).set(SUBSCRIBE, &"a#".to_owned())), Err(Reason::TOPIC_FILTER_INVALID));
    }

    #[test]
    fn many_answers_fit_one_packet() {
        let problem = Problem::titled("no").detail("x".repeat(500));
        let answers: Vec<(i64, Answer)> =
            (0..QUESTIONS_MAX as i64).map(|index| (index, Err(Refusal::new(Reason::NOT_AUTHORIZED, problem.clone())))).collect();
        let said = answers_to_dictionary(&answers);
        assert!(said.as_bytes().len() < 14 * 1024, "{} bytes", said.as_bytes().len());
        let read = answers_of_dictionary(&said, QUESTIONS_MAX).unwrap();
        assert!(read.iter().all(|answer| answer.as_ref().is_err_and(|refusal| refusal.reason == Reason::NOT_AUTHORIZED)));
    }
}
