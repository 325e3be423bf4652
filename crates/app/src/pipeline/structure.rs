//! Compares a tree with the shape that it should have.
//!
//! What does not fit becomes a hole and what is probably a typo is read as what was meant, so that the tree
//! deserializes and later checks see the whole of what was said well: their mistakes come in the same answer.

use std::net::SocketAddr;

use paceline_core::metrics::Metric;
use paceline_core::{Period, Timestamp};

use super::metric::meant_metric;
use super::mistake::{Mistake, nearest, split_help, suggest};
use super::shape::{Kind, Shape, Table};
use super::tree::{Content, Node};

/// Mends `root` until it has `shape` and returns a mistake for each thing mended.
#[must_use]
pub fn mend(root: &mut Node, shape: &Shape) -> Vec<Mistake> {
    let mut walk = Walk { path: Vec::new(), mistakes: Vec::new() };
    walk.fits(root, shape);
    walk.mistakes
}

struct Walk {
    path: Vec<String>,
    mistakes: Vec<Mistake>,
}

impl Walk {
    /// Whether `node` may stay.
    fn fits(&mut self, node: &mut Node, shape: &Shape) -> bool {
        match &shape.kind {
            Kind::Bool => self.is(node, shape, |content| matches!(content, Content::Bool(_))),
            Kind::Integer(bounds) => {
                self.is(node, shape, |content| matches!(content, Content::Integer(_)))
                    && match node.content {
                        Content::Integer(Some(number)) if bounds.hold(number as f64) => true,
                        _ => self.out_of_bounds(node, &bounds.describe()),
                    }
            }
            Kind::Number(bounds) => {
                self.is(node, shape, |content| matches!(content, Content::Integer(_) | Content::Float(_)))
                    && match node.content {
                        Content::Integer(Some(number)) if bounds.hold(number as f64) => true,
                        Content::Float(number) if bounds.hold(number) && number.is_finite() => true,
                        _ => self.out_of_bounds(node, &bounds.describe()),
                    }
            }
            Kind::Text(format) => self.fits_text(node, shape, format.as_deref()),
            Kind::Words(words) => {
                self.is(node, shape, |content| matches!(content, Content::Text(_)))
                    && self.is_word(node, words.iter().map(|(word, _)| word.as_str()))
            }
            Kind::List { items, count_min, count_max } => {
                self.is(node, shape, |content| matches!(content, Content::List(_)))
                    && self.fits_list(node, items, (*count_min, *count_max))
            }
            Kind::Table(table) => {
                self.is(node, shape, |content| matches!(content, Content::Table(_))) && self.fits_table(node, table)
            }
            Kind::Choice { tag, variants } => {
                self.is(node, shape, |content| matches!(content, Content::Table(_)))
                    && self.fits_choice(node, tag, variants)
            }
            Kind::Either(shapes) => match shapes.iter().find(|shape| same_type(&node.content, shape)) {
                Some(shape) => self.fits(node, shape),
                None => self.is(node, shape, |_| false),
            },
        }
    }

    fn is(&mut self, node: &Node, shape: &Shape, right: impl Fn(&Content) -> bool) -> bool {
        if right(&node.content) {
            return true;
        }
        let message = format!("{} is {}; it must be {}", self.name(), node.describe(), expected(shape));
        self.report(node.span.clone(), message, None)
    }

    fn out_of_bounds(&mut self, node: &Node, bounds: &str) -> bool {
        let must = if bounds.is_empty() { "finite and within 64 bits" } else { bounds };
        self.report(node.span.clone(), format!("{} is {}; it must be {must}", self.name(), node.describe()), None)
    }

    fn fits_text(&mut self, node: &Node, shape: &Shape, format: Option<&str>) -> bool {
        let text = match &node.content {
            Content::Text(text) => text,
            Content::Time(text) if format == Some("instant") => text,
            _ => return self.is(node, shape, |_| false),
        };
        let error = match format {
            Some("period") => text.parse::<Period>().err().map(|error| error.to_string()),
            Some("instant") => text.parse::<Timestamp>().err().map(|error| error.to_string()),
            Some("metric") => text.parse::<Metric>().err().map(|error| match meant_metric(text) {
                Some(meant) => format!("{text:?} is not a metric; did you mean `{meant}`?"),
                None => error.to_string(),
            }),
            Some("address") => text
                .parse::<SocketAddr>()
                .err()
                .map(|_| format!("{text:?} is not an address; write host and port as numbers, such as 127.0.0.1:8080")),
            _ if text.trim().is_empty() => Some("the text is empty".to_owned()),
            _ => None,
        };
        let Some(error) = error else { return true };
        let (what, help) = split_help(&error);
        self.report(node.span.clone(), format!("{}: {what}", self.name()), help)
    }

