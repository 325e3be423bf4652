//! What a recommender is built from: users, items, purchases and the features of both sides.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail};

use paceline_core::{KeyPart, Timestamp};
use paceline_features::SourceTable;
use paceline_learn::recommend::{Purchase, Purchases};
use paceline_models::recommend::Catalogue;

use super::side::{Side, keys_of};
use crate::pipeline::{Pipeline, Recommend};
use crate::tables;

/// All data of one pipeline, in memory.
pub struct World {
    /// All items of the label source.
    pub catalogue: Catalogue,
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
        for source in pipeline.sources.iter().filter(|source| used(&source.name)) {
            sources.insert(&source.name, tables::load(source, &pipeline.folder)?);
        }
        let sales = &sources[goal.label.source.as_str()];
        let (catalogue, users, rows) = purchases(sales, goal)?;
        let times = rows
            .iter()
            .fold((Timestamp::MAX, Timestamp::MIN), |(low, high), row| (low.min(row.time), high.max(row.time)));
        let purchases = Purchases::new(rows, users.len(), catalogue.len());
        let side = |column: &str, example: &KeyPart| Side::new(column, &pipeline.views, |name| &sources[name], example);
        let example_user = users.first().context("the label source has no row with a user and an item")?;
        Ok(World {
            user_side: side(&goal.user, example_user)?,
            item_side: side(&goal.item, catalogue.item(0))?,
            catalogue,
            users,
            purchases,
            times,
        })
    }
}

fn purchases(sales: &SourceTable, goal: &Recommend) -> Result<(Catalogue, Vec<KeyPart>, Vec<Purchase>)> {
    let column = |name: &str| {
        let found = sales.rows.column_by_name(name);
        found.with_context(|| format!("[sources.{}] has no column {name:?}", sales.name))
    };
    let user_keys = keys_of(column(&goal.user)?, &goal.user)?;
    let item_keys = keys_of(column(&goal.item)?, &goal.item)?;
    let event = sales.event_time.as_ref().with_context(|| {
        format!("[sources.{}] needs event_time: a recommender learns from what happened when", sales.name)
    })?;
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
