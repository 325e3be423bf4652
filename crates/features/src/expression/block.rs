//! Evaluation of Arrow blocks.

use std::sync::Arc;

use arrow::array::types::{Int64Type, TimestampMicrosecondType};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, Float64Array, Float64Builder, Int64Array, Int64Builder,
    LargeStringArray, RecordBatch, StringArray, StringBuilder, StringViewArray, TimestampMicrosecondArray,
};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::error::EvaluationError;
use super::machine::execute;
use super::program::{Compiled, Program, ReadColumn};
use super::register::{Element, Register, Texts};
use super::types::Type;

/// Rows that are computed together: the registers of a usual expression then stay in the first-level cache.
const ROWS: usize = 512;

impl Program {
    /// The result for every row of `batch`, which may have other columns too, in any order.
    ///
    /// The array is `Boolean`, `Int64`, `Float64`, `Utf8` or `Timestamp(Microsecond, "UTC")`. Floats that come out are
    /// finite or null. How Arrow types are read says [`Type::of_arrow`]; a column of nulls fits every type, and one of
    /// whole numbers also fits a column of floats.
    ///
    /// # Errors
    /// When a column is missing or has another type than the program was compiled for.
    pub fn eval_block(&self, batch: &RecordBatch) -> Result<ArrayRef, EvaluationError> {
        let program = &*self.0;
        let columns: Vec<BlockColumn> =
            program.columns.iter().map(|column| BlockColumn::new(program, column, batch)).collect::<Result<_, _>>()?;
        let mut registers = program.registers::<ROWS>();
        let mut output = Output::new(program.output_type, batch.num_rows());
        for start in (0..batch.num_rows()).step_by(ROWS) {
            let rows = ROWS.min(batch.num_rows() - start);
            for (read, column) in program.columns.iter().zip(&columns) {
                column.load(start, rows, &mut registers[usize::from(read.place)]);
            }
            execute(&program.run, &program.tables, &mut registers, rows);
            output.append(&registers[usize::from(program.output)], rows);
        }
        Ok(output.finish())
    }
}

/// The rows of `batch` for which `condition` is true; where it is null the row is dropped.
///
/// # Errors
/// As [`Program::eval_block`]; also when the program is not a condition.
pub fn filter(condition: &Program, batch: &RecordBatch) -> Result<RecordBatch, EvaluationError> {
    let found = condition.output_type();
    if found != Type::Bool {
        return Err(EvaluationError::NotACondition { expression: condition.text().to_owned(), found });
    }
    let mask = condition.eval_block(batch)?;
    Ok(filter_record_batch(batch, mask.as_boolean()).expect("the mask has as many rows as the batch"))
}

/// `batch` with a last column `name`: the program's result, nullable.
///
/// # Errors
/// As [`Program::eval_block`]; also when there is a column of that name.
pub fn with_column(batch: &RecordBatch, name: &str, program: &Program) -> Result<RecordBatch, EvaluationError> {
    if batch.column_by_name(name).is_some() {
        return Err(EvaluationError::ColumnExists { column: name.to_owned() });
    }
    let column = program.eval_block(batch)?;
    let schema = batch.schema();
    let field = Arc::new(Field::new(name, column.data_type().clone(), true));
    let fields: Vec<_> = schema.fields().iter().cloned().chain([field]).collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
    let columns = batch.columns().iter().cloned().chain([column]).collect();
    Ok(RecordBatch::try_new(schema, columns).expect("the new column has the batch's length and its field's type"))
}

/// A column in the one Arrow form that its type is read from.
#[derive(Debug)]
enum BlockColumn {
    Bool(BooleanArray),
    Int(Int64Array),
    Float(Float64Array),
    Text(TextColumn),
}

