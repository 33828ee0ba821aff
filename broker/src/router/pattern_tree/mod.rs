//! From topic filters to values: a radix tree over levels.
//!
//! A node stands for the levels from the root down to it. Its label holds those behind its parent, one or more: levels
//! where nothing branches off share a node, so there are fewer than two nodes for each pattern, however many levels it has.
//!
//! ```text
//! root ── site ─┬─ 17/device/123456/temperature     here: who has site/17/device/123456/temperature
//!               └─ +/device ──┬─ 7                  below: who has site/+/device/7/#
//!                             └─ +/temperature      here: who has site/+/device/+/temperature
//! ```
//!
//! A `#` is no node of its own: it is the value `below` of the node in front of it, since it matches that node's topic too.
//! A node has at most one child whose label begins with the level `+`, and one for each literal first level. The only
//! literal child is named by the node; where there are more, they stand in a table under the hash of parent and first level.
//!
//! Each way through the tree ends at another node, so a match visits a node at most once; it keeps a list of branches to
//! come back to, of at most one entry a level, and never recurses. Its cost follows the number of nodes that agree with the
//! topic so far.

mod edit;
pub(super) mod together;

use super::arena::Arena;
use super::edges::Edges;
use super::label::{Label, begins_with, first_level, level_end};
use foldhash::fast::RandomState;
use std::hash::{BuildHasher, Hasher};

/// The root, which is nobody's child: 0 where a child is meant says that there is none.
const ROOT: u32 = 0;
const NONE: u32 = 0;

#[derive(Debug)]
pub(super) struct PatternTree<T> {
    nodes: Arena<Node<T>>,
    edges: Edges,
    hasher: RandomState,
    /// Bytes of labels that do not stand in their nodes.
    label_bytes: usize,
}

/// A cache line.
#[derive(Debug)]
#[repr(align(64))]
struct Node<T> {
    label: Label,
    parent: u32,
    /// The child whose label begins with `+`.
    plus: u32,
    /// How many children begin with a literal level.
    literals: u32,
    /// Their numbers, combined by exclusive or: where there is one, this is its number.
    literal_sum: u32,
    /// The value of the pattern that ends here.
    here: Option<T>,
    /// The value of the pattern that goes on with `/#`; at the root, of `#`.
    below: Option<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { label: Label::default(), parent: NONE, plus: NONE, literals: 0, literal_sum: 0, here: None, below: None }
    }
}

/// The value of a pattern, until the tree is changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    node: u32,
    below: bool,
}

/// Where a match has to go yet. Kept by the caller, so that a match does not allocate.
#[derive(Debug, Default)]
pub(super) struct Branches {
    /// A node, and where in the topic the first level behind it starts.
    pending: Vec<(u32, u32)>,
    /// The nodes that the last match went to.
    pub(super) visited: usize,
}

#[cfg(test)]
impl Branches {
    pub(super) fn capacity(&self) -> usize {
        self.pending.capacity()
    }
}

impl<T> PatternTree<T> {
    pub(super) fn new() -> Self {
        let mut nodes = Arena::new();
        nodes.insert(Node::default());
        Self { nodes, edges: Edges::new(), hasher: RandomState::default(), label_bytes: 0 }
    }

    /// Calls `emit` with the value of every pattern that matches the topic name (section 4.7). The order is no promise.
    pub(super) fn matching(&self, topic: &[u8], branches: &mut Branches, mut emit: impl FnMut(&T)) {
        branches.pending.clear();
        branches.visited = 0;
        let mut next = Some((ROOT, 0));
        while let Some((id, at)) = next {
            branches.visited += 1;
            let (node, at) = (&self.nodes[id], at as usize);
            next = None;
            if let Some(wildcards) = self.visit(id, topic, at, &mut emit) {
                let end = level_end(topic, at);
                next = self.literal_child(id, &topic[at..end]).and_then(|child| branch(child, self.nodes[child].label.walk(topic, at)));
                if wildcards
                    && node.plus != NONE
                    && let Some(other) = branch(node.plus, self.nodes[node.plus].label.walk_behind_plus(topic, end))
                {
                    match next {
                        None => next = Some(other),
                        Some(_) => branches.pending.push(other),
                    }
                }
            }
            next = next.or_else(|| branches.pending.pop());
        }
    }

