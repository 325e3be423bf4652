//! Generated files are fresh.

use super::super::reference::{markdown, schema_json};
use super::{check_generated, in_repository};

#[test]
fn the_reference_page_is_fresh() {
    check_generated(&in_repository("docs/pipeline.md"), &markdown());
}

#[test]
fn the_editor_schema_is_fresh() {
    check_generated(&in_repository("docs/pipeline.schema.json"), &schema_json());
}