impl BlockColumn {
    fn new(program: &Compiled, column: &ReadColumn, batch: &RecordBatch) -> Result<Self, EvaluationError> {
        let array = batch.column_by_name(&column.name).ok_or_else(|| EvaluationError::MissingColumn {
            expression: program.text.clone(),
            column: column.name.clone(),
            available: batch.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", "),
        })?;
        BlockColumn::convert(array, column.kind).ok_or_else(|| EvaluationError::WrongType {
            expression: program.text.clone(),
            column: column.name.clone(),
            expected: column.kind,
            found: array.data_type().to_string(),
        })
    }

    /// `None` when the array does not hold values of this type.
    fn convert(array: &ArrayRef, kind: Type) -> Option<Self> {
        let found = Type::of_arrow(array.data_type());
        let fits = found == Some(kind)
            || (found, kind) == (Some(Type::Int), Type::Float)
            || *array.data_type() == DataType::Null;
        if !fits {
            return None;
        }
        Some(match kind {
            Type::Bool => BlockColumn::Bool(cast(array, &DataType::Boolean).ok()?.as_boolean().clone()),
            Type::Int => BlockColumn::Int(cast(array, &DataType::Int64).ok()?.as_primitive().clone()),
            Type::Float => BlockColumn::Float(cast(array, &DataType::Float64).ok()?.as_primitive().clone()),
            Type::Text => BlockColumn::Text(TextColumn::new(array)?),
            Type::Timestamp => {
                // The zone is kept so that the cast changes the unit only; a timestamp's number always means UTC.
                let zone = match array.data_type() {
                    DataType::Timestamp(_, zone) => zone.clone(),
                    _ => None,
                };
                let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone)).ok()?;
                BlockColumn::Int(micros.as_primitive::<TimestampMicrosecondType>().reinterpret_cast::<Int64Type>())
            }
        })
    }

    fn load<'a>(&'a self, start: usize, rows: usize, register: &mut Register<'a, ROWS>) {
        match self {
            BlockColumn::Bool(array) => {
                let slots = &mut bool::slots_mut(register)[..rows];
                slots
                    .iter_mut()
                    .zip(start..)
                    .for_each(|(slot, row)| *slot = array.is_valid(row).then(|| array.value(row)));
            }
            BlockColumn::Int(array) => {
                let values = &array.values()[start..start + rows];
                let slots = &mut i64::slots_mut(register)[..rows];
                slots.iter_mut().zip(values).for_each(|(slot, value)| *slot = Some(*value));
                for_each_null(array, start, rows, |row| slots[row] = None);
            }
            BlockColumn::Float(array) => {
                let values = &array.values()[start..start + rows];
                let slots = &mut f64::slots_mut(register)[..rows];
                slots.iter_mut().zip(values).for_each(|(slot, value)| *slot = f64::store(Some(*value)));
                for_each_null(array, start, rows, |row| slots[row] = f64::store(None));
            }
            BlockColumn::Text(column) => {
                let mut texts = [None; ROWS];
                texts[..rows].iter_mut().zip(start..).for_each(|(text, row)| *text = column.get(row));
                *register = Register::Text(Texts::Borrowed(texts));
            }
        }
    }
}

fn for_each_null(array: &dyn Array, start: usize, rows: usize, mut visit: impl FnMut(usize)) {
    if let Some(nulls) = array.nulls() {
        (0..rows).filter(|row| nulls.is_null(start + row)).for_each(&mut visit);
    }
}

/// Texts in any of Arrow's forms.
#[derive(Debug)]
enum TextColumn {
    Utf8(StringArray),
    Large(LargeStringArray),
    View(StringViewArray),
    Dictionary { keys: Vec<Option<usize>>, values: Box<TextColumn> },
    Null,
}

impl TextColumn {
    fn new(array: &dyn Array) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Utf8 => TextColumn::Utf8(array.as_string().clone()),
            DataType::LargeUtf8 => TextColumn::Large(array.as_string().clone()),
            DataType::Utf8View => TextColumn::View(array.as_string_view().clone()),
            DataType::Null => TextColumn::Null,
            DataType::Dictionary(_, _) => {
                let dictionary = array.as_any_dictionary_opt()?;
                let keys = cast(dictionary.keys(), &DataType::UInt64).ok()?;
                let keys = keys.as_primitive::<arrow::datatypes::UInt64Type>();
                let keys = keys.iter().map(|key| key.and_then(|key| usize::try_from(key).ok())).collect();
                TextColumn::Dictionary { keys, values: Box::new(TextColumn::new(dictionary.values())?) }
            }
            _ => return None,
        })
    }

    fn get(&self, row: usize) -> Option<&str> {
        match self {
            TextColumn::Utf8(array) => array.is_valid(row).then(|| array.value(row)),
            TextColumn::Large(array) => array.is_valid(row).then(|| array.value(row)),
            TextColumn::View(array) => array.is_valid(row).then(|| array.value(row)),
            TextColumn::Dictionary { keys, values } => values.get(keys[row]?),
            TextColumn::Null => None,
        }
    }
}

/// The result under construction.
#[derive(Debug)]
enum Output {
    Bool(BooleanBuilder),
    Int(Int64Builder, Type),
    Float(Float64Builder),
    Text(StringBuilder),
}

impl Output {
    fn new(kind: Type, rows: usize) -> Self {
        match kind {
            Type::Bool => Output::Bool(BooleanBuilder::with_capacity(rows)),
            Type::Int | Type::Timestamp => Output::Int(Int64Builder::with_capacity(rows), kind),
            Type::Float => Output::Float(Float64Builder::with_capacity(rows)),
            Type::Text => Output::Text(StringBuilder::with_capacity(rows, 0)),
        }
    }

    fn append(&mut self, register: &Register<'_, ROWS>, rows: usize) {
        match self {
            Output::Bool(builder) => builder.extend(bool::slots(register)[..rows].iter().copied()),
            Output::Int(builder, _) => builder.extend(i64::slots(register)[..rows].iter().copied()),
            Output::Float(builder) => builder.extend(f64::slots(register)[..rows].iter().map(|slot| f64::load(*slot))),
            Output::Text(builder) => (0..rows).for_each(|row| builder.append_option(register.texts().get(row))),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Output::Bool(mut builder) => Arc::new(builder.finish()),
            Output::Int(mut builder, Type::Timestamp) => {
                let micros: TimestampMicrosecondArray = builder.finish().reinterpret_cast();
                Arc::new(micros.with_timezone("UTC"))
            }
            Output::Int(mut builder, _) => Arc::new(builder.finish()),
            Output::Float(mut builder) => Arc::new(builder.finish()),
            Output::Text(mut builder) => Arc::new(builder.finish()),
        }
    }
}
