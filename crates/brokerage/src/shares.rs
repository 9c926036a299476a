//! Global shares: which part of the resources each kind of work may use, as a tree.
//!
//! Leaves are what jobs count for. Values of siblings are normalised to that of their parent. What
//! runs is compared with what is pledged, from the root down, and the leaf that is furthest below
//! its pledge comes first.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/GlobalShares.py` and
//! `pandaserver/taskbuffer/db_proxy_mods/entity_module.py`, `compare_share_task`.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde::Deserialize;

/// The leaf of what fits none.
pub const UNDEFINED: &str = "Undefined";
/// The leaf that always comes first.
pub const TEST: &str = "Test";
/// All of the root, in percent.
const WHOLE: f64 = 100.0;
/// How over-used a leaf counts to which nothing is pledged.
const NOTHING_PLEDGED: f64 = 1e6;

/// One node as the configuration names it. A pattern is a regular expression that must match the
/// beginning of its value; no pattern fits everything.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShareEntry {
    /// Its name, unique.
    pub name: String,
    /// Its part among its siblings.
    pub value: f64,
    /// The node above; empty for one below the root.
    pub parent: String,
    /// Pattern of the label (`prodSourceLabel`).
    pub prodsourcelabel: Option<String>,
    /// Pattern of the working group.
    pub workinggroup: Option<String>,
    /// Pattern of the campaign.
    pub campaign: Option<String>,
    /// Pattern of the processing type.
    pub processingtype: Option<String>,
    /// Pattern of the payload script (`transPath`).
    pub transpath: Option<String>,
    /// Pattern of the resource class.
    pub rtype: Option<String>,
    /// Pattern of the VO.
    pub vo: Option<String>,
}

/// What decides to which leaf a task or job belongs. Empty texts are not stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShareTraits<'a> {
    /// The label.
    pub source_label: &'a str,
    /// The working group.
    pub working_group: &'a str,
    /// The campaign.
    pub campaign: &'a str,
    /// The processing type.
    pub processing_type: &'a str,
    /// The payload script.
    pub transformation: &'a str,
    /// The resource class.
    pub resource_type: &'a str,
    /// The VO.
    pub vo: &'a str,
}

/// A tree of shares cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// A node has no name, or the name of another.
    #[error("share `{name}`: every share needs a name of its own")]
    Name {
        /// The name.
        name: String,
    },
    /// A value is no part.
    #[error("share `{name}`: `value` is {value}, it must be a number above zero")]
    Value {
        /// The share.
        name: String,
        /// Its value.
        value: String,
    },
    /// The node above is not there, or below itself.
    #[error("share `{name}`: `parent` is `{parent}`, which is no share above it")]
    Parent {
        /// The share.
        name: String,
        /// The node that it names.
        parent: String,
    },
    /// A pattern is no regular expression.
    #[error("share `{name}`: `{pattern}` is no regular expression")]
    Pattern {
        /// The share.
        name: String,
        /// The pattern.
        pattern: String,
    },
}

/// A checked tree.
#[derive(Debug, Clone, Default)]
pub struct ShareTree {
    /// Nodes in the order of the configuration.
    nodes: Vec<Node>,
    /// Nodes below the root.
    roots: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Node {
    entry: ShareEntry,
    children: Vec<usize>,
    /// In percent of everything.
    pledged: f64,
    /// The value that each pattern is about, and the pattern.
    patterns: Vec<(Trait, Regex)>,
}

#[derive(Debug, Clone, Copy)]
enum Trait {
    SourceLabel,
    WorkingGroup,
    Campaign,
    ProcessingType,
    Transformation,
    ResourceType,
    Vo,
}

/// A leaf or a node above, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct ShareLine {
    /// Its name.
    pub name: String,
    /// How deep it lies, from 0.
    pub depth: usize,
    /// Whether jobs count for it.
    pub is_leaf: bool,
    /// Percent of everything that is pledged to it.
    pub pledged_percent: f64,
    /// What runs for it, in the unit in which it was given.
    pub executing: f64,
    /// What waits for it.
    pub queued: f64,
}

