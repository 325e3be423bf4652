//! What a recommender is built from: users, items, purchases and the features of both sides.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail};
use arrow::array::{Array as _, ArrayRef};
use arrow::datatypes::DataType;

use paceline_core::{Digest, KeyPart, Timestamp};
use paceline_features::SourceTable;
use paceline_learn::recommend::{Purchase, Purchases};
use paceline_models::recommend::Catalogue;

use super::side::Side;
use crate::pipeline::{Pipeline, Recommend};
use crate::report::{Data, SourceData};
use crate::run::findings::source_data;
use crate::tables;
use crate::training_set::values::key_column;

/// All data of one pipeline, in memory.
pub struct World {
    /// All items of the label source.
    pub catalogue: Catalogue,
    /// Type of the label source's item column.
    pub item_type: DataType,
    /// The group of each item, numbered from 0 in order of appearance; empty without `item_group`.
    pub groups: Vec<u32>,
    /// All users of the label source; the position is the user's number.
    pub users: Vec<KeyPart>,
    /// Who bought what when.
    pub purchases: Purchases,
    /// Features of users.
    pub user_side: Side,
    /// Features of items.
    pub item_side: Side,
    /// The oldest and the newest event time.
    pub times: (Timestamp, Timestamp),
    /// What was read, in the order of the pipeline file.
    sources: Vec<(SourceData, Digest)>,
}

impl World {
    /// Loads the sources and numbers users and items in the order of their first appearance.
    pub fn load(pipeline: &Pipeline, goal: &Recommend) -> Result<World> {
        for view in &pipeline.views {
            if view.entity != [goal.user.as_str()] && view.entity != [goal.item.as_str()] {
                bail!(
                    "[features.{}] entity = {:?}: a recommender's views describe [{:?}] or [{:?}]",
                    view.name,
                    view.entity,
                    goal.user,
                    goal.item
                );
            }
        }
        let mut sources: BTreeMap<&str, SourceTable> = BTreeMap::new();
        let used = |name: &str| name == goal.label.source || pipeline.views.iter().any(|view| view.source == name);
        let mut described = Vec::new();
        for source in pipeline.sources.iter().filter(|source| used(&source.name)) {
            let (table, reading) = tables::load_described(source, &pipeline.folder)?;
            described.push((source_data(source.place(), &table, reading), reading.digest));
            sources.insert(&source.name, table);
        }
        let sales = &sources[goal.label.source.as_str()];
        let (catalogue, users, rows) = purchases(sales, goal)?;
        let groups = groups(sales, goal, &catalogue)?;
        let times = rows
            .iter()
            .fold((Timestamp::MAX, Timestamp::MIN), |(low, high), row| (low.min(row.time), high.max(row.time)));
        let purchases = Purchases::new(rows, users.len(), catalogue.len());
        let side = |column: &str, example: &KeyPart| Side::new(column, &pipeline.views, |name| &sources[name], example);
        let example_user = users.first().context("the label source has no row with a user and an item")?;
        Ok(World {
            user_side: side(&goal.user, example_user)?,
            item_side: side(&goal.item, catalogue.item(0))?,
            item_type: column_of(sales, &goal.item)?.data_type().clone(),
            catalogue,
            groups,
            users,
            purchases,
            times,
            sources: described,
        })
    }

    /// What was read, for the report.
    #[must_use]
    pub fn data(&self, goal: &Recommend) -> Data {
        Data {
            sources: self.sources.iter().map(|(source, _)| source.clone()).collect(),
            entities: BTreeMap::from([
                (goal.user.clone(), self.users.len() as u64),
                (goal.item.clone(), self.catalogue.len() as u64),
            ]),
        }
    }

    /// The name of each source and the digest of its content.
    pub fn source_digests(&self) -> impl Iterator<Item = (&str, Digest)> {
        self.sources.iter().map(|(source, digest)| (source.name.as_str(), *digest))
    }

    /// The digest of each source's content.
    #[must_use]
    pub fn digests(&self) -> Vec<Digest> {
        self.sources.iter().map(|(_, digest)| *digest).collect()
    }
}

/// The group of each item is that of its earliest row, which no later row can change.
fn groups(sales: &SourceTable, goal: &Recommend, catalogue: &Catalogue) -> Result<Vec<u32>> {
    let Some(name) = &goal.item_group else { return Ok(Vec::new()) };
    let items = keys_in(sales, &goal.item)?;
    let groups = keys_in(sales, name)?;
    let times = event_times(sales)?;
    let mut earliest: Vec<Option<(Timestamp, Option<&KeyPart>)>> = vec![None; catalogue.len()];
    for (row, (item, group)) in items.iter().zip(&groups).enumerate() {
        let Some(item) = item.as_ref().and_then(|item| catalogue.index_of(item)) else { continue };
        let known = &mut earliest[item as usize];
        if known.is_none_or(|(time, _)| times[row] < time) {
            *known = Some((times[row], group.as_ref()));
        }
    }
    // Items without a group share one: that they lack it is what they have in common.
    let mut numbers: HashMap<Option<&KeyPart>, u32> = HashMap::new();
    Ok(earliest
        .iter()
        .map(|row| {
            let next = numbers.len() as u32;
            *numbers.entry(row.and_then(|(_, group)| group)).or_insert(next)
        })
        .collect())
}

fn column_of<'a>(sales: &'a SourceTable, name: &str) -> Result<&'a ArrayRef> {
    let column = sales.rows.column_by_name(name);
    column.with_context(|| format!("[sources.{}] has no column {name:?}", sales.name))
}

fn keys_in(sales: &SourceTable, name: &str) -> Result<Vec<Option<KeyPart>>> {
    key_column(column_of(sales, name)?, name)
}

fn event_times(sales: &SourceTable) -> Result<&[Timestamp]> {
    sales.event_time.as_deref().with_context(|| {
        format!("[sources.{}] needs event_time: a recommender learns from what happened when", sales.name)
    })
}

fn purchases(sales: &SourceTable, goal: &Recommend) -> Result<(Catalogue, Vec<KeyPart>, Vec<Purchase>)> {
    let user_keys = keys_in(sales, &goal.user)?;
    let item_keys = keys_in(sales, &goal.item)?;
    let event = event_times(sales)?;
    let (mut catalogue, mut users) = (Catalogue::default(), Vec::new());
    let mut numbers: HashMap<KeyPart, u32> = HashMap::new();
    let mut rows = Vec::with_capacity(event.len());
    for (row, (user, item)) in user_keys.into_iter().zip(item_keys).enumerate() {
        let (Some(user), Some(item)) = (user, item) else { continue };
        let number = *numbers.entry(user).or_insert_with_key(|user| {
            users.push(user.clone());
            users.len() as u32 - 1
        });
        let time = event[row];
        let known = sales.available_time.as_ref().map_or(time, |known| known[row].max(time));
        rows.push(Purchase { user: number, item: catalogue.insert(item), time, known });
    }
    Ok((catalogue, users, rows))
}
