//! How the tree changes: nodes are divided where a pattern branches off, and joined again when it has gone.
//!
//! What holds after every change: a node other than the root has a value or at least two children; and a literal child
//! stands in the table if it has a literal sibling, else in its parent alone.

use super::super::label::{Label, common_levels, first_level};
use super::{NONE, Node, PatternTree, Place, ROOT, split};

impl<T> PatternTree<T> {
    /// Where the value of this pattern is. A place that is new has no value: give it one, or call [`PatternTree::clear`].
    pub(in super::super) fn make(&mut self, pattern: &[u8]) -> Place {
        let (path, below) = split(pattern);
        let (mut node, mut rest) = (ROOT, path);
        while let Some(levels) = rest {
            let Some(child) = self.child_of(node, levels) else {
                node = self.add(node, levels);
                break;
            };
            let common = common_levels(self.label(child), levels);
            node = if common < self.label(child).len() { self.divide(child, common) } else { child };
            rest = levels.get(common + 1..);
        }
        Place { node, below }
    }

    pub(in super::super) fn value_mut(&mut self, place: Place) -> &mut Option<T> {
        let node = &mut self.nodes[place.node];
        if place.below { &mut node.below } else { &mut node.here }
    }

    /// Takes the value away, and the nodes that only it needed.
    pub(in super::super) fn clear(&mut self, place: Place) -> Option<T> {
        let value = self.value_mut(place).take();
        self.prune(place.node);
        value
    }

    fn add(&mut self, parent: u32, levels: &[u8]) -> u32 {
        let child = self.nodes.insert(Node { parent, ..Node::default() });
        self.set_label(child, Label::new(levels));
        self.link(parent, child);
        child
    }

    /// Puts a node above `child` that takes over the first `common` bytes of its label, and its place.
    fn divide(&mut self, child: u32, common: usize) -> u32 {
        let Node { label, parent, .. } = &self.nodes[child];
        let (label, parent) = (label.as_bytes(), *parent);
        let (upper, lower) = (Label::new(&label[..common]), Label::new(&label[common + 1..]));
        let middle = self.nodes.insert(Node { parent, ..Node::default() });
        self.set_label(middle, upper);
        self.relink(parent, child, middle);
        self.set_label(child, lower);
        self.nodes[child].parent = middle;
        self.link(middle, child);
        middle
    }

    fn set_label(&mut self, id: u32, label: Label) {
        self.label_bytes += label.heap_bytes();
        let old = std::mem::replace(&mut self.nodes[id].label, label);
        self.label_bytes -= old.heap_bytes();
    }

    fn remove(&mut self, id: u32) {
        let node = self.nodes.remove(id);
        self.label_bytes -= node.label.heap_bytes();
    }

    /// Removes the node if nothing needs it, then its parent if nothing needs that any more; a node that only leads on to one
    /// other is joined with it.
    fn prune(&mut self, mut id: u32) {
        while id != ROOT {
            let Node { parent, plus, literals, literal_sum, here: None, below: None, .. } = self.nodes[id] else { return };
            match (literals, plus) {
                (0, NONE) => {
                    self.unlink(parent, id);
                    self.remove(id);
                    id = parent;
                }
                (1, NONE) => return self.join(id, literal_sum),
                (0, child) => return self.join(id, child),
                _ => return,
            }
        }
    }

    /// Takes `upper` away; its only child takes over its label and place.
    fn join(&mut self, upper: u32, child: u32) {
        let (parent, label) = (self.nodes[upper].parent, [self.label(upper), self.label(child)].join(&b'/'));
        self.relink(parent, upper, child);
        self.set_label(child, Label::new(&label));
        self.nodes[child].parent = parent;
        self.remove(upper);
    }

    fn link(&mut self, parent: u32, child: u32) {
        if first_level(self.label(child)) == b"+" {
            self.nodes[parent].plus = child;
            return;
        }
        let node = &mut self.nodes[parent];
        let (others, only) = (node.literals, node.literal_sum);
        node.literals += 1;
        node.literal_sum ^= child;
        if others == 1 {
            self.edges.insert(self.edge(parent, only), only);
        }
        if others > 0 {
            self.edges.insert(self.edge(parent, child), child);
        }
    }

    fn unlink(&mut self, parent: u32, child: u32) {
        if self.nodes[parent].plus == child {
            self.nodes[parent].plus = NONE;
            return;
        }
        let node = &mut self.nodes[parent];
        node.literals -= 1;
        node.literal_sum ^= child;
        let (left, only) = (node.literals, node.literal_sum);
        if left > 0 {
            self.edges.remove(self.edge(parent, child), child);
        }
        if left == 1 {
            self.edges.remove(self.edge(parent, only), only);
        }
    }

    /// Puts `new` in the place of `old` among the children of `parent`; their labels begin with the same level.
    fn relink(&mut self, parent: u32, old: u32, new: u32) {
        if self.nodes[parent].plus == old {
            self.nodes[parent].plus = new;
            return;
        }
        let node = &mut self.nodes[parent];
        node.literal_sum ^= old ^ new;
        if node.literals > 1 {
            self.edges.replace(self.edge(parent, old), old, new);
        }
    }

    fn edge(&self, parent: u32, child: u32) -> u64 {
        self.hash(parent, first_level(self.label(child)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn put(tree: &mut PatternTree<u32>, pattern: &str, value: u32) -> Option<u32> {
        let place = tree.make(pattern.as_bytes());
        tree.value_mut(place).replace(value)
    }

    pub(in super::super) fn take(tree: &mut PatternTree<u32>, pattern: &str) -> Option<u32> {
        tree.find(pattern.as_bytes()).and_then(|place| tree.clear(place))
    }

    /// Ten levels: `+` for each bit that is set, else `a`.
    pub(in super::super) fn plus_or_a(bits: u32) -> [&'static str; 10] {
        std::array::from_fn(|at| if bits >> at & 1 == 1 { "+" } else { "a" })
    }

    #[test]
    fn a_tree_that_was_emptied_is_as_small_as_a_new_one() {
        let new = PatternTree::<u32>::new().heap_bytes();
        let mut tree = PatternTree::new();
        let patterns: Vec<String> = (0..20_000).map(|i| format!("site/{}/+/device/{i}/temperature", i % 50)).collect();
        patterns.iter().for_each(|pattern| assert_eq!(put(&mut tree, pattern, 1), None));
        assert!(tree.heap_bytes() > 20 * new);
        patterns.iter().for_each(|pattern| assert_eq!(take(&mut tree, pattern), Some(1)));
        assert_eq!(tree.nodes(), 1);
        assert!(tree.heap_bytes() < new + 4_096, "{} bytes, {new} when new", tree.heap_bytes());
    }

    #[test]
    fn levels_in_a_row_cost_one_node_however_many_they_are() {
        let deep = "a/".repeat(32_767);
        let mut tree = PatternTree::new();
        put(&mut tree, &deep, 1);
        assert_eq!(tree.nodes(), 2);
        put(&mut tree, &format!("{}b", &deep[..deep.len() - 2]), 2);
        assert_eq!(tree.nodes(), 4);
        assert!(tree.heap_bytes() < PatternTree::<u32>::new().heap_bytes() + 2 * deep.len());
        take(&mut tree, &deep);
        assert_eq!(tree.nodes(), 2, "what is left is joined again");
    }
}
