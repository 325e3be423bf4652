//! LightGBM's text format. Source: `GBDT::SaveModelToString` and `Tree::ToString` of LightGBM 4; semantics of a split
//! from `Tree::NumericalDecision` and `Tree::CategoricalDecision`.

use std::collections::BTreeMap;
use std::str::FromStr;

use paceline_kernels::forest::{Child, ForestSpec, Missing, Node, Test, Tree};

use super::{ForestError, OutputTransform, Parsed};

const TEXT_BYTES_MAX: usize = 1 << 30;
const COLUMNS_MAX: usize = 1 << 20;
const TREES_MAX: usize = 100_000;
/// LightGBM's own limit of `num_leaves`.
const LEAVES_PER_TREE_MAX: usize = 131_072;
/// Categories are non-negative 32-bit signed integers, 32 in a word.
const CATEGORY_WORDS_MAX: usize = 1 << 26;

/// LightGBM reads values up to this size as zero (`kZeroThreshold`, a single-precision constant).
const ZERO_BAND: f64 = 1e-35_f32 as f64;

pub(super) fn parse(text: &str) -> Result<Parsed, ForestError> {
    limit("bytes of text", text.len(), TEXT_BYTES_MAX)?;
    let mut lines = Lines { lines: text.lines().enumerate().peekable(), last: 0 };
    let header = Block::read_header(&mut lines)?;
    let model = Header::parse(&header)?;
    let mut trees = Vec::new();
    while let Some(block) = Block::read_tree(&mut lines, trees.len())? {
        limit("trees", trees.len() + 1, TREES_MAX)?;
        trees.push(parse_tree(&block, model.column_count)?);
    }
    if let Some(expected) = model.tree_count
        && expected != trees.len()
    {
        return Err(header.malformed("tree_sizes", format!("{expected} trees are announced, {} follow", trees.len())));
    }
    Ok(Parsed {
        spec: ForestSpec { column_count: model.column_count, zero_band: ZERO_BAND, trees },
        feature_names: model.feature_names,
        average: model.average,
        output: model.output,
    })
}

fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), ForestError> {
    if found > limit { Err(ForestError::TooLarge { what, found, limit }) } else { Ok(()) }
}

/// Lines with their numbers; remembers the last one for messages about the end of the text.
struct Lines<'a, I: Iterator<Item = (usize, &'a str)>> {
    lines: std::iter::Peekable<I>,
    last: usize,
}

impl<'a, I: Iterator<Item = (usize, &'a str)>> Lines<'a, I> {
    /// The next line that is not empty, with its number from 1.
    fn next_filled(&mut self) -> Option<(usize, &'a str)> {
        self.peek_filled()?;
        let (index, line) = self.lines.next()?;
        self.last = index + 1;
        Some((index + 1, line.trim()))
    }

    fn peek_filled(&mut self) -> Option<&'a str> {
        while self.lines.next_if(|(_, line)| line.trim().is_empty()).is_some() {}
        self.lines.peek().map(|(_, line)| line.trim())
    }
}

/// Lines `key=value` (or a bare key) that belong together.
struct Block<'a> {
    first_line: usize,
    entries: BTreeMap<&'a str, (usize, &'a str)>,
}

