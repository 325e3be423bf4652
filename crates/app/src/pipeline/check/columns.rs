//! Columns and expressions against the schemas of the sources' files.

use arrow::datatypes::{DataType, Schema};
use indexmap::IndexMap;
use paceline_features::expression::{Mistake as ExpressionMistake, Program, Type};
use paceline_features::{Aggregate, Feature, FeatureView};

use super::model::ModelParts;
use super::{Checker, Schemas};
use crate::pipeline::checked::{Goal, NamedExpression, Recommend, RowModel, Source, Split};
use crate::pipeline::mistake::{Mistake, nearest, split_help, suggest};
use crate::tables::readable_columns;

/// Columns that expressions and features can read.
#[derive(Default)]
struct Table {
    /// By name.
    columns: Vec<(String, Type)>,
    /// Those of them that have no value in any row, and therefore no type of their own.
    valueless: Vec<String>,
    /// Names that would be columns if a mistake had not been reported about each: nothing more is said about them.
    unusable: Vec<String>,
    /// Whether there may be columns that are in neither list.
    is_partial: bool,
}

impl Table {
    fn kind(&self, column: &str) -> Option<Type> {
        self.columns.iter().find(|(name, _)| name == column).map(|(_, kind)| *kind)
    }

    /// Whether `column` is missing without a reason that has been reported.
    fn lacks(&self, column: &str) -> bool {
        !self.is_partial && self.kind(column).is_none() && !self.unusable.iter().any(|name| name == column)
    }
}

/// By source, derived columns included.
type Tables = IndexMap<String, Table>;