impl ShareTree {
    /// Builds the tree from its nodes, in any order.
    ///
    /// # Errors
    ///
    /// [`ShareError`] with the node that is wrong.
    pub fn new(entries: Vec<ShareEntry>) -> Result<Self, ShareError> {
        let mut nodes: Vec<Node> = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.name.is_empty() || nodes.iter().any(|it| it.entry.name == entry.name) {
                return Err(ShareError::Name { name: entry.name });
            }
            if !(entry.value.is_finite() && entry.value > 0.0) {
                return Err(ShareError::Value {
                    value: entry.value.to_string(),
                    name: entry.name,
                });
            }
            nodes.push(Node {
                patterns: patterns_of(&entry)?,
                entry,
                children: Vec::new(),
                pledged: 0.0,
            });
        }
        let mut tree = Self {
            nodes,
            roots: Vec::new(),
        };
        tree.link()?;
        tree.normalise(&tree.roots.clone(), WHOLE);
        Ok(tree)
    }

    /// Says whether there are no shares: then all work is equal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Returns the leaf of a name, if there is one.
    #[must_use]
    pub fn leaf_named(&self, name: &str) -> Option<&str> {
        let node = self.nodes.iter().find(|node| node.entry.name == name)?;
        node.children.is_empty().then_some(&*node.entry.name)
    }

    /// Returns the leaf for which a task or job counts: the first one, depth first, whose patterns
    /// all match.
    #[must_use]
    pub fn leaf_of(&self, traits: &ShareTraits<'_>) -> &str {
        let leaf = self
            .depth_first()
            .into_iter()
            .map(|(index, _)| &self.nodes[index])
            .find(|node| node.children.is_empty() && node.fits(traits));
        leaf.map_or(UNDEFINED, |node| &node.entry.name)
    }

    /// Orders leaves by need: [`TEST`] first, then those furthest below their pledge, node by node
    /// from the root. `executing` says what runs for each leaf, in any unit.
    #[must_use]
    pub fn order(&self, executing: &BTreeMap<String, f64>) -> Vec<&str> {
        let sums = self.sums(executing);
        let mut order = Vec::new();
        self.order_below(&self.roots, &sums, &mut order);
        if let Some(place) = order.iter().position(|name| *name == TEST) {
            let test = order.remove(place);
            order.insert(0, test);
        }
        order
    }

    /// Lists all nodes with what is pledged to them and what runs and waits for them.
    #[must_use]
    pub fn lines(
        &self,
        executing: &BTreeMap<String, f64>,
        queued: &BTreeMap<String, f64>,
    ) -> Vec<ShareLine> {
        let (runs, waits) = (self.sums(executing), self.sums(queued));
        self.depth_first()
            .into_iter()
            .map(|(index, depth)| {
                let node = &self.nodes[index];
                ShareLine {
                    name: node.entry.name.clone(),
                    depth,
                    is_leaf: node.children.is_empty(),
                    pledged_percent: node.pledged,
                    executing: runs[index],
                    queued: waits[index],
                }
            })
            .collect()
    }

    fn link(&mut self) -> Result<(), ShareError> {
        for index in 0..self.nodes.len() {
            let parent = self.nodes[index].entry.parent.clone();
            if parent.is_empty() {
                self.roots.push(index);
                continue;
            }
            let above = self.nodes.iter().position(|it| it.entry.name == parent);
            let Some(above) = above else {
                return Err(self.bad_parent(index));
            };
            self.nodes[above].children.push(index);
        }
        let reached: BTreeSet<usize> = self.depth_first().into_iter().map(|(it, _)| it).collect();
        match (0..self.nodes.len()).find(|index| !reached.contains(index)) {
            // What cannot be reached from the root hangs below itself.
            Some(index) => Err(self.bad_parent(index)),
            None => Ok(()),
        }
    }

    fn bad_parent(&self, index: usize) -> ShareError {
        let entry = &self.nodes[index].entry;
        ShareError::Parent {
            name: entry.name.clone(),
            parent: entry.parent.clone(),
        }
    }

    fn normalise(&mut self, siblings: &[usize], whole: f64) {
        let sum: f64 = siblings.iter().map(|it| self.nodes[*it].entry.value).sum();
        for index in siblings {
            let part = whole * self.nodes[*index].entry.value / sum;
            self.nodes[*index].pledged = part;
            let children = self.nodes[*index].children.clone();
            self.normalise(&children, part);
        }
    }

    /// Nodes and their depths, each before those below it.
    fn depth_first(&self) -> Vec<(usize, usize)> {
        let mut listed = Vec::new();
        let mut open: Vec<(usize, usize)> = self.roots.iter().rev().map(|it| (*it, 0)).collect();
        while let Some((index, depth)) = open.pop() {
            listed.push((index, depth));
            let children = self.nodes[index].children.iter().rev();
            open.extend(children.map(|child| (*child, depth + 1)));
        }
        listed
    }

    /// Sums up what the leaves have, by node.
    fn sums(&self, of_leaf: &BTreeMap<String, f64>) -> Vec<f64> {
        let mut sums = vec![0.0; self.nodes.len()];
        // From below: the nodes after a node are below it or beside it.
        for (index, _) in self.depth_first().into_iter().rev() {
            let node = &self.nodes[index];
            sums[index] = if node.children.is_empty() {
                of_leaf.get(&node.entry.name).copied().unwrap_or(0.0)
            } else {
                node.children.iter().map(|child| sums[*child]).sum()
            };
        }
        sums
    }

    fn order_below<'a>(&'a self, siblings: &[usize], sums: &[f64], order: &mut Vec<&'a str>) {
        let used = |index: usize| {
            let pledged = self.nodes[index].pledged;
            if pledged > 0.0 {
                sums[index] / pledged
            } else {
                NOTHING_PLEDGED
            }
        };
        let mut sorted = siblings.to_vec();
        sorted.sort_by(|a, b| used(*a).total_cmp(&used(*b)));
        for index in sorted {
            let node = &self.nodes[index];
            if node.children.is_empty() {
                order.push(&node.entry.name);
            } else {
                self.order_below(&node.children, sums, order);
            }
        }
    }
}