impl<'a> Block<'a> {
    fn read_header(lines: &mut Lines<'a, impl Iterator<Item = (usize, &'a str)>>) -> Result<Self, ForestError> {
        let malformed = |line, problem: String| ForestError::Malformed { line, key: "tree".to_owned(), problem };
        match lines.next_filled() {
            Some((_, "tree")) => Block::read_entries(lines, 1),
            Some((line, other)) => {
                let shown: String = other.chars().take(40).collect();
                Err(malformed(
                    line,
                    format!("a LightGBM model begins with the line \"tree\", this text with {shown:?}"),
                ))
            }
            None => Err(malformed(1, "the text is empty".to_owned())),
        }
    }

    /// The next tree; `None` at the line that ends the trees.
    fn read_tree(
        lines: &mut Lines<'a, impl Iterator<Item = (usize, &'a str)>>,
        expected: usize,
    ) -> Result<Option<Self>, ForestError> {
        let problem = match lines.next_filled() {
            Some((_, "end of trees")) => return Ok(None),
            Some((line, text)) if text.strip_prefix("Tree=") == Some(&expected.to_string()) => {
                return Block::read_entries(lines, line).map(Some);
            }
            Some((_, text)) => format!("found {:?}", text.chars().take(40).collect::<String>()),
            None => "the text ends; the file is cut off".to_owned(),
        };
        Err(ForestError::Malformed {
            line: lines.last.max(1),
            key: format!("Tree={expected} or end of trees"),
            problem,
        })
    }

    fn read_entries(
        lines: &mut Lines<'a, impl Iterator<Item = (usize, &'a str)>>,
        first_line: usize,
    ) -> Result<Self, ForestError> {
        let mut entries = BTreeMap::new();
        while lines.peek_filled().is_some_and(|text| !text.starts_with("Tree=") && text != "end of trees") {
            let Some((line, text)) = lines.next_filled() else { break };
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            if entries.insert(key, (line, value)).is_some() {
                let problem = "the key stands there twice".to_owned();
                return Err(ForestError::Malformed { line, key: key.to_owned(), problem });
            }
        }
        Ok(Block { first_line, entries })
    }

    fn malformed(&self, key: &str, problem: String) -> ForestError {
        let line = self.entries.get(key).map_or(self.first_line, |(line, _)| *line);
        ForestError::Malformed { line, key: key.to_owned(), problem }
    }

    fn unsupported(&self, key: &str, item: String, hint: &'static str) -> ForestError {
        let line = self.entries.get(key).map_or(self.first_line, |(line, _)| *line);
        ForestError::Unsupported { line, item, hint }
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.entries.get(key).map(|(_, value)| *value)
    }

    fn required(&self, key: &str) -> Result<&'a str, ForestError> {
        self.text(key).ok_or_else(|| self.malformed(key, "the line is missing".to_owned()))
    }

    fn number<T: FromStr>(&self, key: &str) -> Result<T, ForestError> {
        let text = self.required(key)?;
        text.trim().parse().map_err(|_| self.malformed(key, format!("{text:?} is not a number of the expected kind")))
    }

    /// Exactly `count` numbers separated by spaces.
    fn numbers<T: FromStr>(&self, key: &str, count: usize) -> Result<Vec<T>, ForestError> {
        let numbers: Vec<T> = self
            .required(key)?
            .split_ascii_whitespace()
            .map(|word| {
                word.parse().map_err(|_| self.malformed(key, format!("{word:?} is not a number of the expected kind")))
            })
            .collect::<Result<_, _>>()?;
        if numbers.len() == count {
            Ok(numbers)
        } else {
            Err(self.malformed(key, format!("{} numbers, expected {count}", numbers.len())))
        }
    }
}

struct Header {
    column_count: usize,
    feature_names: Vec<String>,
    average: bool,
    output: OutputTransform,
    tree_count: Option<usize>,
}

impl Header {
    fn parse(block: &Block<'_>) -> Result<Self, ForestError> {
        let version = block.required("version")?;
        if !["v2", "v3", "v4"].contains(&version) {
            let hint = "save the model with LightGBM 2.2 to 4.x";
            return Err(block.unsupported("version", format!("format version {version:?}"), hint));
        }
        for key in ["num_class", "num_tree_per_iteration"] {
            let outputs: usize = block.number(key)?;
            if outputs != 1 {
                let hint = "train one model per class (objective binary)";
                return Err(block.unsupported(key, format!("a model of {outputs} outputs ({key})"), hint));
            }
        }
        let last_column: usize = block.number("max_feature_idx")?;
        limit("columns", last_column.saturating_add(1), COLUMNS_MAX)?;
        let column_count = last_column + 1;
        let feature_names: Vec<String> =
            block.required("feature_names")?.split_ascii_whitespace().map(str::to_owned).collect();
        if feature_names.len() != column_count {
            let problem = format!("{} names, expected max_feature_idx + 1 = {column_count}", feature_names.len());
            return Err(block.malformed("feature_names", problem));
        }
        Ok(Header {
            column_count,
            feature_names,
            average: block.text("average_output").is_some(),
            output: parse_objective(block)?,
            tree_count: block.text("tree_sizes").map(|sizes| sizes.split_ascii_whitespace().count()),
        })
    }
}