    fn is_word<'a>(&mut self, node: &Node, words: impl Iterator<Item = &'a str>) -> bool {
        let words: Vec<&str> = words.collect();
        match &node.content {
            Content::Text(text) if words.contains(&text.as_str()) => true,
            Content::Text(text) => {
                let help = suggest(text, words.iter().copied());
                self.report(node.span.clone(), format!("{} is {text:?}, which is not known here", self.name()), help)
            }
            _ => false,
        }
    }

    /// A list with one bad element becomes a hole as a whole: the indices of the others must not move.
    fn fits_list(&mut self, node: &mut Node, items: &Shape, (count_min, count_max): (usize, usize)) -> bool {
        let Content::List(list) = &mut node.content else { return false };
        let count = list.len();
        let mut all_fit = true;
        for (index, item) in list.iter_mut().enumerate() {
            self.path.push(index.to_string());
            all_fit &= self.fits(item, items);
            self.path.pop();
        }
        if count < count_min || count > count_max {
            let must = match (count_min, count_max) {
                (min, max) if min == max => format!("exactly {min}"),
                (min, usize::MAX) => format!("at least {min}"),
                (min, max) => format!("{min} to {max}"),
            };
            return self.report(node.span.clone(), format!("{} has {count} elements, not {must}", self.name()), None);
        }
        all_fit
    }

    fn fits_choice(&mut self, node: &mut Node, tag: &str, variants: &[(String, Shape)]) -> bool {
        self.mend_tag(node, tag, variants);
        let Some(tag_node) = node.get(tag) else {
            let known: Vec<&str> = variants.iter().map(|(word, _)| word.as_str()).collect();
            let help = format!("known: {}", known.join(", "));
            return self.report(node.key_span.clone(), format!("{} lacks `{tag}`", self.table_name()), Some(help));
        };
        self.path.push(tag.to_owned());
        let known = self.is_word(tag_node, variants.iter().map(|(word, _)| word.as_str()));
        if !known && !matches!(tag_node.content, Content::Text(_)) {
            let message = format!("{} is {}; it must be a text in quotes", self.name(), tag_node.describe());
            self.report(tag_node.span.clone(), message, None);
        }
        self.path.pop();
        let Content::Text(word) = &tag_node.content else { return false };
        let Some((_, Shape { kind: Kind::Table(table), .. })) = variants.iter().find(|(known, _)| known == word) else {
            return false;
        };
        // The tag is set aside while the table is checked, because the variant's table does not name it.
        let Content::Table(entries) = &mut node.content else { return false };
        let position = entries.iter().position(|(name, _)| name == tag).expect("the tag was found above");
        let tag_entry = entries.remove(position);
        let fits = self.fits_table(node, table);
        if let Content::Table(entries) = &mut node.content {
            entries.insert(position.min(entries.len()), tag_entry);
        }
        fits
    }

    /// Without the tag no key of the table could be judged, so a slip in it is mended first.
    fn mend_tag(&mut self, node: &mut Node, tag: &str, variants: &[(String, Shape)]) {
        let is_known = |name: &str| {
            variants.iter().any(|(_, variant)| match &variant.kind {
                Kind::Table(table) => table.keys.iter().any(|key| key.name == name),
                _ => false,
            })
        };
        let Content::Table(entries) = &mut node.content else { return };
        if entries.iter().any(|(name, _)| name == tag) {
            return;
        }
        let slip = entries.iter_mut().find(|(name, _)| !is_known(name) && nearest(name, [tag]).is_some());
        if let Some((name, value)) = slip {
            let message = format!("unknown key `{name}` in {}", self.table_name());
            self.report(value.key_span.clone(), message, Some(format!("did you mean `{tag}`?")));
            tag.clone_into(name);
        }
    }

    /// Makes holes of bad entries; the table itself may always stay.
    fn fits_table(&mut self, node: &mut Node, table: &Table) -> bool {
        let key_span = node.key_span.clone();
        let Content::Table(entries) = &mut node.content else { return false };
        let mut given: Vec<String> = entries.iter().map(|(name, _)| name.clone()).collect();
        for (name, value) in entries.iter_mut() {
            let known = table.keys.iter().find(|key| key.name == *name);
            let unused =
                table.keys.iter().map(|key| key.name.as_str()).filter(|key| !given.iter().any(|name| name == key));
            let meant = nearest(name, unused).map(str::to_owned);
            let shape = match (known, table.rest.as_deref()) {
                (Some(key), _) => &key.shape,
                (None, Some(rest)) if meant.is_none() || resembles(value, rest) => rest,
                (None, _) => {
                    self.unknown_key(name, value, table);
                    let Some(meant) = meant else {
                        value.content = Content::Hole;
                        continue;
                    };
                    given.push(meant.clone());
                    name.clone_from(&meant);
                    let key = table.keys.iter().find(|key| key.name == meant);
                    &key.expect("only known keys are suggested").shape
                }
            };
            self.path.push(name.clone());
            if !self.fits(value, shape) {
                value.content = Content::Hole;
            }
            self.path.pop();
        }
        for key in table.keys.iter().filter(|key| key.required && !given.contains(&key.name)) {
            let message = match self.path.is_empty() {
                true => format!("the file lacks `{}`", key.name),
                false => format!("{} lacks `{}`", self.table_name(), key.name),
            };
            self.report(key_span.clone(), message, Some(first_sentence(&key.shape.about)));
        }
        true
    }

    fn unknown_key(&mut self, name: &str, node: &Node, table: &Table) {
        let is_section = self.path.is_empty() && matches!(node.content, Content::Table(_));
        let message = match (self.path.is_empty(), is_section) {
            (_, true) => format!("unknown section [{name}]"),
            (true, false) => format!("unknown key `{name}`"),
            (false, false) => format!("unknown key `{name}` in {}", self.table_name()),
        };
        let help = suggest(name, table.keys.iter().map(|key| key.name.as_str()));
        self.path.push(name.to_owned());
        self.report(node.key_span.clone(), message, help);
        self.path.pop();
    }

    fn report(&mut self, span: std::ops::Range<usize>, message: String, help: Option<String>) -> bool {
        self.mistakes.push(Mistake { span, key: self.path.join("."), message, help });
        false
    }

    /// The last key in backquotes, or an element by its number.
    fn name(&self) -> String {
        match self.path.as_slice() {
            [] => "the file".to_owned(),
            [.., list, last] if last.parse::<usize>().is_ok() => {
                format!("`{list}` number {}", last.parse::<usize>().map_or(1, |index| index + 1))
            }
            [.., last] => format!("`{last}`"),
        }
    }

    /// The table by its dotted path in brackets, or an element by its number.
    fn table_name(&self) -> String {
        match self.path.last().map(|last| last.parse::<usize>()) {
            Some(Ok(_)) => self.name(),
            _ => format!("[{}]", self.path.join(".")),
        }
    }
}

