//! "May I?": what a client asks about its own rights in PINGREQ, under `questions`, and what PINGRESP says to it, under `answers`.

use super::id::Qos;
use super::problem::{PROBLEMS_LEN_MAX, Problem, Refusal, Retry};
use super::property::{self, Key, ValueType};
use super::reason::Reason;
use super::topic::{TopicFilter, TopicName};
use crate::codec::dictionary::{Dictionary, KeyRef, MapBuilder};
use crate::packet::property::KeyValue;

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

/// The questions under `questions` with their indices, ascending. What is no question is its own answer. Each is read when it is asked
/// for, so those that nobody answers cost next to nothing.
pub fn questions_of_dictionary(map: &Dictionary) -> impl Iterator<Item = (i64, Result<Question, Refusal>)> + '_ {
    // In one pass: to look each up by its index would take the square of their number.
    let question = |(index, item)| (index, Question::of_dictionary(&Dictionary::read(item).unwrap_or_default()));
    map.entries().filter_map(|(key, item)| if let KeyRef::Number(index @ 0..) = key { Some((index, item)) } else { None }).map(question)
}

/// How many questions stand under `questions`.
pub fn questions_len(map: &Dictionary) -> usize {
    map.entries().filter(|(key, _)| matches!(key, KeyRef::Number(0..))).count()
}

/// What a PINGRESP says to questions: answers to the first of them, and one refusal for those that have none.
#[derive(Debug, Default)]
pub struct Answers {
    map: MapBuilder,
    problems_len: usize,
    rest: Option<(usize, Refusal)>,
}

impl Answers {
    /// Adds the answer to the question at `index`. Its problem stands there as long as all of them fit; no more are encoded then.
    pub fn add(&mut self, index: i64, answer: &Answer) {
        let mut said = MapBuilder::new();
        match answer {
            Ok(qos) => drop(said.set(REASON, &(*qos as u64))),
            Err(refusal) => {
                said.set(REASON, &u64::from(refusal.reason.0));
                if !refusal.problem.is_empty() && self.problems_len < PROBLEMS_LEN_MAX {
                    let problem = refusal.problem.to_dictionary();
                    self.problems_len += problem.as_bytes().len();
                    if self.problems_len <= PROBLEMS_LEN_MAX {
                        said.set(PROBLEM, &problem);
                    }
                }
            }
        }
        self.map.put(index, |out| said.write(out));
    }

    /// So many questions behind those that were added have no answer, and why.
    pub fn refuse_rest(&mut self, count: usize, refusal: Refusal) {
        self.rest = Some((count, refusal));
    }

    /// Puts it into the dictionary of a PINGRESP.
    pub fn put_into(&self, pong: &mut MapBuilder) {
        pong.set(property::ANSWERS, &self.map.finish());
        if let Some((count, refusal)) = &self.rest {
            pong.set(property::COUNT, &(*count as u64)).set(property::REASON, &u64::from(refusal.reason.0));
            if !refusal.problem.is_empty() {
                pong.set(property::PROBLEM, &refusal.problem.to_dictionary());
            }
        }
    }

    /// Reads the dictionary of a PINGRESP: the answers to `count` questions under the indices from 0 on, where those that were refused
    /// together have the same one. `None`: not every one was answered.
    pub fn of_pong(pong: &Dictionary, count: usize) -> Option<Vec<Answer>> {
        let map = pong.value(property::ANSWERS)?;
        let refusal = |reason: u64, problem: Option<Dictionary>| {
            let reason = Reason(u8::try_from(reason).ok()?).known_or_class();
            Some(Refusal::new(reason, problem.map(|problem| Problem::of_dictionary(&problem)).unwrap_or_default()))
        };
        let answer = |index| {
            let said = map.value(Key::<Dictionary>::new("index", index))?;
            let refusal = refusal(said.value(REASON)?, said.value(PROBLEM))?;
            Some(if refusal.reason.is_error() { Err(refusal) } else { Ok(Qos::new(refusal.reason.0).unwrap_or_default()) })
        };
        let refused = usize::try_from(pong.value(property::COUNT).unwrap_or(0)).ok()?;
        let answered = count.checked_sub(refused)?;
        let mut answers = (0..answered as i64).map(answer).collect::<Option<Vec<Answer>>>()?;
        if refused > 0 {
            let rest = refusal(pong.value(property::REASON)?, pong.value(property::PROBLEM)).filter(|rest| rest.reason.is_error())?;
            answers.resize(count, Err(rest));
        }
        Some(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answers: &[Answer]) -> Answers {
        let mut said = Answers::default();
        answers.iter().enumerate().for_each(|(index, answer)| said.add(index as i64, answer));
        said
    }

    fn pong(answers: &Answers) -> Dictionary {
        let mut map = MapBuilder::new();
        answers.put_into(&mut map);
        map.finish()
    }

    fn read(map: &MapBuilder) -> Result<Question, Reason> {
        let mut all = MapBuilder::new();
        all.put(0, |out| map.write(out));
        questions_of_dictionary(&all.finish()).next().unwrap().1.map_err(|refusal| refusal.reason)
    }

    #[test]
    fn questions_and_answers_are_read_as_they_were_written() {
        let questions = [
            Question::Publish { topic: TopicName::new("a").unwrap(), qos: Qos::ExactlyOnce, retain: true },
            Question::Publish { topic: TopicName::new("b/c").unwrap(), qos: Qos::AtMostOnce, retain: false },
            Question::Subscribe { filter: TopicFilter::new("$share/g/#").unwrap(), qos: Qos::AtLeastOnce },
        ];
        let asked = questions_to_dictionary(&questions);
        assert_eq!(questions_len(&asked), 3);
        let read: Vec<_> = questions_of_dictionary(&asked).collect();
        assert_eq!(read, questions.into_iter().enumerate().map(|(index, one)| (index as i64, Ok(one))).collect::<Vec<_>>());
        let refusal = Refusal::new(Reason::NOT_AUTHORIZED, Problem::titled("no").rule("rules:1"));
        let mut answers = vec![Ok(Qos::AtLeastOnce), Err(refusal), Err(Refusal::bare(Reason::SERVER_BUSY))];
        let mut said = said(&answers);
        assert_eq!(Answers::of_pong(&pong(&said), 3), Some(answers.clone()));
        assert_eq!(Answers::of_pong(&pong(&said), 4), None);
        let busy = Refusal::new(Reason::MESSAGE_RATE_TOO_HIGH, Problem::titled("too many"));
        said.refuse_rest(2, busy.clone());
        answers.extend([Err(busy.clone()), Err(busy.clone())]);
        assert_eq!(Answers::of_pong(&pong(&said), 5), Some(answers));
        assert_eq!(Answers::of_pong(&pong(&said), 1), None, "more are refused than were asked");
        let mut none = Answers::default();
        none.refuse_rest(7, busy.clone());
        assert_eq!(Answers::of_pong(&pong(&none), 7), Some(vec![Err(busy); 7]), "not one was answered");
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
        let said = pong(&said(&vec![Err(Refusal::new(Reason::NOT_AUTHORIZED, problem)); 500]));
        assert!(said.as_bytes().len() < 14 * 1024, "{} bytes", said.as_bytes().len());
        let read = Answers::of_pong(&said, 500).unwrap();
        assert!(read.iter().all(|answer| answer.as_ref().is_err_and(|refusal| refusal.reason == Reason::NOT_AUTHORIZED)));
    }
}
