//! Every example is right, and every slip in one is found.

use std::path::{Path, PathBuf};

use super::super::shape::{Kind, Shape};
use super::super::{PipelineFile, Weight};
use super::in_repository;

fn examples() -> Vec<(PathBuf, String)> {
    let folder = in_repository("examples");
    let cases = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path().join("pipeline.toml"));
    let examples: Vec<_> = cases.filter(|path| path.exists()).collect();
    assert!(!examples.is_empty());
    examples.into_iter().map(|path| (path.clone(), std::fs::read_to_string(&path).unwrap())).collect()
}

#[test]
fn every_example_is_right() {
    for (path, text) in examples() {
        let file = PipelineFile::parse(&path, text);
        if let Err(mistakes) = file.check(None) {
            panic!("{mistakes}");
        }
    }
}

#[test]
fn the_retail_example_fits_its_data() {
    let data = in_repository("../shared/data/online-retail-ii/transactions.parquet");
    if !data.exists() {
        println!("skipped: {} is missing", data.display());
        return;
    }
    let text = std::fs::read_to_string(in_repository("examples/retail/pipeline.toml")).unwrap();
    let mut file = PipelineFile::parse(&data.with_file_name("pipeline.toml"), text);
    let schemas = file.read_schemas();
    let checked = file.check(Some(&schemas));
    assert!(checked.is_ok(), "{}", checked.unwrap_err());
}

/// All names of known keys, wherever they stand.
fn known_keys(shape: &Shape, found: &mut Vec<String>) {
    match &shape.kind {
        Kind::Table(table) => {
            for key in &table.keys {
                found.push(key.name.clone());
                known_keys(&key.shape, found);
            }
            if let Some(rest) = &table.rest {
                known_keys(rest, found);
            }
        }
        Kind::Choice { tag, variants } => {
            found.push(tag.clone());
            variants.iter().for_each(|(_, variant)| known_keys(variant, found));
        }
        Kind::List { items, .. } => known_keys(items, found),
        Kind::Either(shapes) => shapes.iter().for_each(|shape| known_keys(shape, found)),
        Kind::Bool | Kind::Integer(_) | Kind::Number(_) | Kind::Text(_) | Kind::Words(_) => {}
    }
}

/// Where `key` is written as a key of `line`: at its beginning or after a brace or comma.
fn key_positions(line: &str, key: &str) -> Vec<usize> {
    let code = line.split('#').next().unwrap_or_default();
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '"'));
    code.match_indices(key)
        .map(|(at, _)| at)
        .filter(|&at| !is_word(code[..at].chars().next_back()) && code[at + key.len()..].trim_start().starts_with('='))
        .collect()
}

#[test]
fn a_slip_in_any_key_is_found_where_it_stands() {
    let mut keys = Vec::new();
    known_keys(&Shape::of_pipeline(), &mut keys);
    keys.sort();
    keys.dedup();
    let mut slips = 0;
    for (path, text) in examples() {
        for (number, line) in text.lines().enumerate() {
            for key in &keys {
                for at in key_positions(line, key) {
                    for slip in slips_of(key).into_iter().filter(|slip| !keys.contains(slip)) {
                        let wrong = format!("{}{slip}{}", &line[..at], &line[at + key.len()..]);
                        let mut lines: Vec<&str> = text.lines().collect();
                        lines[number] = &wrong;
                        let file = PipelineFile::parse(&path, lines.join("\n"));
                        let said = file.check(None).expect_err(&wrong).placed();
                        let place = (number + 1, line[..at].chars().count() + 1);
                        let found = said.iter().any(|mistake| {
                            (mistake.line, mistake.column) == place
                                && mistake.message.contains(&slip)
                                && mistake.help.as_deref() == Some(&format!("did you mean `{key}`?"))
                        });
                        let messages = file.check(None).unwrap_err().render_plain(Weight::Error);
                        assert!(found, "{wrong:?} at {place:?} for {key:?}:\n{messages}");
                        assert_eq!(said.len(), 1, "one slip gives one mistake, not:\n{messages}");
                        slips += 1;
                    }
                }
            }
        }
    }
    assert!(slips > 100, "only {slips} slips were tried");
}

/// A letter left out, two swapped, one doubled; for short names only those that are still near.
fn slips_of(key: &str) -> Vec<String> {
    let letters: Vec<char> = key.chars().collect();
    let middle = letters.len() / 2;
    let mut left_out = letters.clone();
    left_out.remove(middle);
    let mut swapped = letters.clone();
    swapped.swap(middle - 1, middle);
    let mut doubled = letters.clone();
    doubled.insert(middle, letters[middle]);
    let slips = [left_out, swapped, doubled].map(|slip| slip.into_iter().collect::<String>());
    slips.into_iter().filter(|slip| slip != key).collect()
}

#[test]
fn no_part_of_an_example_and_no_damage_to_it_panics() {
    use rand::RngExt as _;
    let mut random = paceline_core::random::stream(7, "damaged pipeline files");
    for (_, text) in examples() {
        for end in (0..text.len()).step_by(7).filter(|end| text.is_char_boundary(*end)) {
            answer(&text[..end]);
        }
        for _ in 0..400 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..random.random_range(1..6) {
                let at = random.random_range(0..bytes.len());
                match random.random_range(0..3) {
                    0 => bytes[at] = random.random_range(32..127),
                    1 => {
                        bytes.remove(at);
                    }
                    _ => bytes.insert(at, b"=[]{}\"'.,\n#0"[random.random_range(0..12)]),
                }
            }
            answer(&String::from_utf8_lossy(&bytes));
        }
    }
    for _ in 0..400 {
        let length = random.random_range(0..200);
        let bytes: Vec<u8> = (0..length).map(|_| random.random_range(0..=255)).collect();
        answer(&String::from_utf8_lossy(&bytes));
    }
}

/// Checks a text and renders whatever is said about it.
fn answer(text: &str) {
    let file = PipelineFile::parse(Path::new("p.toml"), text.to_owned());
    if let Err(mistakes) = file.check(Some(&super::schemas_of(&file))) {
        assert!(!mistakes.mistakes.is_empty());
        assert!(!mistakes.render_plain(Weight::Error).is_empty());
        assert!(!mistakes.render_graphical(Weight::Error, false).is_empty());
    }
}