fn parse_objective(block: &Block<'_>) -> Result<OutputTransform, ForestError> {
    // A model trained on a custom objective states none.
    let Some(text) = block.text("objective") else { return Ok(OutputTransform::Identity) };
    let mut words = text.split_ascii_whitespace();
    let name = words.next().unwrap_or("");
    let options: Vec<&str> = words.collect();
    match name {
        "binary" => {
            let slope = match options.iter().find_map(|option| option.strip_prefix("sigmoid:")) {
                None => 1.0,
                Some(text) => match text.parse() {
                    Ok(slope) if slope > 0.0 && f64::is_finite(slope) => slope,
                    _ => return Err(block.malformed("objective", format!("sigmoid {text:?} is not a number above 0"))),
                },
            };
            Ok(OutputTransform::Sigmoid { slope })
        }
        "cross_entropy" | "xentropy" => Ok(OutputTransform::Sigmoid { slope: 1.0 }),
        "cross_entropy_lambda" | "xentlambda" => Ok(OutputTransform::SoftPlus),
        "poisson" | "gamma" | "tweedie" => Ok(OutputTransform::Exponential),
        "regression" | "regression_l2" | "regression_l1" | "huber" | "fair" | "quantile" | "mape" => {
            let square_root = options.contains(&"sqrt");
            Ok(if square_root { OutputTransform::SignedSquare } else { OutputTransform::Identity })
        }
        "lambdarank" | "rank_xendcg" | "custom" | "none" | "null" | "na" => Ok(OutputTransform::Identity),
        other => Err(block.unsupported(
            "objective",
            format!("objective {other:?}"),
            "supported are binary, cross_entropy, the regression family, lambdarank and rank_xendcg",
        )),
    }
}

fn parse_tree(block: &Block<'_>, column_count: usize) -> Result<Tree, ForestError> {
    let leaf_count: usize = block.number("num_leaves")?;
    limit("leaves in a tree", leaf_count, LEAVES_PER_TREE_MAX)?;
    if leaf_count == 0 {
        return Err(block.malformed("num_leaves", "a tree has at least one leaf".to_owned()));
    }
    if block.text("is_linear").is_some_and(|text| text != "0") {
        return Err(block.unsupported("is_linear", "a linear tree".to_owned(), "train with linear_tree=false"));
    }
    let leaves: Vec<f64> = block.numbers("leaf_value", leaf_count)?;
    if let Some(value) = leaves.iter().find(|value| !value.is_finite()) {
        return Err(block.malformed("leaf_value", format!("{value} is not finite")));
    }
    let nodes = if leaf_count == 1 { Vec::new() } else { parse_nodes(block, leaf_count - 1, column_count)? };
    Ok(Tree { nodes, leaves })
}

fn parse_nodes(block: &Block<'_>, node_count: usize, column_count: usize) -> Result<Vec<Node>, ForestError> {
    let columns: Vec<u32> = block.numbers("split_feature", node_count)?;
    if let Some(column) = columns.iter().find(|&&column| column as usize >= column_count) {
        return Err(block.malformed("split_feature", format!("feature {column} of {column_count}")));
    }
    let thresholds: Vec<f64> = block.numbers("threshold", node_count)?;
    let decisions: Vec<u8> = block.numbers("decision_type", node_count)?;
    let left: Vec<i64> = block.numbers("left_child", node_count)?;
    let right: Vec<i64> = block.numbers("right_child", node_count)?;
    check_children(block, &left, &right)?;
    let sets = CategorySets::parse(block)?;
    (0..node_count)
        .map(|index| {
            let test = if decisions[index] & CATEGORICAL != 0 {
                Test::OneOf { categories: sets.get(block, thresholds[index])? }
            } else if thresholds[index].is_nan() {
                return Err(block.malformed("threshold", format!("node {index}: NaN")));
            } else {
                Test::AtMost { threshold: thresholds[index], missing: parse_missing(block, decisions[index])? }
            };
            Ok(Node { column: columns[index], test, left: child(left[index]), right: child(right[index]) })
        })
        .collect()
}