    /// Calls `emit` with the values of a node that agrees with the topic up to the level that starts at `at`. `None`: the topic ends there;
    /// else whether the node's `+` stands for that level.
    #[inline(always)]
    fn visit(&self, id: u32, topic: &[u8], at: usize, mut emit: impl FnMut(&T)) -> Option<bool> {
        let node = &self.nodes[id];
        // Wildcards at the root pass over topics that begin with `$` ([MQTT-4.7.2-1]).
        let wildcards = !(id == ROOT && topic.first() == Some(&b'$'));
        if wildcards && let Some(value) = &node.below {
            emit(value);
        }
        if at > topic.len() {
            node.here.iter().for_each(emit);
            return None;
        }
        Some(wildcards)
    }

    fn label(&self, id: u32) -> &[u8] {
        self.nodes[id].label.as_bytes()
    }

    /// The child whose label begins with this literal level. Where there is one child only, it need not be that one: whoever
    /// asks compares the label anyway.
    #[inline]
    fn literal_child(&self, parent: u32, level: &[u8]) -> Option<u32> {
        let node = &self.nodes[parent];
        match node.literals {
            0 => None,
            1 => Some(node.literal_sum),
            _ => self.literal_child_at(self.hash(parent, level), parent, level),
        }
    }

    /// The child of a parent with several, under the hash of both.
    #[inline]
    fn literal_child_at(&self, hash: u64, parent: u32, level: &[u8]) -> Option<u32> {
        self.edges.find(hash, |child| {
            let child = &self.nodes[child];
            child.parent == parent && begins_with(child.label.as_bytes(), level)
        })
    }

    fn hash(&self, parent: u32, level: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(level);
        hasher.write_u32(parent);
        hasher.finish()
    }

    /// Where the value of exactly this pattern is, if the tree has its node.
    pub(super) fn find(&self, pattern: &[u8]) -> Option<Place> {
        let (path, below) = split(pattern);
        let (mut node, mut rest) = (ROOT, path);
        while let Some(levels) = rest {
            node = self.child_of(node, levels)?;
            let behind = levels.strip_prefix(self.label(node))?;
            rest = match behind.split_first() {
                None => None,
                Some((b'/', behind)) => Some(behind),
                Some(_) => return None,
            };
        }
        Some(Place { node, below })
    }

    /// The child whose label begins as `levels` does, a `+` being a `+`.
    fn child_of(&self, parent: u32, levels: &[u8]) -> Option<u32> {
        match first_level(levels) {
            b"+" => Some(self.nodes[parent].plus).filter(|&plus| plus != NONE),
            level => self.literal_child(parent, level).filter(|&child| begins_with(self.label(child), level)),
        }
    }

    pub(super) fn value(&self, place: Place) -> Option<&T> {
        let node = &self.nodes[place.node];
        if place.below { node.below.as_ref() } else { node.here.as_ref() }
    }

    /// Bytes on the heap, without what the values own there.
    pub(super) fn heap_bytes(&self) -> usize {
        self.nodes.heap_bytes() + self.edges.heap_bytes() + self.label_bytes
    }
}

/// A topic has at most 65,535 bytes, so a position in it fits.
fn branch(child: u32, at: Option<usize>) -> Option<(u32, u32)> {
    at.map(|at| (child, at as u32))
}

/// The levels of a pattern without a `#`, and whether there was one. `#` alone has no level in front of it.
fn split(pattern: &[u8]) -> (Option<&[u8]>, bool) {
    match pattern.strip_suffix(b"#") {
        None => (Some(pattern), false),
        Some(front) => (front.strip_suffix(b"/"), true),
    }
}

#[cfg(test)]
impl<T> PatternTree<T> {
    /// How many nodes there are, with the root.
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::oracle::{Dice, for_seeds};
    use super::edit::tests::{plus_or_a, put, take};
    use super::*;
    use candor_protocol::packet::topic::pattern_matches;
    use std::collections::BTreeMap;

