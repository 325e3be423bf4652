//! Users of a table answered by a published recommender.
//!
//! A row is answered as known before its time, by the published model: the user's history, the features of both sides
//! and the popular list are of then, while the candidate stage and the scorer are those of the artifact. It is what the
//! server answers at that time from tables of then.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, bail};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{CastOptions, cast_with_options, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use paceline_core::{KeyPart, Timestamp};
use paceline_features::expression::Type;
use paceline_serve::ladder::{AnsweredItem, Filling};
use paceline_serve::recommend::artifact::PublishedRecommender;
use paceline_serve::recommend::tables::UserNumbers;
use paceline_serve::recommend::{ItemTable, Request, Workspace};
use paceline_store::TableWriter;

use crate::parallel;
use crate::pipeline::{Pipeline, Recommend};
use crate::run::recommend::{ItemFactors, World};
use crate::serving::{Known, check_views, end_of_data, goal_of};
use crate::training_set::values::key_column;
use crate::training_set::{SpineBatch, SpineFile, SpineSpec};

/// Place in the list, from 1.
const RANK: &str = "rank";
/// What the item is ranked by.
const SCORE: &str = "score";
/// Rows that are written at once, about.
const OUTPUT_ROWS: usize = 64 << 10;

/// Answers users of a pipeline's sources.
pub struct Lists<'a> {
    goal: &'a Recommend,
    world: &'a World,
    model: &'a PublishedRecommender,
    factors: ItemFactors,
    users: UserNumbers,
    k: usize,
    threads: usize,
    /// Items as they were last needed.
    items: Option<(Vec<Timestamp>, ItemTable)>,
}

impl<'a> Lists<'a> {
    /// Lists of `k` items by `model` from the data in `world`.
    ///
    /// # Errors
    /// When the pipeline is no recommender, or its views are not those of the model.
    pub fn new(
        pipeline: &'a Pipeline,
        world: &'a World,
        model: &'a PublishedRecommender,
        k: usize,
        threads: usize,
    ) -> anyhow::Result<Self> {
        check_views(model, world)?;
        let goal = goal_of(pipeline)?;
        Ok(Lists {
            goal,
            world,
            model,
            factors: ItemFactors::of(&model.recommender.retriever, goal),
            users: UserNumbers::new(&world.users),
            k,
            threads,
            items: None,
        })
    }

    /// The list of each user at `at`, best first; `None` is an unknown user.
    ///
    /// # Errors
    /// When a feature cannot be computed.
    pub fn answer(&mut self, users: &[Option<KeyPart>], at: Timestamp) -> anyhow::Result<Vec<Listed>> {
        self.look_at_items(at)?;
        let (world, model, k) = (self.world, self.model, self.k);
        let (_, items) = self.items.as_ref().expect("they were just looked at");
        let known = Known { goal: self.goal, world, model, factors: &self.factors, at };
        // Known users with their place among them.
        let mut keys: Vec<KeyPart> = Vec::new();
        let mut place = |user: &Option<KeyPart>| {
            let number = self.users.of(user.as_ref()?).filter(|number| known.has_user(*number))?;
            keys.push(world.users[number as usize].clone());
            Some((number, keys.len() - 1))
        };
        let asked: Vec<Option<(u32, usize)>> = users.iter().map(&mut place).collect();
        let values = if keys.is_empty() { Vec::new() } else { world.user_side.values_at(&keys, at, self.threads)? };
        let width = world.user_side.types().len();
        let popular: OnceLock<Vec<(u32, f64)>> = OnceLock::new();
        let popular = || {
            let named =
                || known.popular().into_iter().filter_map(|(key, n)| Some((model.catalogue.index_of(&key)?, n)));
            popular.get_or_init(|| named().collect()).as_slice()
        };
        let list = |workspace: &mut Workspace, row: usize| {
            let Some((user, place)) = asked[row] else {
                let filling = Filling { model, popular: popular(), state: None, excluded: &[] };
                return Ok(Listed { items: filling.popular(k), is_known: false });
            };
            let state = known.state(user)?;
            let user = &values[place * width..(place + 1) * width];
            let request = Request { user, state: &state, items, now: at, k, excluded: &[] };
            let mut items: Vec<AnsweredItem> =
                model.recommender.answer(request, workspace).iter().map(AnsweredItem::ranked).collect();
            if items.len() < k {
                items = Filling { model, popular: popular(), state: Some(&state), excluded: &[] }.fill(items, k);
            }
            Ok(Listed { items, is_known: true })
        };
        parallel::map(asked.len(), self.threads, list).into_iter().collect()
    }

    /// Computes the features of all items, unless they are as of the same times as before.
    fn look_at_items(&mut self, at: Timestamp) -> anyhow::Result<()> {
        let as_of = self.world.item_side.as_of(at);
        if self.items.as_ref().is_none_or(|(known, _)| *known != as_of) {
            let values = self.world.item_side.values_at(self.model.catalogue.items(), at, self.threads)?;
            self.items = Some((as_of, self.model.recommender.layout.item_table(values)));
        }
        Ok(())
    }

    /// The list of each row, rows of one time together.
    fn answers(&mut self, users: &[Option<KeyPart>], times: &[Timestamp]) -> anyhow::Result<Vec<Listed>> {
        let mut order: Vec<usize> = (0..users.len()).collect();
        order.sort_by_key(|row| times[*row]);
        let mut lists = vec![Listed::default(); users.len()];
        for rows in order.chunk_by(|a, b| times[*a] == times[*b]) {
            let asked: Vec<Option<KeyPart>> = rows.iter().map(|row| users[*row].clone()).collect();
            for (row, list) in rows.iter().zip(self.answer(&asked, times[rows[0]])?) {
                lists[*row] = list;
            }
        }
        Ok(lists)
    }
}