/// `decision_type` is a set of bits: categorical, default left, and two bits of missing type.
const CATEGORICAL: u8 = 1;
const DEFAULT_LEFT: u8 = 2;
const MISSING_SHIFT: u32 = 2;

fn parse_missing(block: &Block<'_>, decision: u8) -> Result<Missing, ForestError> {
    let default_left = decision & DEFAULT_LEFT != 0;
    match decision >> MISSING_SHIFT {
        0 => Ok(Missing::AsZero),
        1 => Ok(if default_left { Missing::ZeroLeft } else { Missing::ZeroRight }),
        2 => Ok(if default_left { Missing::Left } else { Missing::Right }),
        _ => Err(block.malformed("decision_type", format!("{decision} has an unknown missing type"))),
    }
}

/// A child is a node when it is not negative, else the bitwise complement of a leaf. In range after [`check_children`].
fn child(reference: i64) -> Child {
    if reference >= 0 { Child::Node(reference as u32) } else { Child::Leaf(!reference as u32) }
}

/// Every node but the root and every leaf is some node's child exactly once, and nodes come after their parents. So the
/// children form a tree: one parent each, no cycle.
fn check_children(block: &Block<'_>, left: &[i64], right: &[i64]) -> Result<(), ForestError> {
    let node_count = left.len();
    let mut seen_nodes = vec![false; node_count];
    let mut seen_leaves = vec![false; node_count + 1];
    for (key, references) in [("left_child", left), ("right_child", right)] {
        for (parent, &reference) in references.iter().enumerate() {
            let (kind, index, seen) = if reference >= 0 {
                ("node", reference, &mut seen_nodes)
            } else {
                ("leaf", !reference, &mut seen_leaves)
            };
            let place = usize::try_from(index).ok().and_then(|index| seen.get_mut(index));
            let problem = match place {
                None => "does not exist",
                Some(true) => "has two parents",
                Some(_) if kind == "node" && index <= parent as i64 => "does not come after its parent",
                Some(place) => {
                    *place = true;
                    continue;
                }
            };
            return Err(block.malformed(key, format!("node {parent}: {kind} {index} {problem}")));
        }
    }
    Ok(())
}

/// The sets of categories of one tree: bit sets of 32-bit words, cut by boundaries.
struct CategorySets {
    boundaries: Vec<usize>,
    words: Vec<u32>,
}

impl CategorySets {
    fn parse(block: &Block<'_>) -> Result<Self, ForestError> {
        let count: usize = block.number("num_cat")?;
        if count == 0 {
            return Ok(CategorySets { boundaries: vec![0], words: Vec::new() });
        }
        limit("categorical splits in a tree", count, LEAVES_PER_TREE_MAX)?;
        let boundaries: Vec<usize> = block.numbers("cat_boundaries", count + 1)?;
        if boundaries[0] != 0 || !boundaries.is_sorted() {
            return Err(block.malformed("cat_boundaries", "they ascend from 0".to_owned()));
        }
        limit("words of category sets in a tree", boundaries[count], CATEGORY_WORDS_MAX)?;
        let words = block.numbers("cat_threshold", boundaries[count])?;
        Ok(CategorySets { boundaries, words })
    }

    fn get(&self, block: &Block<'_>, threshold: f64) -> Result<Vec<u32>, ForestError> {
        let index = threshold as usize;
        if threshold != index as f64 || index + 1 >= self.boundaries.len() {
            let problem = format!("a categorical split names set {threshold} of {}", self.boundaries.len() - 1);
            return Err(block.malformed("threshold", problem));
        }
        let words = &self.words[self.boundaries[index]..self.boundaries[index + 1]];
        Ok(words
            .iter()
            .zip(0_u32..)
            .flat_map(|(word, place)| (0..32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| place * 32 + bit))
            .collect())
    }
}
