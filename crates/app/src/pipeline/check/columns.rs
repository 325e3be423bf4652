//! Columns and expressions against the schemas of the sources' files.

use arrow::datatypes::{DataType, Schema};
use indexmap::IndexMap;
use paceline_features::expression::{Program, Type};
use paceline_features::{Aggregate, Feature, FeatureView};

use super::{Checker, Schemas};
use crate::pipeline::checked::{Goal, Model, NamedExpression, Recommend, RowModel, Source, Split};
use crate::pipeline::mistake::{Mistake, split_help, suggest};
use crate::tables::readable_columns;

/// Columns that expressions and features can read, derived ones included, by source.
type Tables = IndexMap<String, Vec<(String, Type)>>;

impl Checker<'_> {
    pub(super) fn columns(
        &mut self,
        sources: &[Source],
        views: &[FeatureView],
        request_features: &[NamedExpression],
        model: Option<&Model>,
        schemas: &Schemas,
    ) {
        let mut tables = Tables::new();
        for source in sources {
            if let Some(schema) = schemas.get(&source.name) {
                tables.insert(source.name.clone(), self.table(source, schema));
            }
        }
        let mut inputs: Vec<(String, Type)> = Vec::new();
        let mut is_complete = true;
        for view in views {
            match tables.get(&view.source) {
                Some(table) => inputs.extend(self.view_columns(view, table)),
                None => is_complete = false,
            }
        }
        let row_table = match model.map(|model| &model.goal) {
            Some(Goal::Rank(rows) | Goal::Classify(rows) | Goal::Regress(rows)) => {
                is_complete &= tables.contains_key(&rows.source);
                tables.get(&rows.source)
            }
            Some(Goal::Recommend(_)) | None => None,
        };
        // With a source unread or a view unusable, "unknown column" would often be wrong.
        if is_complete && views.len() == self.raw.features.views.len() {
            inputs.extend(self.request_columns(&inputs, request_features, views, row_table, &tables));
        }
        let Some(model) = model else { return };
        match &model.goal {
            Goal::Recommend(goal) => self.recommend_columns(goal, views, &tables),
            Goal::Rank(rows) | Goal::Classify(rows) | Goal::Regress(rows) => {
                let Some(table) = tables.get(&rows.source) else { return };
                let is_class = matches!(model.goal, Goal::Classify(_));
                self.label_column(rows, table, is_class);
                self.split_column(&model.split, rows, table);
                self.entity_columns_of_rows(rows, views, table);
                inputs.extend(self.input_columns(rows, table));
            }
        }
        if is_complete {
            self.encoders(&inputs);
        }
    }

    /// The columns of a source after its derived ones.
    fn table(&mut self, source: &Source, schema: &Schema) -> Vec<(String, Type)> {
        let name = source.name.as_str();
        let mut table = readable_columns(schema);
        self.time_columns(source, schema);
        if let Some(event_id) = &source.event_id {
            self.file_column(&["sources", name, "event_id"], event_id, schema);
        }
        for column in &source.columns {
            let path = ["sources", name, "columns", column.name.as_str()];
            if schema.field_with_name(&column.name).is_ok() {
                self.mistake_in_key(
                    &path,
                    format!("the files of [sources.{name}] already have a column {:?}", column.name),
                    "give the derived column another name",
                );
                continue;
            }
            if let Some(program) = self.compile(&path, &column.expression, &table) {
                table.push((column.name.clone(), program.output_type()));
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
                text if text.is_string() => {}
                integer if integer.is_integer() => {
                    if source.time_unit.is_none() {
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

    /// The type of a column that must be in the files.
    fn file_column<'s>(&mut self, path: &[&str], column: &str, schema: &'s Schema) -> Option<&'s DataType> {
        let found = schema.field_with_name(column).ok().map(|field| field.data_type());
        if found.is_none() {
            let known = schema.fields().iter().map(|field| field.name().as_str());
            let message = format!("the files of [sources.{}] have no column {column:?}", path[1]);
            self.mistake(path, message, suggest(column, known));
        }
        found
    }

    /// The type of a column of a source, derived ones included.
    fn column(&mut self, path: &[&str], column: &str, source: &str, table: &[(String, Type)]) -> Option<Type> {
        let found = table.iter().find(|(name, _)| name == column).map(|(_, kind)| *kind);
        if found.is_none() {
            let message = format!("[sources.{source}] has no usable column {column:?}");
            self.mistake(path, message, suggest(column, table.iter().map(|(name, _)| name.as_str())));
        }
        found
    }

    fn key_column(&mut self, path: &[&str], column: &str, source: &str, table: &[(String, Type)]) {
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

    /// The output columns of a view, as far as they are right.
    fn view_columns(&mut self, view: &FeatureView, table: &[(String, Type)]) -> Vec<(String, Type)> {
        for (index, column) in view.entity.iter().enumerate() {
            self.key_column(&["features", &view.name, "entity", &index.to_string()], column, &view.source, table);
        }
        let column = |feature: &Feature| {
            let kind = self.feature_type(view, feature, table)?;
            Some((format!("{}.{}", view.name, feature.name), kind))
        };
        view.features.iter().filter_map(column).collect()
    }

    fn feature_type(&mut self, view: &FeatureView, feature: &Feature, table: &[(String, Type)]) -> Option<Type> {
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

    /// The request-time features; each sees the features, the request features above it, the entity keys and `time`.
    fn request_columns(
        &mut self,
        features: &[(String, Type)],
        request_features: &[NamedExpression],
        views: &[FeatureView],
        row_table: Option<&Vec<(String, Type)>>,
        tables: &Tables,
    ) -> Vec<(String, Type)> {
        let mut known = features.to_vec();
        known.push(("time".to_owned(), Type::Timestamp));
        known.extend(row_table.into_iter().flatten().cloned());
        for view in views {
            let table = tables.get(&view.source).map_or(&[][..], Vec::as_slice);
            known.extend(table.iter().filter(|(name, _)| view.entity.contains(name)).cloned());
        }
        let before = known.len();
        let mut own = Vec::new();
        for feature in request_features {
            let path = ["features", "request", feature.name.as_str()];
            if let Some(program) = self.compile(&path, &feature.expression, &known) {
                own.push((format!("request.{}", feature.name), program.output_type()));
                known.truncate(before);
                known.extend(own.iter().cloned());
            }
        }
        own
    }

    fn recommend_columns(&mut self, goal: &Recommend, views: &[FeatureView], tables: &Tables) {
        if let Some(table) = tables.get(&goal.label.source) {
            self.key_column(&["model", "user"], &goal.user, &goal.label.source, table);
            self.key_column(&["model", "item"], &goal.item, &goal.label.source, table);
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

    fn label_column(&mut self, rows: &RowModel, table: &[(String, Type)], is_class: bool) {
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

    fn split_column(&mut self, split: &Split, rows: &RowModel, table: &[(String, Type)]) {
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

    fn entity_columns_of_rows(&mut self, rows: &RowModel, views: &[FeatureView], table: &[(String, Type)]) {
        for view in views.iter().filter(|view| view.source != rows.source) {
            for (index, column) in view.entity.iter().enumerate() {
                let path = ["features", view.name.as_str(), "entity", &index.to_string()];
                self.column(&path, column, &rows.source, table);
            }
        }
    }

    /// The columns of the rows that the model sees.
    fn input_columns(&mut self, rows: &RowModel, table: &[(String, Type)]) -> Vec<(String, Type)> {
        for (index, column) in self.raw.model.iter().flat_map(|model| model.exclude.iter().flatten()).enumerate() {
            self.column(&["model", "exclude", &index.to_string()], column, &rows.source, table);
        }
        let mut inputs = Vec::new();
        match &rows.columns {
            Some(columns) => {
                for (index, column) in columns.iter().enumerate() {
                    let path = ["model", "columns", &index.to_string()];
                    if let Some(kind) = self.column(&path, column, &rows.source, table)
                        && !rows.not_inputs.contains(column)
                    {
                        self.input_is_usable(&path, column, kind);
                        inputs.push((column.clone(), kind));
                    }
                }
            }
            None => {
                for (column, kind) in table.iter().filter(|(name, _)| !rows.not_inputs.contains(name)) {
                    self.input_is_usable(&["model", "source"], column, *kind);
                    inputs.push((column.clone(), *kind));
                }
            }
        }
        inputs
    }

    fn input_is_usable(&mut self, path: &[&str], column: &str, kind: Type) {
        match kind {
            Type::Timestamp => self.mistake(
                path,
                format!("column {column:?} is a timestamp, which is no input of a model"),
                format!("add {column:?} to `exclude`, or derive numbers, such as columns.hour = \"hour({column})\""),
            ),
            Type::Bool | Type::Int | Type::Float | Type::Text => {}
        }
    }

    /// Every text input has an encoder, and every encoder an input.
    fn encoders(&mut self, inputs: &[(String, Type)]) {
        for column in self.raw.encode.keys() {
            if !inputs.iter().any(|(name, _)| name == column) {
                let help = suggest(column, inputs.iter().map(|(name, _)| name.as_str()));
                self.mistake_in_key(&["encode", column], format!("{column:?} is not an input of the model"), help);
            }
        }
        let lacking = inputs.iter().filter(|(name, kind)| *kind == Type::Text && !self.raw.encode.contains_key(name));
        for (name, _) in lacking.cloned().collect::<Vec<_>>() {
            self.mistake_in_key(
                &self.place_of_input(&name),
                format!("{name:?} is a text, and no encoder says how it becomes numbers"),
                format!("add to [encode]: {name:?} = {{ kind = \"target\" }}, or leave the column out"),
            );
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
    fn compile(&mut self, path: &[&str], expression: &str, columns: &[(String, Type)]) -> Option<Program> {
        let errors = match Program::compile(expression, columns) {
            Ok(program) => return Some(program),
            Err(errors) => errors,
        };
        let span = self.tree.nearest(path).span.clone();
        // Without escapes the expression stands in the file as it is, between quotes.
        let start = self.text.get(span.clone()).and_then(|said| said.find(expression)).map(|start| span.start + start);
        for error in errors {
            let (what, help) = split_help(&error.to_string());
            let span = start.map_or(span.clone(), |start| start + error.span.start..start + error.span.end);
            self.mistakes.push(Mistake {
                span,
                key: path.join("."),
                message: format!("`{}`: {what}", path.last().copied().unwrap_or_default()),
                help,
            });
        }
        None
    }
}