    fn found(tree: &PatternTree<u32>, topic: &str) -> Vec<u32> {
        let (mut values, mut branches) = (Vec::new(), Branches::default());
        tree.matching(topic.as_bytes(), &mut branches, |&value| values.push(value));
        values.sort_unstable();
        values
    }

    fn check(tree: &PatternTree<u32>, model: &BTreeMap<String, u32>, dice: &mut Dice) {
        for (pattern, value) in model {
            let place = tree.find(pattern.as_bytes()).expect("a place");
            assert_eq!(tree.value(place), Some(value), "{pattern}");
        }
        for _ in 0..20 {
            let topic = dice.topic();
            let mut expected: Vec<_> = model
                .iter()
                .filter(|(pattern, _)| pattern_matches(pattern.as_bytes(), topic.as_bytes()))
                .map(|(_, &value)| value)
                .collect();
            expected.sort_unstable();
            assert_eq!(found(tree, &topic), expected, "{topic:?} among {model:?}");
        }
        assert!(tree.nodes() <= 1 + 2 * model.len(), "{} nodes for {} patterns", tree.nodes(), model.len());
    }

    #[test]
    fn the_tree_finds_what_comparing_with_every_pattern_finds() {
        for_seeds(60, |dice| {
            let (mut tree, mut model) = (PatternTree::new(), BTreeMap::new());
            for step in 0..400 {
                let pattern = dice.pattern();
                if dice.below(10) < if step < 200 { 8 } else { 3 } {
                    assert_eq!(put(&mut tree, &pattern, step), model.insert(pattern, step));
                } else {
                    assert_eq!(take(&mut tree, &pattern), model.remove(&pattern));
                }
                if step % 40 == 0 {
                    check(&tree, &model, dice);
                }
            }
            check(&tree, &model, dice);
            for pattern in model.keys() {
                assert!(take(&mut tree, pattern).is_some());
            }
            assert_eq!((tree.nodes(), tree.label_bytes), (1, 0));
        });
    }

    #[test]
    fn a_topic_of_thirty_two_thousand_levels_is_matched_without_recursion() {
        let deep = "+/".repeat(32_767) + "#";
        let mut tree = PatternTree::new();
        // Every level of the deepest one has a pattern that ends there: a node each.
        for levels in (0..32_767).step_by(217) {
            put(&mut tree, &("+/".repeat(levels) + "#"), 1);
            put(&mut tree, &("a/".repeat(levels) + "a"), 2);
        }
        put(&mut tree, &deep, 3);
        let topic = "a/".repeat(32_767);
        let values = found(&tree, &topic);
        assert_eq!(values.len(), 151 + 1);
        let mut branches = Branches::default();
        tree.matching(topic.as_bytes(), &mut branches, |_| ());
        assert!(branches.visited <= tree.nodes());
    }

    #[test]
    fn wildcards_side_by_side_on_every_level_visit_each_node_once_at_most() {
        let mut tree = PatternTree::new();
        for bits in 0..1u32 << 10 {
            let levels = plus_or_a(bits);
            put(&mut tree, &(levels.join("/") + "/x"), bits);
            put(&mut tree, &(levels[..5].join("/") + "/#"), 1_024 + (bits & 31));
        }
        let mut branches = Branches::default();
        let mut values = Vec::new();
        tree.matching(b"a/a/a/a/a/a/a/a/a/a/y", &mut branches, |&value| values.push(value));
        values.sort_unstable();
        assert_eq!(values, (1_024..1_024 + 32).collect::<Vec<_>>());
        assert!(branches.visited <= tree.nodes() && branches.pending.capacity() <= 16, "{branches:?} in {} nodes", tree.nodes());
    }

    #[test]
    fn a_match_visits_what_agrees_with_the_topic_and_no_more() {
        let mut tree = PatternTree::new();
        for device in 0..10_000 {
            put(&mut tree, &format!("site/{}/device/{device}/temperature", device % 10), device);
            put(&mut tree, &format!("+/{}/device/{device}/#", device % 10), device);
        }
        let mut branches = Branches::default();
        tree.matching(b"site/7/device/1237/temperature", &mut branches, |&value| assert_eq!(value, 1_237));
        assert!(branches.visited <= 9, "{} nodes for 5 levels and 2 matches", branches.visited);
    }
}
