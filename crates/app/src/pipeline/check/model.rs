//! `[model]`.

use std::collections::HashSet;

use paceline_core::metrics::Metric;

use super::Checker;
use super::split::Labels;
use crate::pipeline::checked::{Goal, Model, NamedTeacher, Recommend, RowModel, Source, Split, Teacher};
use crate::pipeline::metric::{default_metric, metrics_of, objection};
use crate::pipeline::raw::{
    Als, Candidates, FutureLabel, Objective, RawFutureLabel, RawLabel, RawModel, RawTeacher, Task,
};

/// A model as far as it was said well.
pub(super) struct ModelParts {
    pub goal: Option<Goal>,
    pub split: Option<Split>,
    teacher: Option<Teacher>,
    metric: Metric,
}

impl ModelParts {
    pub(super) fn into_model(self) -> Option<Model> {
        Some(Model { goal: self.goal?, teacher: self.teacher?, metric: self.metric, split: self.split? })
    }
}

impl Checker<'_> {
    pub(super) fn model(&mut self, sources: &[Source]) -> Option<ModelParts> {
        let raw = self.raw.model.as_ref()?;
        let teacher = self.teacher(raw);
        let task = raw.task?;
        self.keys_suit(task);
        let metric = self.metric(task);
        let horizon = match &raw.label {
            Some(RawLabel::Future(label)) => label.horizon,
            _ => None,
        };
        let timed = match task {
            Task::Recommend => true,
            Task::Rank | Task::Classify | Task::Regress => {
                let source = raw.source.as_ref().and_then(|name| sources.iter().find(|source| source.name == *name));
                source.is_none_or(|source| source.event_time.is_some())
            }
        };
        let split = self.split(&Labels { task, horizon, timed });
        let goal = match task {
            Task::Recommend => self.recommend(raw, sources).map(Goal::Recommend),
            Task::Rank => self.row_model(raw, sources, split.as_ref()).map(Goal::Rank),
            Task::Classify => self.row_model(raw, sources, split.as_ref()).map(Goal::Classify),
            Task::Regress => self.row_model(raw, sources, split.as_ref()).map(Goal::Regress),
        };
        Some(ModelParts { goal, split, teacher, metric })
    }

    /// Which keys a task needs, and which have no meaning for it.
    fn keys_suit(&mut self, task: Task) {
        let (needed, foreign): (&[&str], &[&str]) = match task {
            Task::Recommend => (&["user", "item", "label"], &["source", "group", "columns", "exclude"]),
            Task::Rank => (
                &["source", "group", "label"],
                &["user", "item", "history_items_min", "item_group", "negatives_per_user", "candidates"],
            ),
            Task::Classify | Task::Regress => (
                &["source", "label"],
                &["user", "item", "group", "history_items_min", "item_group", "negatives_per_user", "candidates"],
            ),
        };
        let said = |key: &str| self.tree.nearest(&["model"]).get(key).is_some();
        let lacking: Vec<&str> = needed.iter().copied().filter(|key| !said(key)).collect();
        let present: Vec<&str> = foreign.iter().copied().filter(|key| said(key)).collect();
        for key in lacking {
            self.mistake_in_key(
                &["model"],
                format!("[model] lacks `{key}`, which task {:?} needs", task.name()),
                purpose(key, task),
            );
        }
        for key in present {
            self.mistake_in_key(
                &["model", key],
                format!("`{key}` has no meaning for task {:?}", task.name()),
                "leave it out",
            );
        }
    }

    fn metric(&mut self, task: Task) -> Metric {
        let said = self.raw.optimize.as_ref().and_then(|optimize| optimize.metric);
        let metric = said.unwrap_or_else(|| default_metric(task));
        if let Some(objection) = objection(&metric, task) {
            self.mistake(
                &["optimize", "metric"],
                format!("`metric` is \"{metric}\", which {objection}"),
                format!("known for task {:?}: {}", task.name(), metrics_of(task).join(", ")),
            );
        }
        metric
    }

    fn teacher(&mut self, raw: &RawModel) -> Option<Teacher> {
        let said = |key: &str| self.tree.nearest(&["model"]).get(key).is_some();
        match (said("teacher"), said("import")) {
            (false, false) => self.mistake_in_key(
                &["model"],
                "[model] has neither `teacher` nor `import`".to_owned(),
                "add teacher = [{ kind = \"lightgbm\" }]",
            ),
            (true, true) => self.mistake_in_key(
                &["model", "import"],
                "`import` has no meaning beside `teacher`".to_owned(),
                "leave out one of them",
            ),
            _ => {}
        }
        if let Some(path) = &raw.import {
            if ![".onnx", ".txt", ".json"].iter().any(|ending| path.ends_with(ending)) {
                self.mistake(
                    &["model", "import"],
                    format!("`import` is {path:?}, whose ending names no model format"),
                    "known: .onnx, .txt (LightGBM), .json (XGBoost)",
                );
            }
            if raw.task == Some(Task::Recommend) {
                self.mistake_in_key(
                    &["model", "import"],
                    "`import` has no meaning for task \"recommend\", which trains its own teacher".to_owned(),
                    "add teacher = [{ kind = \"lightgbm\" }]",
                );
            }
            return Some(Teacher::Import(path.clone()));
        }
        let teachers = raw.teacher.as_ref()?;
        for (index, teacher) in teachers.iter().enumerate() {
            self.teacher_suits(index, teacher, raw.task);
        }
        self.teacher_names_differ(teachers);
        self.factors_agree(teachers);
        Some(Teacher::Train(with_names(teachers)))
    }

    fn teacher_suits(&mut self, index: usize, teacher: &RawTeacher, task: Option<Task>) {
        let Some(task) = task else { return };
        let index = index.to_string();
        if let (RawTeacher::Als(_), Task::Rank | Task::Classify | Task::Regress) = (teacher, task) {
            self.mistake(
                &["model", "teacher", &index, "kind"],
                format!("a teacher of kind \"als\" learns from users and items, which task {:?} has not", task.name()),
                "use lightgbm, random_forest, extra_trees, mlp or linear",
            );
        }
        if let (RawTeacher::Linear(_), Task::Recommend) = (teacher, task) {
            self.mistake(
                &["model", "teacher", &index, "kind"],
                "a teacher of kind \"linear\" learns from rows, which task \"recommend\" has not".to_owned(),
                "use lightgbm, random_forest, extra_trees, mlp or als",
            );
        }
        if let RawTeacher::Lightgbm(options) = teacher
            && let Some(objective) = options.objective
        {
            let suits = match objective {
                Objective::Binary | Objective::CrossEntropy => matches!(task, Task::Recommend | Task::Classify),
                Objective::Lambdarank => task == Task::Rank,
                Objective::Regression => matches!(task, Task::Regress | Task::Rank),
            };
            if !suits {
                self.mistake(
                    &["model", "teacher", &index, "objective"],
                    format!("this `objective` does not suit task {:?}", task.name()),
                    "leave it out for the task's own",
                );
            }
        }
    }

    /// There is one set of factors.
    fn factors_agree(&mut self, teachers: &[RawTeacher]) {
        let mut fits = teachers.iter().enumerate().filter_map(|(index, teacher)| Some((index, factors_of(teacher)?)));
        let Some((first, options)) = fits.next() else { return };
        let others: Vec<usize> = fits.filter(|(_, other)| *other != options).map(|(index, _)| index).collect();
        for index in others {
            self.mistake(
                &["model", "teacher", &index.to_string()],
                format!("this teacher of kind \"als\" has other options than teacher {}", first + 1),
                "a recommender has one set of factors: leave one of the teachers out, or give both the same options",
            );
        }
    }

    fn teacher_names_differ(&mut self, teachers: &[RawTeacher]) {
        let mut seen = HashSet::new();
        for (index, name) in teachers.iter().enumerate().filter_map(|(i, teacher)| Some((i, teacher.name()?))) {
            if !seen.insert(name) {
                self.mistake(
                    &["model", "teacher", &index.to_string(), "name"],
                    format!("two teachers are called {name:?}"),
                    "names in the report must differ",
                );
            }
        }
    }

    fn recommend(&mut self, raw: &RawModel, sources: &[Source]) -> Option<Recommend> {
        let label = match raw.label.as_ref()? {
            RawLabel::Future(label) => label,
            RawLabel::Column(column) => {
                self.mistake(
                    &["model", "label"],
                    format!("`label` is the column {column:?}, but a recommender's label is what users do later"),
                    "write label = { source = \"...\", horizon = \"1mo\", new_only = true }",
                );
                return None;
            }
        };
        let (user, item) = (raw.user.clone()?, raw.item.clone()?);
        if user == item {
            self.mistake(&["model", "item"], format!("`user` and `item` are both {user:?}"), None);
        }
        let candidates = raw.candidates.clone().unwrap_or_default();
        let Candidates { als, item_item, last_basket, similar_users, popular, popular_window: _ } = &candidates;
        if [als, item_item, last_basket, similar_users, popular].into_iter().all(|count| *count == 0) {
            self.mistake(
                &["model", "candidates"],
                "every generator of `candidates` is 0, so nothing would be recommended".to_owned(),
                "give at least one a number, such as popular = 50",
            );
        }
        Some(Recommend {
            user,
            item,
            label: self.future_label(label, sources)?,
            history_items_min: raw.history_items_min.unwrap_or(1),
            item_group: raw.item_group.clone(),
            negatives_per_user: raw.negatives_per_user.unwrap_or(40),
            candidates,
            factors: raw.teacher.iter().flatten().find_map(factors_of).unwrap_or_default(),
        })
    }

    fn future_label(&mut self, raw: &RawFutureLabel, sources: &[Source]) -> Option<FutureLabel> {
        let name = raw.source.clone()?;
        let known = self.source_is_known(&["model", "label", "source"], &name);
        if known && sources.iter().any(|source| source.name == name && source.event_time.is_none()) {
            self.mistake(
                &["model", "label", "source"],
                format!("[sources.{name}] has no `event_time`, so nothing in it comes later"),
                "give the source an `event_time`",
            );
        }
        Some(FutureLabel { source: name, horizon: raw.horizon?, new_only: raw.new_only.unwrap_or(false) })
    }

    fn row_model(&mut self, raw: &RawModel, sources: &[Source], split: Option<&Split>) -> Option<RowModel> {
        if let Some(source) = &raw.source {
            self.source_is_known(&["model", "source"], source);
        }
        let label = match raw.label.as_ref()? {
            RawLabel::Column(column) => column.clone(),
            RawLabel::Future(_) => {
                self.mistake(
                    &["model", "label"],
                    "`label` is a table, but this task predicts a column of its source".to_owned(),
                    "name the column, such as label = \"income\"",
                );
                return None;
            }
        };
        let source_name = raw.source.clone()?;
        let source = sources.iter().find(|source| source.name == source_name);
        for (index, column) in raw.columns.iter().flatten().enumerate() {
            if *column == label {
                self.mistake(
                    &["model", "columns", &index.to_string()],
                    format!("`columns` holds the label {label:?}"),
                    "a model that sees its label has nothing to predict",
                );
            }
        }
        let split_column = match split {
            Some(Split::Column(split)) => Some(split.column.clone()),
            Some(Split::Random(split)) => split.group.clone(),
            Some(Split::Time(_)) | None => None,
        };
        let times = source.map(|source| [&source.event_time, &source.available_time, &source.event_id]);
        let mut not_inputs = vec![label.clone()];
        not_inputs.extend(times.into_iter().flatten().filter_map(Option::clone));
        not_inputs.extend(raw.group.clone());
        not_inputs.extend(split_column);
        not_inputs.extend(raw.exclude.iter().flatten().cloned());
        let mut seen = HashSet::new();
        not_inputs.retain(|column| seen.insert(column.clone()));
        Some(RowModel {
            source: source_name,
            label,
            group: raw.group.clone(),
            columns: raw.columns.clone(),
            not_inputs,
        })
    }
}

