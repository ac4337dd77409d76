//! Weighs signs of a climb against each other.
//!
//! Small decision trees, each correcting what those before it leave, whose leaves add up to a log-odds (Friedman, *Greedy
//! function approximation: a gradient boosting machine*, 2001). They were learned from labelled traces
//! (`tests/detection/learn.py` writes `weights.txt`), one tree a line: from the root on, `sign<value` is followed by what
//! holds up to that value and then by what holds above it, and `=value` is a leaf.

use std::sync::LazyLock;

use super::signs::{COUNT, NAMES, Signs};

const TEXT: &str = include_str!("weights.txt");

/// Log-odds from which on signs are a climb.
pub(super) const TELLING: f64 = 2.8;

/// The same where something healthy is likely that the signs say little of.
pub(super) const CERTAIN: f64 = 5.0;

static TREES: LazyLock<Trees> = LazyLock::new(|| Trees::read(TEXT).unwrap_or_default());

/// How much the signs speak for a climb: a log-odds.
pub(super) fn weigh(signs: &Signs) -> f64 {
    TREES.weigh(signs)
}

/// Trees one after another in one row of nodes.
#[derive(Debug, Default)]
struct Trees {
    nodes: Vec<Node>,
    roots: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
enum Node {
    Leaf(f32),
    /// Up to the value the next node holds, above it the one named.
    Split {
        sign: u16,
        above: u16,
        value: f32,
    },
}

impl Trees {
    fn read(text: &str) -> Option<Self> {
        let mut trees = Self::default();
        for line in text.lines() {
            trees.roots.push(u32::try_from(trees.nodes.len()).ok()?);
            let mut words = line.split(' ');
            trees.read_node(&mut words)?;
            if words.next().is_some() {
                return None;
            }
        }
        Some(trees)
    }

    /// As deep as the trees are, which the learner bounds.
    fn read_node<'a>(&mut self, words: &mut impl Iterator<Item = &'a str>) -> Option<()> {
        let word = words.next()?;
        if let Some(value) = word.strip_prefix('=') {
            self.nodes.push(Node::Leaf(value.parse().ok()?));
            return Some(());
        }
        let (name, value) = word.split_once('<')?;
        let sign = u16::try_from(NAMES.iter().position(|known| *known == name)?).ok()?;
        let place = self.nodes.len();
        self.nodes.push(Node::Split { sign, above: 0, value: value.parse().ok()? });
        self.read_node(words)?;
        let next = u16::try_from(self.nodes.len() - place).ok()?;
        if let Some(Node::Split { above, .. }) = self.nodes.get_mut(place) {
            *above = next;
        }
        self.read_node(words)
    }

    fn weigh(&self, signs: &[f32; COUNT]) -> f64 {
        self.roots.iter().map(|root| f64::from(self.leaf(*root as usize, signs))).sum()
    }

    fn leaf(&self, mut place: usize, signs: &[f32; COUNT]) -> f32 {
        loop {
            match self.nodes[place] {
                Node::Leaf(value) => return value,
                Node::Split { sign, above, value } => {
                    place += if signs[usize::from(sign)] <= value { 1 } else { usize::from(above) };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_weights_are_read() {
        let trees = Trees::read(TEXT).expect("written by the learner");
        assert_eq!(trees.roots.len(), TEXT.lines().count());
        assert!(trees.roots.len() > 50);
    }

    #[test]
    fn leaves_add_up() {
        let text = format!("{0}<1.5 =0.25 {1}<-2 =1 =2\n=0.5", NAMES[0], NAMES[1]);
        let trees = Trees::read(&text).expect("valid");
        let mut signs = [0.0; COUNT];
        assert_eq!(trees.weigh(&signs), 0.75);
        signs[0] = 1.6;
        assert_eq!(trees.weigh(&signs), 2.5);
        signs[1] = -2.0;
        assert_eq!(trees.weigh(&signs), 1.5);
    }

    #[test]
    fn what_the_learner_would_not_write_is_refused() {
        for text in ["", "nonsense<1 =1 =2", "=1 =2", "=x"] {
            assert!(Trees::read(&format!("{text}\n")).is_none(), "{text}");
        }
    }
}