/// Whether `node` was probably meant as a `shape`: the type is right, and of a table with known keys one is there.
fn resembles(node: &Node, shape: &Shape) -> bool {
    match (&node.content, &shape.kind) {
        (Content::Table(entries), Kind::Table(table)) => {
            table.keys.is_empty() || entries.iter().any(|(name, _)| table.keys.iter().any(|key| key.name == *name))
        }
        (content, _) => same_type(content, shape),
    }
}

fn same_type(content: &Content, shape: &Shape) -> bool {
    match &shape.kind {
        Kind::Bool => matches!(content, Content::Bool(_)),
        Kind::Integer(_) => matches!(content, Content::Integer(_)),
        Kind::Number(_) => matches!(content, Content::Integer(_) | Content::Float(_)),
        Kind::Text(format) => match content {
            Content::Text(_) => true,
            Content::Time(_) => format.as_deref() == Some("instant"),
            _ => false,
        },
        Kind::Words(_) => matches!(content, Content::Text(_)),
        Kind::List { .. } => matches!(content, Content::List(_)),
        Kind::Table(_) | Kind::Choice { .. } => matches!(content, Content::Table(_)),
        Kind::Either(shapes) => shapes.iter().any(|shape| same_type(content, shape)),
    }
}

/// What a message asks for.
fn expected(shape: &Shape) -> String {
    match &shape.kind {
        Kind::Bool => "true or false, without quotes".to_owned(),
        Kind::Integer(_) => "a whole number, without quotes".to_owned(),
        Kind::Number(_) => "a number, without quotes".to_owned(),
        Kind::Text(format) => match format.as_deref() {
            Some("period") => "a period in quotes, such as \"30d\"".to_owned(),
            Some("instant") => "a time, such as \"2011-09-01\"".to_owned(),
            Some("metric") => "a metric in quotes, such as \"ndcg@10\"".to_owned(),
            Some("expression") => "a SQL expression in quotes".to_owned(),
            Some("address") => "an address in quotes, such as \"127.0.0.1:8080\"".to_owned(),
            _ => "a text in quotes".to_owned(),
        },
        Kind::Words(words) => {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            format!("one of {}", words.join(", "))
        }
        Kind::List { items, .. } => match items.kind {
            Kind::Text(_) => "a list of texts, such as [\"user_id\"]".to_owned(),
            Kind::Integer(_) | Kind::Number(_) => "a list of numbers, such as [1, 2]".to_owned(),
            _ => "a list of tables, such as [{ kind = \"lightgbm\" }]".to_owned(),
        },
        Kind::Table(table) => {
            let required: Vec<String> =
                table.keys.iter().filter(|key| key.required).map(|key| format!("`{}`", key.name)).collect();
            match required.is_empty() {
                true => "a table".to_owned(),
                false => format!("a table with {}", required.join(" and ")),
            }
        }
        Kind::Choice { tag, variants } => format!("a table such as {{ {tag} = {:?} }}", variants[0].0),
        Kind::Either(shapes) => shapes.iter().map(expected).collect::<Vec<_>>().join(", or "),
    }
}

/// The first sentence of a doc comment as advice: without its full stop, and its first word in lower case unless it is
/// an abbreviation.
fn first_sentence(about: &str) -> String {
    let about = about.replace('\n', " ");
    let sentence = about.split_once(". ").map_or(about.trim_end_matches('.'), |(first, _)| first);
    let mut letters = sentence.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain([second]).chain(letters).collect()
        }
        _ => sentence.to_owned(),
    }
}
