//! One row: several trees are walked in lock step, so that their memory accesses overlap.

/// Trees walked at a time. Eight chains of dependent loads keep a core's load ports busy.
const LANES: usize = 8;

/// Trees as flat nodes.
///
/// Siblings are neighbours: the left child of node `i` is at `nodes[i].next`, the right one behind it. A leaf is a node
/// that leads to itself: its rank is above every slot's value, so its test always holds.
#[derive(Debug, Clone)]
pub(super) struct Walker {
    pub(super) nodes: Vec<WalkNode>,
    /// The leaf's value at the leaf's place, 0.0 elsewhere.
    pub(super) values: Vec<f64>,
    /// The root of each tree.
    pub(super) roots: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct WalkNode {
    pub(super) next: u32,
    pub(super) slot: u16,
    pub(super) rank: u8,
}

impl Walker {
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.nodes) + size_of_val(&*self.values) + size_of_val(&*self.roots)
    }

    /// The sum of the leaves, in tree order.
    pub(super) fn sum(&self, ranks: &[u8]) -> f64 {
        if ranks.is_empty() {
            // Without a slot every tree is a single leaf.
            return self.roots.iter().fold(0.0, |sum, &root| sum + self.values[root as usize]);
        }
        let mut sum = 0.0;
        let mut groups = self.roots.chunks_exact(LANES);
        for group in &mut groups {
            let mut places: [u32; LANES] = group.try_into().expect("a chunk has the stated size");
            loop {
                let mut moved = 0;
                for place in &mut places {
                    let next = self.step(*place, ranks);
                    moved |= next ^ *place;
                    *place = next;
                }
                if moved == 0 {
                    break;
                }
            }
            sum = places.iter().fold(sum, |sum, &place| sum + self.values[place as usize]);
        }
        groups.remainder().iter().fold(sum, |sum, &root| {
            let mut place = root;
            loop {
                let next = self.step(place, ranks);
                if next == place {
                    break sum + self.values[place as usize];
                }
                place = next;
            }
        })
    }

    #[inline]
    fn step(&self, place: u32, ranks: &[u8]) -> u32 {
        let node = self.nodes[place as usize];
        node.next + u32::from(ranks[usize::from(node.slot)] > node.rank)
    }
}
