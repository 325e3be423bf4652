//! Random expressions over random rows: block, row and reference give the same bits.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use paceline_core::{Timestamp, Value};
use proptest::prelude::*;

use super::example_tests::value_at;
use super::reference::{COLUMNS, Tree, evaluate, tree, value};
use super::{Input, Program, Scratch, Type};

fn array_of(kind: Type, values: &[Value]) -> ArrayRef {
    let known = |value: &Value| (*value != Value::Null).then(|| value.clone());
    macro_rules! collect {
        ($variant:ident) => {
            values.iter().map(|value| match known(value)? {
                Value::$variant(value) => Some(value),
                other => panic!("{other:?} in a column of {kind:?}"),
            })
        };
    }
    match kind {
        Type::Bool => Arc::new(collect!(Bool).collect::<BooleanArray>()),
        Type::Int => Arc::new(collect!(Int).collect::<Int64Array>()),
        Type::Float => Arc::new(collect!(Float).collect::<Float64Array>()),
        Type::Text => Arc::new(StringArray::from_iter(collect!(Text).map(|text| text.map(|text| text.to_string())))),
        Type::Timestamp => Arc::new(collect!(Int).collect::<TimestampMicrosecondArray>()),
    }
}

fn input_of(kind: Type, value: &Value) -> Input<'_> {
    match (kind, value) {
        (Type::Timestamp, Value::Int(micros)) => Input::Timestamp(Timestamp(*micros)),
        (_, value) => value.into(),
    }
}

/// Rows over all columns, repeated so that a block takes several rounds.
fn rows() -> impl Strategy<Value = Vec<Vec<Value>>> {
    prop::collection::vec(COLUMNS.map(|(_, kind)| value(kind)).to_vec(), 1..12)
}

fn any_tree() -> impl Strategy<Value = Tree> {
    prop::sample::select(vec![Type::Bool, Type::Int, Type::Float, Type::Text, Type::Timestamp])
        .prop_flat_map(|kind| tree(kind, 4))
}

/// Six times the usual number of cases: there are many functions.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: 6 * usual.cases, ..usual }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn block_row_and_reference_are_bit_equal(tree in any_tree(), rows in rows(), copies in prop::sample::select(vec![1_usize, 90])) {
        let sql = tree.sql();
        let program = match Program::compile(&sql, &COLUMNS) {
            Ok(program) => program,
            Err(mistakes) => return Err(TestCaseError::fail(format!("{sql}: {mistakes:?}"))),
        };
        prop_assert_eq!(program.output_type(), tree.kind(), "{}", sql);
        let all: Vec<&Vec<Value>> = rows.iter().cycle().take(rows.len() * copies).collect();
        let column = |index: usize| all.iter().map(|row| row[index].clone()).collect::<Vec<_>>();
        let batch = RecordBatch::try_from_iter(
            COLUMNS.iter().enumerate().map(|(index, (name, kind))| (*name, array_of(*kind, &column(index)))),
        ).expect("equal lengths");
        let block = program.eval_block(&batch).expect("the batch fits");
        let mut scratch = Scratch::default();
        for (index, row) in all.iter().enumerate() {
            let position = |name: &str| COLUMNS.iter().position(|column| column.0 == name).expect("a column that is read");
            let inputs: Vec<Input<'_>> =
                program.columns().map(|(name, kind)| input_of(kind, &row[position(name)])).collect();
            let of_row = program.eval_row(&inputs, &mut scratch).expect("the row fits");
            let of_block = value_at(&block, program.output_type(), index);
            prop_assert!(of_row.bit_equal(&of_block), "{}: row {:?}, block {:?}, inputs {:?}", sql, of_row, of_block, row);
            if index < rows.len() {
                let expected = evaluate(&tree, row);
                prop_assert!(of_row.bit_equal(&expected), "{}: {:?} instead of {:?}, inputs {:?}", sql, of_row, expected, row);
            }
        }
    }
}
