//! `[pushed.*]`.

use super::Checker;
use crate::pipeline::checked::PushedView;

impl Checker<'_> {
    pub(super) fn pushed(&mut self) -> Vec<PushedView> {
        let raw = self.raw;
        let mut views = Vec::with_capacity(raw.pushed.len());
        for (name, view) in &raw.pushed {
            let path = ["pushed", name.as_str()];
            self.name_is_plain(&path, "a pushed view");
            if name == "request" || raw.features.views.contains_key(name) {
                let taken = if name == "request" { "request-time features" } else { "[features.*]" };
                self.mistake_in_key(&path, format!("{name:?} is a name of {taken} already"), "choose another name");
            }
            for (section, columns) in
                [("entity", view.entity.keys().collect::<Vec<_>>()), ("features", view.features.keys().collect())]
            {
                // One whose entries are all mistaken is not empty.
                if self.tree.nearest(&["pushed", name, section]).is_empty_table() {
                    let example = if section == "entity" { "user_id = \"int\"" } else { "score = \"float\"" };
                    let help = format!("write one, such as {section} = {{ {example} }}");
                    self.mistake(&["pushed", name, section], format!("`{section}` of [pushed.{name}] is empty"), help);
                }
                for column in columns {
                    let path = ["pushed", name, section, column.as_str()];
                    if section == "features" {
                        self.name_is_plain(&path, "a feature");
                    }
                    if column == "time" || section == "features" && view.entity.contains_key(column) {
                        let taken = if column == "time" { "the time of a pushed row" } else { "a key column" };
                        self.mistake_in_key(&path, format!("{column:?} is {taken}"), "choose another name");
                    }
                }
            }
            views.push(PushedView {
                name: name.clone(),
                entity: view.entity.iter().map(|(column, kind)| (column.clone(), kind.to_type())).collect(),
                features: view.features.iter().map(|(column, kind)| (column.clone(), kind.to_type())).collect(),
            });
        }
        views
    }
}