impl Checker<'_> {
    pub(super) fn columns(
        &mut self,
        sources: &[Source],
        views: &[FeatureView],
        request_features: &[NamedExpression],
        model: Option<&ModelParts>,
        schemas: &Schemas,
    ) {
        let mut tables = Tables::new();
        for source in sources {
            if let Some(schema) = schemas.get(&source.name) {
                tables.insert(source.name.clone(), self.table(source, schema));
            }
        }
        let goal = model.and_then(|model| model.goal.as_ref());
        let rows = match goal {
            Some(Goal::Rank(rows) | Goal::Classify(rows) | Goal::Regress(rows)) => Some(rows),
            Some(Goal::Recommend(_)) | None => None,
        };
        let mut inputs = Table::default();
        for view in views {
            match tables.get(&view.source) {
                Some(table) => self.view_columns(view, table, &mut inputs),
                None => inputs.is_partial = true,
            }
        }
        inputs.is_partial |= views.len() != self.raw.features.views.len();
        let row_table = rows.and_then(|rows| tables.get(&rows.source));
        self.request_columns(&mut inputs, request_features, views, row_table, &tables);
        match goal {
            None => return,
            Some(Goal::Recommend(goal)) => self.recommend_columns(goal, views, &tables),
            Some(Goal::Rank(rows) | Goal::Classify(rows) | Goal::Regress(rows)) => {
                let Some(table) = tables.get(&rows.source) else { return };
                self.label_column(rows, table, matches!(goal, Some(Goal::Classify(_))));
                if let Some(split) = model.and_then(|model| model.split.as_ref()) {
                    self.split_column(split, rows, table);
                }
                self.entity_columns_of_rows(rows, views, table);
                self.input_columns(rows, table, &mut inputs);
            }
        }
        self.encoders(&inputs, matches!(goal, Some(Goal::Recommend(_))));
    }

    /// The columns of a source after its derived ones.
    fn table(&mut self, source: &Source, schema: &Schema) -> Table {
        let name = source.name.as_str();
        let valueless = schema.fields().iter().filter(|field| field.data_type() == &DataType::Null);
        let valueless = valueless.map(|field| field.name().clone()).collect();
        let mut table = Table { columns: readable_columns(schema), valueless, ..Table::default() };
        self.time_columns(source, schema);
        if let Some(event_id) = &source.event_id {
            self.file_column(&["sources", name, "event_id"], event_id, schema);
        }
        for column in &source.columns {
            let path = ["sources", name, "columns", column.name.as_str()];
            if schema.field_with_name(&column.name).is_ok() {
                self.mistake_in_key(
                    &path,
                    format!("the {} of [sources.{name}] already have a column {:?}", self.rows_of(name), column.name),
                    "give the derived column another name",
                );
                continue;
            }
            match self.compile(&path, &column.expression, &table) {
                Some(program) => table.columns.push((column.name.clone(), program.output_type())),
                None => table.unusable.push(column.name.clone()),
            }
        }
        if let Some(filter) = &source.filter {
            let path = ["sources", name, "where"];
            if let Some(program) = self.compile(&path, filter, &table)
                && program.output_type() != Type::Bool
            {
                self.mistake(
                    &path,
                    format!("`where` is {}, not a condition", program.output_type()),
                    "write a comparison, such as price > 0",
                );
            }
        }
        table
    }

    fn time_columns(&mut self, source: &Source, schema: &Schema) {
        for (key, column) in [("event_time", &source.event_time), ("available_time", &source.available_time)] {
            let path = ["sources", source.name.as_str(), key];
            let Some(column) = column else { continue };
            let Some(data_type) = self.file_column(&path, column, schema) else { continue };
            match data_type {
                DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 => {}
                DataType::Null => self.mistake(
                    &path,
                    format!("`{key}` is {column:?}, which is null in all rows"),
                    "name another column, or repair the table",
                ),
                text if text.is_string() => {}
                integer if integer.is_integer() => {
                    if self.tree.nearest(&["sources", &source.name]).get("time_unit").is_none() {
                        self.mistake(
                            &path,
                            format!("`{key}` is {column:?}, a column of whole numbers, whose unit is not said"),
                            "add time_unit = \"s\", \"ms\", \"us\" or \"ns\"",
                        );
                    }
                }
                other => self.mistake(
                    &path,
                    format!("`{key}` is {column:?}, a column of {other}, which holds no times"),
                    "times are timestamps, dates, ISO 8601 texts, or whole numbers with `time_unit`",
                ),
            }
        }
    }

    /// What a source's columns come from.
    fn rows_of(&self, source: &str) -> &'static str {
        match self.raw.sources.get(source).is_some_and(|source| source.adbc.is_some()) {
            true => "rows of the query",
            false => "files",
        }
    }

    /// The type of a column that must be in the files.
    fn file_column<'s>(&mut self, path: &[&str], column: &str, schema: &'s Schema) -> Option<&'s DataType> {
        let found = schema.field_with_name(column).ok().map(|field| field.data_type());
        if found.is_none() {
            let known = schema.fields().iter().map(|field| field.name().as_str());
            let message = format!("the {} of [sources.{}] have no column {column:?}", self.rows_of(path[1]), path[1]);
            self.mistake(path, message, suggest(column, known));
        }
        found
    }

    /// The type of a column of a source, derived ones included.
    fn column(&mut self, path: &[&str], column: &str, source: &str, table: &Table) -> Option<Type> {
        if table.lacks(column) {
            let message = format!("[sources.{source}] has no usable column {column:?}");
            self.mistake(path, message, suggest(column, table.columns.iter().map(|(name, _)| name.as_str())));
        }
        if table.valueless.iter().any(|name| name == column) {
            self.mistake(
                path,
                format!("{column:?} of [sources.{source}] is null in all rows"),
                "name another column, or repair the table",
            );
            return None;
        }
        table.kind(column)
    }

    fn key_column(&mut self, path: &[&str], column: &str, source: &str, table: &Table) {
        if let Some(kind) = self.column(path, column, source, table)
            && !matches!(kind, Type::Int | Type::Text)
        {
            self.mistake(
                path,
                format!("{column:?} of [sources.{source}] is {kind}, which cannot be a key"),
                "keys are whole numbers or texts; derive one, such as columns.id = \"cast(x as bigint)\"",
            );
        }
    }

    /// Adds the output columns of a view to `inputs`.
    fn view_columns(&mut self, view: &FeatureView, table: &Table, inputs: &mut Table) {
        for (index, column) in view.entity.iter().enumerate() {
            self.key_column(&["features", &view.name, "entity", &index.to_string()], column, &view.source, table);
        }
        for feature in &view.features {
            let name = format!("{}.{}", view.name, feature.name);
            match self.feature_type(view, feature, table) {
                Some(kind) => inputs.columns.push((name, kind)),
                None => inputs.unusable.push(name),
            }
        }
        let features = self.tree.nearest(&["features", &view.name]).keys();
        let broken = features.filter(|name| !view.features.iter().any(|feature| feature.name == *name));
        inputs.unusable.extend(broken.map(|name| format!("{}.{name}", view.name)));
    }

    fn feature_type(&mut self, view: &FeatureView, feature: &Feature, table: &Table) -> Option<Type> {
        let path = ["features", view.name.as_str(), feature.name.as_str(), "of"];
        let of = match &feature.of {
            Some(column) => Some(self.column(&path, column, &view.source, table)?),
            None => None,
        };
        match feature.aggregate {
            Aggregate::Count | Aggregate::CountDistinct => Some(Type::Int),
            Aggregate::SecondsSinceLast => Some(Type::Float),
            Aggregate::Min | Aggregate::Max | Aggregate::First | Aggregate::Last => of,
            Aggregate::Sum | Aggregate::Mean | Aggregate::Std => {
                if let Some(kind) = of
                    && !matches!(kind, Type::Int | Type::Float | Type::Bool)
                {
                    let (column, agg) = (feature.of.as_deref().unwrap_or_default(), feature.aggregate.name());
                    self.mistake(
                        &path,
                        format!("{column:?} is {kind}, of which there is no {agg}"),
                        "use count, count_distinct, first, last, min or max, or another column",
                    );
                }
                Some(Type::Float)
            }
        }
    }

    /// Adds the request-time features to `inputs`; each sees the features, the request features above it, the entity
    /// keys, `time`, and the columns of the rows that are learned from.
    fn request_columns(
        &mut self,
        inputs: &mut Table,
        request_features: &[NamedExpression],
        views: &[FeatureView],
        row_table: Option<&Table>,
        tables: &Tables,
    ) {
        let mut beside = vec![("time".to_owned(), Type::Timestamp)];
        beside.extend(row_table.into_iter().flat_map(|table| table.columns.iter().cloned()));
        for view in views {
            let columns = tables.get(&view.source).map_or(&[][..], |table| table.columns.as_slice());
            beside.extend(columns.iter().filter(|(name, _)| view.entity.contains(name)).cloned());
        }
        // Without a model it is not known which other columns the spine and the requests will have.
        let takes_fields = self.raw.model.is_none();
        for feature in request_features {
            let path = ["features", "request", feature.name.as_str()];
            let name = format!("request.{}", feature.name);
            if takes_fields && self.reads_fields(&path, &feature.expression, inputs, &beside) {
                inputs.unusable.push(name);
                continue;
            }
            let known = Table {
                columns: inputs.columns.iter().chain(&beside).cloned().collect(),
                valueless: Vec::new(),
                unusable: inputs.unusable.clone(),
                is_partial: inputs.is_partial,
            };
            match self.compile(&path, &feature.expression, &known) {
                Some(program) => inputs.columns.push((name, program.output_type())),
                None => inputs.unusable.push(name),
            }
        }
    }

    /// Warns about each plain name that is neither a feature nor a key: a field that spine and requests must have. Its
    /// type is unknown here, so the expression is checked when there is a spine.
    fn reads_fields(&mut self, path: &[&str], expression: &str, inputs: &Table, beside: &[(String, Type)]) -> bool {
        let columns: Vec<(String, Type)> = inputs.columns.iter().chain(beside).cloned().collect();
        let Err(errors) = Program::compile(expression, &columns) else { return false };
        let mut fields: Vec<String> = Vec::new();
        for error in errors {
            if let ExpressionMistake::UnknownColumn { name, .. } = error.mistake
                && !name.contains('.')
                && !fields.contains(&name)
            {
                fields.push(name);
            }
        }
        let feature = path.last().copied().unwrap_or_default();
        for field in &fields {
            let near = nearest(field, columns.iter().map(|(name, _)| name.as_str()));
            self.warn(
                path,
                format!("`{feature}` reads {field:?}, which is no feature and no key"),
                near.map_or_else(
                    || "the spine and every request must have it".to_owned(),
                    |near| format!("did you mean `{near}`? otherwise the spine and every request must have it"),
                ),
            );
        }
        !fields.is_empty()
    }

    fn recommend_columns(&mut self, goal: &Recommend, views: &[FeatureView], tables: &Tables) {
        if let Some(table) = tables.get(&goal.label.source) {
            self.key_column(&["model", "user"], &goal.user, &goal.label.source, table);
            self.key_column(&["model", "item"], &goal.item, &goal.label.source, table);
            if let Some(group) = &goal.item_group {
                self.key_column(&["model", "item_group"], group, &goal.label.source, table);
            }
        }
        for view in views {
            for (index, column) in view.entity.iter().enumerate() {
                if *column != goal.user && *column != goal.item {
                    self.mistake(
                        &["features", &view.name, "entity", &index.to_string()],
                        format!("{column:?} is neither the model's user nor its item"),
                        format!("a recommender's views describe {:?}, {:?} or both", goal.user, goal.item),
                    );
                }
            }
        }
    }

    fn label_column(&mut self, rows: &RowModel, table: &Table, is_class: bool) {
        let path = ["model", "label"];
        let Some(kind) = self.column(&path, &rows.label, &rows.source, table) else { return };
        let help = if is_class {
            format!("derive one, such as columns.label = \"{} = '...'\" in [sources.{}]", rows.label, rows.source)
        } else {
            "name a column of numbers".to_owned()
        };
        match (kind, is_class) {
            (Type::Bool | Type::Int | Type::Float, _) => {}
            (Type::Text | Type::Timestamp, true) => {
                self.mistake(&path, format!("{:?} is {kind}; a class is true or false, or 0 or 1", rows.label), help);
            }
            (Type::Text | Type::Timestamp, false) => {
                self.mistake(&path, format!("{:?} is {kind}, not a number", rows.label), help);
            }
        }
        if let Some(group) = &rows.group {
            self.key_column(&["model", "group"], group, &rows.source, table);
        }
    }

    fn split_column(&mut self, split: &Split, rows: &RowModel, table: &Table) {
        match split {
            Split::Time(_) => {}
            Split::Column(split) => {
                let named: &[&str] = match self.tree.nearest(&["split", "column"]).get("name") {
                    Some(_) => &["split", "column", "name"],
                    None => &["split", "column"],
                };
                if let Some(kind) = self.column(named, &split.column, &rows.source, table)
                    && kind != Type::Text
                {
                    self.mistake(named, format!("{:?} is {kind}; a split's column is a text", split.column), None);
                }
            }
            Split::Random(split) => {
                if let Some(group) = &split.group {
                    self.key_column(&["split", "random", "group"], group, &rows.source, table);
                }
            }
        }
    }

    fn entity_columns_of_rows(&mut self, rows: &RowModel, views: &[FeatureView], table: &Table) {
        for view in views.iter().filter(|view| view.source != rows.source) {
            for (index, column) in view.entity.iter().enumerate() {
                let path = ["features", view.name.as_str(), "entity", &index.to_string()];
                self.column(&path, column, &rows.source, table);
            }
        }
    }

    /// Adds the columns of the rows that the model sees to `inputs`.
    fn input_columns(&mut self, rows: &RowModel, table: &Table, inputs: &mut Table) {
        for (index, column) in self.raw.model.iter().flat_map(|model| model.exclude.iter().flatten()).enumerate() {
            self.column(&["model", "exclude", &index.to_string()], column, &rows.source, table);
        }
        let Some(columns) = &rows.columns else {
            for (column, kind) in table.columns.iter().filter(|(name, _)| !rows.not_inputs.contains(name)) {
                self.input_is_usable(&["model", "source"], column, *kind);
                inputs.columns.push((column.clone(), *kind));
            }
            inputs.unusable.extend(table.unusable.iter().cloned());
            return;
        };
        for (index, column) in columns.iter().enumerate() {
            let path = ["model", "columns", &index.to_string()];
            let kind = self.column(&path, column, &rows.source, table);
            if rows.not_inputs.contains(column) {
                continue;
            }
            match kind {
                Some(kind) => {
                    self.input_is_usable(&path, column, kind);
                    inputs.columns.push((column.clone(), kind));
                }
                None => inputs.unusable.push(column.clone()),
            }
        }
    }

    fn input_is_usable(&mut self, path: &[&str], column: &str, kind: Type) {
        match kind {
            Type::Timestamp => self.mistake(
                path,
                format!("column {column:?} is a timestamp, which is no input of a model"),
                format!("add {column:?} to `exclude`, or derive numbers, such as columns.hour = \"extract(hour from {column})\""),
            ),
            Type::Bool | Type::Int | Type::Float | Type::Text => {}
        }
    }

    /// Every encoder has an input, and every text input an encoder: a recommender's must be declared, a model of rows has
    /// a default that the user should know of.
    fn encoders(&mut self, inputs: &Table, must_be_declared: bool) {
        let said = self.tree.nearest(&["encode"]);
        for column in self.raw.encode.keys().filter(|column| inputs.lacks(column)) {
            let help = suggest(column, inputs.columns.iter().map(|(name, _)| name.as_str()));
            self.mistake_in_key(&["encode", column], format!("{column:?} is not an input of the model"), help);
        }
        for (name, kind) in &inputs.columns {
            if *kind != Type::Text || said.keys().any(|column| column == name) {
                continue;
            }
            let place = self.place_of_input(name);
            let advice = format!("add to [encode]: {name:?} = {{ kind = \"target\" }}, or leave the column out");
            if must_be_declared {
                let message = format!("{name:?} is a text, and no encoder says how it becomes numbers");
                self.mistake_in_key(&place, message, advice);
            } else {
                let message = format!(
                    "{name:?} is a text without an encoder: it will be numbered in order, or, with more than 64 values, \
                     become its mean label"
                );
                self.warn(&place, message, advice);
            }
        }
    }

    /// Where an input was declared, for messages about it.
    fn place_of_input<'n>(&self, name: &'n str) -> Vec<&'n str> {
        let feature = name.split_once('.').map(|(view, feature)| vec!["features", view, feature]);
        feature.unwrap_or_else(|| match self.raw.model.as_ref().is_some_and(|model| model.columns.is_some()) {
            true => vec!["model", "columns"],
            false => vec!["model", "source"],
        })
    }

    /// Compiles the expression at `path`; each of its mistakes is placed within the text where that is possible.
    fn compile(&mut self, path: &[&str], expression: &str, table: &Table) -> Option<Program> {
        let errors = match Program::compile(expression, &table.columns) {
            Ok(program) => return Some(program),
            Err(errors) => errors,
        };
        let span = self.tree.nearest(path).span.clone();
        // Without escapes the expression stands in the file as it is, between quotes.
        let start = self.text.get(span.clone()).and_then(|said| said.find(expression)).map(|start| span.start + start);
        for error in errors {
            if let ExpressionMistake::UnknownColumn { name, .. } = &error.mistake
                && !table.lacks(name)
            {
                continue;
            }
            let (what, help) = split_help(&error.to_string());
            // After a good guess a list of all columns says nothing more.
            let help = help.map(|help| help.split_once("?; ").map_or(help.clone(), |(guess, _)| format!("{guess}?")));
            self.mistakes.push(Mistake {
                span: start.map_or(span.clone(), |start| start + error.span.start..start + error.span.end),
                key: path.join("."),
                message: format!("`{}`: {what}", path.last().copied().unwrap_or_default()),
                help,
            });
        }
        None
    }
}
