//! The known part of the graphs that invocations work through, and what is left to the end of each.
//!
//! A derivation's rank is its own work plus the largest rank of those that need it: the length of the longest way to the
//! end. It is in seconds on the reference machine, as the estimates are.

use std::collections::HashMap;

use super::queue::Key;
use super::state::State;
use crate::domain::{GraphNode, StoreHash, System};

/// Beyond so many derivations the graphs of before are forgotten, which costs order only.
const REMEMBERED: usize = 50_000;

#[derive(Debug)]
struct Node {
    pname: String,
    system: System,
    dependents: Vec<StoreHash>,
    rank: f64,
}

/// Derivations by their paths' hashes.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<StoreHash, Node>,
}

impl Graph {
    /// Seconds from the start of that build to the end of the graph; none where it is not known.
    pub(super) fn rank(&self, drv: &StoreHash) -> Option<f64> {
        self.nodes.get(drv).map(|node| node.rank)
    }

    /// False where nothing of it is new.
    fn learn(&mut self, nodes: Vec<GraphNode>, work: impl Fn(&str, &System) -> f64) -> bool {
        if self.nodes.len() + nodes.len() > REMEMBERED {
            self.nodes.clear();
        }
        let mut is_new = false;
        let mut needs = Vec::new();
        for GraphNode { drv, pname, system, needs: of_this } in nodes.into_iter().take(REMEMBERED) {
            needs.extend(of_this.into_iter().map(|need| (need, drv)));
            self.nodes.entry(drv).or_insert_with(|| {
                is_new = true;
                Node { pname, system, dependents: Vec::new(), rank: 0.0 }
            });
        }
        for (need, drv) in needs {
            if let Some(node) = self.nodes.get_mut(&need)
                && !node.dependents.contains(&drv)
            {
                node.dependents.push(drv);
                is_new = true;
            }
        }
        if is_new {
            self.rank_all(work);
        }
        is_new
    }

    /// From the ends backwards (Kahn, 1962). What lies on a cycle, which no real graph has, keeps its own work as its rank.
    fn rank_all(&mut self, work: impl Fn(&str, &System) -> f64) {
        let mut open: HashMap<StoreHash, usize> = HashMap::with_capacity(self.nodes.len());
        let mut needs: HashMap<StoreHash, Vec<StoreHash>> = HashMap::new();
        for (drv, node) in &self.nodes {
            let known = node.dependents.iter().filter(|dependent| self.nodes.contains_key(*dependent));
            open.insert(*drv, known.clone().count());
            known.for_each(|dependent| needs.entry(*dependent).or_default().push(*drv));
        }
        for node in self.nodes.values_mut() {
            node.rank = work(&node.pname, &node.system);
        }
        let mut ready: Vec<StoreHash> =
            open.iter().filter(|(_, count)| **count == 0).map(|(drv, _)| *drv).collect();
        while let Some(drv) = ready.pop() {
            let rank = self.nodes.get(&drv).map_or(0.0, |node| node.rank);
            for need in needs.remove(&drv).unwrap_or_default() {
                if let Some(node) = self.nodes.get_mut(&need) {
                    let own = work(&node.pname, &node.system);
                    node.rank = node.rank.max(own + rank);
                }
                if let Some(count) = open.get_mut(&need) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push(need);
                    }
                }
            }
        }
    }
}

impl State {
    /// What is known of the graph changes how urgent builds are that wait already.
    pub(super) fn learn_graph(&mut self, nodes: Vec<GraphNode>) {
        let (estimates, constant) = (&self.estimates, self.settings.build_time);
        let work = |pname: &str, system: &System| estimates.work(pname, system, 0, constant).seconds;
        if !self.graph.learn(nodes, work) {
            return;
        }
        let waiting: Vec<_> = self.queue.groups.values().flat_map(|group| group.builds()).collect();
        for id in waiting {
            let Some(build) = self.builds.get(id) else { continue };
            let outlook = self.outlook();
            let rank = outlook.rank(build);
            let key = Key::new(build.ask.client, id, rank, build.asked_at);
            if key != build.key {
                self.queue.reorder(&build.shape, build.key, key);
                if let Some(build) = self.builds.get_mut(id) {
                    build.key = key;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::StorePath;

    fn hash(number: u64) -> StoreHash {
        StorePath::from_base_name(&format!("{number:032}-x.drv")).expect("a path").hash()
    }

    fn node(drv: u64, needs: &[u64]) -> GraphNode {
        GraphNode {
            drv: hash(drv),
            pname: format!("p{drv}"),
            system: System::parse("x86_64-linux").expect("a system"),
            needs: needs.iter().map(|need| hash(*need)).collect(),
        }
    }

    /// The derivation `pN` takes N seconds.
    fn work(pname: &str, _: &System) -> f64 {
        pname[1..].parse().expect("a number")
    }

    #[test]
    fn a_rank_is_the_longest_way_to_the_end_be_the_graph_told_in_pieces() {
        let mut graph = Graph::default();
        graph.learn(vec![node(1, &[]), node(2, &[1]), node(30, &[])], work);
        assert_eq!(graph.rank(&hash(1)), Some(3.0));
        graph.learn(vec![node(4, &[2, 30]), node(50, &[1])], work);
        let ranks = [1, 2, 30, 4, 50].map(|number| graph.rank(&hash(number)).expect("known"));
        assert_eq!(ranks, [51.0, 6.0, 34.0, 4.0, 50.0]);
        assert_eq!(graph.rank(&hash(9)), None);
    }

    #[test]
    fn a_cycle_hangs_nobody() {
        let mut graph = Graph::default();
        graph.learn(vec![node(1, &[2]), node(2, &[1]), node(3, &[])], work);
        assert_eq!(graph.rank(&hash(3)), Some(3.0));
        assert_eq!(graph.rank(&hash(1)), Some(1.0));
    }
}