fn purpose(key: &str, task: Task) -> &'static str {
    match (key, task) {
        ("user", _) => "name the key column of users",
        ("item", _) => "name the key column of items",
        ("group", _) => "name the column whose equal values form one list",
        ("source", _) => "name the source whose rows are learned from",
        (_, Task::Recommend) => "write label = { source = \"...\", horizon = \"1mo\", new_only = true }",
        _ => "name the column to predict",
    }
}

/// How a teacher fits factors, if it does; without its name.
fn factors_of(teacher: &RawTeacher) -> Option<Als> {
    match teacher {
        RawTeacher::Als(options) => Some(Als { name: None, ..options.clone() }),
        RawTeacher::Lightgbm(_)
        | RawTeacher::RandomForest(_)
        | RawTeacher::ExtraTrees(_)
        | RawTeacher::Mlp(_)
        | RawTeacher::Linear(_) => None,
    }
}

/// Unnamed teachers are called by their kind, from the second on with a number.
fn with_names(teachers: &[RawTeacher]) -> Vec<NamedTeacher> {
    let mut taken: HashSet<String> = teachers.iter().filter_map(|teacher| teacher.name().map(str::to_owned)).collect();
    let mut name_of = |teacher: &RawTeacher| {
        if let Some(name) = teacher.name() {
            return name.to_owned();
        }
        let kind = teacher.kind();
        let numbered = (2..).map(|number| format!("{kind}_{number}"));
        let name = std::iter::once(kind.to_owned()).chain(numbered).find(|name| !taken.contains(name));
        let name = name.expect("numbers do not run out");
        taken.insert(name.clone());
        name
    };
    teachers.iter().map(|teacher| NamedTeacher { name: name_of(teacher), options: teacher.clone() }).collect()
}