impl Node {
    fn fits(&self, traits: &ShareTraits<'_>) -> bool {
        self.patterns.iter().all(|(about, pattern)| {
            let value = match about {
                Trait::SourceLabel => traits.source_label,
                Trait::WorkingGroup => traits.working_group,
                Trait::Campaign => traits.campaign,
                Trait::ProcessingType => traits.processing_type,
                Trait::Transformation => traits.transformation,
                Trait::ResourceType => traits.resource_type,
                Trait::Vo => traits.vo,
            };
            !value.is_empty() && pattern.is_match(value)
        })
    }
}

fn patterns_of(entry: &ShareEntry) -> Result<Vec<(Trait, Regex)>, ShareError> {
    let stated = [
        (Trait::SourceLabel, &entry.prodsourcelabel),
        (Trait::WorkingGroup, &entry.workinggroup),
        (Trait::Campaign, &entry.campaign),
        (Trait::ProcessingType, &entry.processingtype),
        (Trait::Transformation, &entry.transpath),
        (Trait::ResourceType, &entry.rtype),
        (Trait::Vo, &entry.vo),
    ];
    let stated = stated
        .into_iter()
        .filter_map(|(about, text)| Some((about, text.as_ref()?)));
    stated
        .map(|(about, text)| match Regex::new(&format!("^(?:{text})")) {
            Ok(pattern) => Ok((about, pattern)),
            Err(_) => Err(ShareError::Pattern {
                name: entry.name.clone(),
                pattern: text.clone(),
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, value: f64, parent: &str) -> ShareEntry {
        ShareEntry {
            name: name.to_owned(),
            value,
            parent: parent.to_owned(),
            ..ShareEntry::default()
        }
    }

    /// Production (simulation, reconstruction) 3 to analysis 1, and tests.
    fn tree() -> ShareTree {
        let labelled = |name: &str, value, parent: &str, label: &str, kind: Option<&str>| {
            let mut entry = entry(name, value, parent);
            entry.prodsourcelabel = Some(label.to_owned());
            entry.processingtype = kind.map(str::to_owned);
            entry
        };
        ShareTree::new(vec![
            labelled("Reco", 1.0, "Production", "managed", Some("reco")),
            labelled("Simulation", 1.0, "Production", "managed", None),
            entry("Production", 75.0, ""),
            labelled("Analysis", 24.0, "", "user|panda", None),
            labelled("Test", 1.0, "", ".*test", None),
        ])
        .unwrap()
    }

    fn leaf(label: &str, kind: &str) -> String {
        let traits = ShareTraits {
            source_label: label,
            processing_type: kind,
            ..ShareTraits::default()
        };
        tree().leaf_of(&traits).to_owned()
    }

    #[test]
    fn work_counts_for_the_first_leaf_that_fits() {
        assert_eq!(leaf("managed", "reconstruction"), "Reco");
        assert_eq!(leaf("managed", "simulation"), "Simulation");
        assert_eq!(leaf("panda", ""), "Analysis");
        assert_eq!(leaf("prod_test", ""), "Test");
        assert_eq!(leaf("other", ""), UNDEFINED);
    }

    #[test]
    fn values_are_normalised_to_those_above() {
        let none = BTreeMap::new();
        let lines: Vec<_> = tree()
            .lines(&none, &none)
            .into_iter()
            .map(|line| (line.name, line.depth, line.pledged_percent))
            .collect();
        let expected = [
            ("Production", 0, 75.0),
            ("Reco", 1, 37.5),
            ("Simulation", 1, 37.5),
            ("Analysis", 0, 24.0),
            ("Test", 0, 1.0),
        ];
        assert_eq!(
            lines,
            expected.map(|(name, depth, part)| (name.to_owned(), depth, part))
        );
    }

    #[test]
    fn the_leaf_furthest_below_its_pledge_comes_first_and_tests_before_all() {
        let tree = tree();
        let order = |rows: &[(&str, f64)]| {
            let executing = rows
                .iter()
                .map(|(name, n)| ((*name).to_owned(), *n))
                .collect();
            tree.order(&executing).join(" ")
        };
        assert_eq!(order(&[]), "Test Reco Simulation Analysis");
        assert_eq!(
            order(&[("Reco", 10.0), ("Test", 1000.0)]),
            "Test Analysis Simulation Reco"
        );
        // Analysis uses more of its part than production as a whole, whatever its leaves do.
        assert_eq!(
            order(&[("Reco", 60.0), ("Analysis", 30.0)]),
            "Test Simulation Reco Analysis"
        );
    }

    #[test]
    fn a_tree_that_hangs_on_nothing_is_refused() {
        let error = |entries| ShareTree::new(entries).expect_err("refused").to_string();
        assert!(error(vec![entry("A", 1.0, "B")]).contains("`B`"));
        assert!(error(vec![entry("A", 1.0, "B"), entry("B", 1.0, "A")]).contains("above it"));
        assert!(error(vec![entry("A", 1.0, ""), entry("A", 1.0, "")]).contains("of its own"));
        assert!(error(vec![entry("A", 0.0, "")]).contains("above zero"));
        let mut broken = entry("A", 1.0, "");
        broken.vo = Some("(".to_owned());
        assert!(error(vec![broken]).contains("regular expression"));
    }
}