/// One user's list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listed {
    /// Best first; without a score what filled it up.
    pub items: Vec<AnsweredItem>,
    /// Whether anything was known of the user, so that it is not just the popular list.
    pub is_known: bool,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recommended {
    /// Rows of the spine.
    pub spine_rows: u64,
    /// Those without a user, or with one of whom nothing was known: they got the popular list.
    pub unknown_users: u64,
    /// Rows written.
    pub rows: u64,
    /// The oldest time that was asked for; `None` without rows.
    pub oldest: Option<Timestamp>,
    /// The time of all rows where the spine has no column for it.
    pub without_time: Option<Timestamp>,
}

/// Writes the list of every row of a spine to `out`: the spine's columns, [`RANK`] from 1, the item, and [`SCORE`], which
/// is null for a popular item that filled a short list. A spine without `time` is answered as of the end of the data.
/// `on_rows` hears of spine rows.
///
/// # Errors
/// When the spine cannot be read, lacks the users or has a column of that name already, or the table cannot be written;
/// then nothing is.
pub fn recommend_file(
    lists: &mut Lists<'_>,
    spine: &SpineSpec,
    out: &Path,
    mut on_rows: impl FnMut(u64),
) -> anyhow::Result<Recommended> {
    let goal = lists.goal;
    let kind = if lists.model.users_are_numbers { Type::Int } else { Type::Text };
    let end = end_of_data(lists.world);
    let file = SpineFile::open_users(spine, (&goal.user, &goal.label.source, kind), end)?;
    let location = file.path().to_owned();
    let schema = output_schema(&file.schema(), &goal.item, &lists.world.item_type)
        .with_context(|| format!("--spine {location}"))?;
    let mut done = Recommended { without_time: file.has_no_time().then_some(end), ..Recommended::default() };
    let mut writer = TableWriter::create(out, &schema)?;
    let at_once = (OUTPUT_ROWS / lists.k.max(1)).max(1);
    for batch in file {
        let mut rest = Some(batch?);
        while let Some(batch) = rest {
            let count = batch.rows.num_rows().min(at_once);
            let (part, more) = batch.split(count);
            rest = more;
            let rows = written(lists, &part, &schema, &mut done).with_context(|| format!("--spine {location}"))?;
            writer.write(&rows)?;
            on_rows(count as u64);
        }
    }
    done.rows = writer.finish()?;
    Ok(done)
}

fn output_schema(spine: &Schema, item: &str, item_type: &DataType) -> anyhow::Result<SchemaRef> {
    let added = [
        Field::new(RANK, DataType::Int64, false),
        Field::new(item, item_type.clone(), false),
        Field::new(SCORE, DataType::Float64, true),
    ];
    if [RANK, SCORE].contains(&item) {
        bail!("the column of items is called {item:?}, as one of the columns that lists have; rename it");
    }
    if let Some(taken) = added.iter().find(|field| spine.field_with_name(field.name()).is_ok()) {
        bail!("there is a column {:?} already, which lists have too; rename or drop it", taken.name());
    }
    let fields = spine.fields().iter().cloned().chain(added.into_iter().map(Arc::new));
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// The rows of a piece of the spine with their lists.
fn written(
    lists: &mut Lists<'_>,
    part: &SpineBatch,
    schema: &SchemaRef,
    done: &mut Recommended,
) -> anyhow::Result<RecordBatch> {
    let name = lists.goal.user.as_str();
    let column = part.rows.column_by_name(name).with_context(|| format!("there is no column {name:?}"))?;
    let found = lists.answers(&key_column(column, name)?, &part.time)?;
    done.spine_rows += found.len() as u64;
    done.unknown_users += found.iter().filter(|list| !list.is_known).count() as u64;
    done.oldest = done.oldest.into_iter().chain(part.time.iter().copied()).min();

    let (mut rows, mut ranks, mut items, mut scores) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (row, list) in (0u32..).zip(&found) {
        for (rank, answered) in (1i64..).zip(&list.items) {
            rows.push(row);
            ranks.push(rank);
            items.push(lists.model.catalogue.item(answered.item));
            scores.push(answered.score);
        }
    }
    let mut columns = take_record_batch(&part.rows, &UInt32Array::from(rows))?.columns().to_vec();
    columns.push(Arc::new(Int64Array::from(ranks)));
    columns.push(item_column(&items, &lists.world.item_type)?);
    columns.push(Arc::new(Float64Array::from(scores)));
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// The items in the type that the source has.
fn item_column(items: &[&KeyPart], data_type: &DataType) -> anyhow::Result<ArrayRef> {
    let number = |item: &&KeyPart| match item {
        KeyPart::Int(number) => Some(*number),
        KeyPart::Text(_) => None,
    };
    let column: ArrayRef = match items.iter().map(number).collect::<Option<Vec<i64>>>() {
        Some(numbers) => Arc::new(Int64Array::from(numbers)),
        None => Arc::new(StringArray::from_iter_values(items.iter().map(ToString::to_string))),
    };
    let strictly = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&column, data_type, &strictly)
        .with_context(|| format!("the model's items are not {data_type}, as the source has them now; run it again"))
}
