//! The matches of several topics together, a level of all of them at once. In a large tree a match waits for memory at each node, and
//! for one node at a time; so they wait for theirs at the same time.

use super::super::label::{begins_with, level_end};
use super::{NONE, Node, PatternTree, ROOT};
use std::hint::black_box;

/// A tree up to this size is in the cache anyway, and there is nothing to wait for.
const CACHED_BYTES: usize = 1 << 20;

/// Ways that are followed at once: so many stay in the caller's memory.
const STEPS_MAX: usize = 1024;

/// Where the topics have to go yet. Kept by the caller, so that nothing is allocated.
#[derive(Debug, Default)]
pub struct Together {
    steps: Vec<Step>,
    below: Vec<Step>,
    edges: Vec<Edge>,
}

impl Together {
    /// How many topics are best matched together: about as many cache lines as a core waits for at once.
    pub const TOPICS: usize = 16;
}

/// A node that may agree with a topic.
#[derive(Debug, Clone, Copy)]
struct Step {
    topic: usize,
    node: u32,
    /// Where in the topic the node's first level starts.
    at: usize,
}

/// A literal child that is to be found by its hash.
#[derive(Debug, Clone, Copy)]
struct Edge {
    topic: usize,
    parent: u32,
    hash: u64,
    /// Where in the topic its level starts and ends.
    at: usize,
    end: usize,
}

impl<T> PatternTree<T> {
    /// Whether there is so much of it that a match waits for memory.
    pub(in super::super) fn is_large(&self) -> bool {
        self.nodes.page_bytes() > CACHED_BYTES
    }

    /// As [`PatternTree::matching`] for each of the topics: calls `emit` with the index of a topic and a value. `false`: they branch off
    /// into too many ways, and not all values were found.
    pub(in super::super) fn matching_together(&self, topics: &[&[u8]], memory: &mut Together, mut emit: impl FnMut(usize, &T)) -> bool {
        let Together { steps, below, edges } = memory;
        steps.clear();
        steps.extend((0..topics.len()).map(|topic| Step { topic, node: ROOT, at: 0 }));
        while !steps.is_empty() {
            below.clear();
            edges.clear();
            for &step in &*steps {
                let (topic, node) = (topics[step.topic], &self.nodes[step.node]);
                let Some(at) = node.behind(step, topic) else { continue };
                let Some(wildcards) = self.visit(step.node, topic, at, |value| emit(step.topic, value)) else { continue };
                match node.literals {
                    0 => {}
                    1 => below.push(Step { topic: step.topic, node: node.literal_sum, at }),
                    _ => {
                        let end = level_end(topic, at);
                        edges.push(Edge { topic: step.topic, parent: step.node, hash: self.hash(step.node, &topic[at..end]), at, end });
                    }
                }
                if node.plus != NONE && wildcards {
                    below.push(Step { topic: step.topic, node: node.plus, at });
                }
            }
            // Loops of next to nothing: a core is at the last line before the first one has come.
            edges.iter().for_each(|edge| self.edges.touch(edge.hash));
            below.iter().for_each(|step| self.touch(step.node));
            // Nearly always it is the first one.
            edges.iter().filter_map(|edge| self.edges.find(edge.hash, |_| true)).for_each(|node| self.touch(node));
            for &Edge { topic, parent, hash, at, end } in &*edges {
                below.extend(self.literal_child_at(hash, parent, &topics[topic][at..end]).map(|node| Step { topic, node, at }));
            }
            if below.len() > STEPS_MAX {
                return false;
            }
            std::mem::swap(steps, below);
        }
        true
    }

    /// Reads a node, and waits for nothing.
    #[inline]
    fn touch(&self, node: u32) {
        black_box(self.nodes[node].parent);
    }
}

impl<T> Node<T> {
    /// Where in the topic the level behind the node starts, if the node agrees with it.
    #[inline]
    fn behind(&self, step: Step, topic: &[u8]) -> Option<usize> {
        if step.node == ROOT {
            Some(0)
        } else if begins_with(self.label.as_bytes(), b"+") {
            self.label.walk_behind_plus(topic, level_end(topic, step.at))
        } else {
            self.label.walk(topic, step.at)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::oracle::for_seeds;
    use super::super::Branches;
    use super::super::edit::tests::{plus_or_a, put};
    use super::*;

    fn together(tree: &PatternTree<u32>, topics: &[&[u8]], memory: &mut Together) -> Option<Vec<Vec<u32>>> {
        let mut found = vec![Vec::new(); topics.len()];
        let is_whole = tree.matching_together(topics, memory, |topic, &value| found[topic].push(value));
        found.iter_mut().for_each(|values| values.sort_unstable());
        is_whole.then_some(found)
    }

    fn one_by_one(tree: &PatternTree<u32>, topics: &[&[u8]]) -> Vec<Vec<u32>> {
        let (mut found, mut branches) = (vec![Vec::new(); topics.len()], Branches::default());
        for (values, topic) in found.iter_mut().zip(topics) {
            tree.matching(topic, &mut branches, |&value| values.push(value));
            values.sort_unstable();
        }
        found
    }

    #[test]
    fn topics_match_together_what_they_match_one_by_one() {
        for_seeds(60, |dice| {
            let (mut tree, mut memory) = (PatternTree::new(), Together::default());
            for step in 0..300 {
                put(&mut tree, &dice.pattern(), step);
                if step % 30 == 0 {
                    let topics: Vec<String> = (0..dice.below(Together::TOPICS as u32 + 1)).map(|_| dice.topic()).collect();
                    let topics: Vec<&[u8]> = topics.iter().map(String::as_bytes).collect();
                    assert_eq!(together(&tree, &topics, &mut memory), Some(one_by_one(&tree, &topics)), "{topics:?}");
                }
            }
        });
    }

    #[test]
    fn hidden_topics_empty_levels_and_a_topic_without_end_do_too() {
        let mut tree = PatternTree::new();
        for (value, pattern) in ["#", "+/#", "+", "/", "/+", "$x/#", "$x/+", "a/#", "a//b", "a/+/b"].iter().enumerate() {
            put(&mut tree, pattern, value as u32);
        }
        for levels in 1..200 {
            put(&mut tree, &"b/".repeat(levels), levels as u32);
        }
        let deep = "b/".repeat(32_767);
        let topics = ["$x/y", "$x", "/", "", "a", "a//b", "a/", "b/b/", &deep].map(str::as_bytes);
        assert_eq!(together(&tree, &topics, &mut Together::default()), Some(one_by_one(&tree, &topics)));
    }

    #[test]
    fn a_tree_that_branches_everywhere_is_given_up_before_it_takes_much_memory() {
        let mut tree = PatternTree::new();
        for bits in 0..1u32 << 10 {
            put(&mut tree, &(plus_or_a(bits).join("/") + "/x"), bits);
        }
        let topic: &[u8] = b"a/a/a/a/a/a/a/a/a/a/x";
        let mut memory = Together::default();
        assert_eq!(together(&tree, &[topic], &mut memory), Some(vec![(0..1 << 10).collect()]));
        assert_eq!(together(&tree, &[topic; Together::TOPICS], &mut memory), None);
        assert!(memory.steps.capacity().max(memory.below.capacity()) <= 4 * STEPS_MAX);
    }
}
