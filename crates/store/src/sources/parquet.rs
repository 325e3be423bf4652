//! One Parquet file, read row group by row group.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataPushDecoder;

use super::columns::to_readable;
use super::location::SourceFile;
use super::objects::Objects;
use super::reader::BATCH_ROWS;
use super::{Format, SourceError};

/// What a file's footer says.
pub(super) struct Footer {
    metadata: ArrowReaderMetadata,
}

impl Footer {
    pub(super) fn read(objects: &Objects, file: &SourceFile) -> Result<Footer, SourceError> {
        let damaged = |error: ParquetError| damaged(file, &error);
        let mut decoder = ParquetMetaDataPushDecoder::try_new(file.bytes).map_err(damaged)?;
        let metadata = loop {
            match decoder.try_decode().map_err(damaged)? {
                DecodeResult::NeedsData(ranges) => {
                    let bytes = objects.read(&file.object, &ranges)?;
                    decoder.push_ranges(ranges, bytes).map_err(damaged)?;
                }
                DecodeResult::Data(metadata) => break metadata,
                DecodeResult::Finished => return Err(damaged(ParquetError::General("it has no footer".into()))),
            }
        };
        let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new()).map_err(damaged)?;
        Ok(Footer { metadata })
    }

    pub(super) fn schema(&self) -> &Schema {
        self.metadata.schema()
    }

    pub(super) fn rows(&self) -> u64 {
        let groups = self.metadata.metadata().row_groups();
        groups.iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0)).sum()
    }
}

/// Batches of one file. Holds the wanted columns of one row group in memory.
pub(super) struct ParquetBatches {
    decoder: ParquetPushDecoder,
    schema: SchemaRef,
}

impl ParquetBatches {
    /// `schema` names columns that the footer has.
    pub(super) fn open(footer: Footer, file: &SourceFile, schema: &SchemaRef) -> Result<Self, SourceError> {
        let wanted = schema.fields().iter().filter_map(|field| footer.schema().index_of(field.name()).ok());
        let mask = ProjectionMask::roots(footer.metadata.parquet_schema(), wanted);
        let decoder = ParquetPushDecoderBuilder::new_with_metadata(footer.metadata)
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| damaged(file, &error))?;
        Ok(ParquetBatches { decoder, schema: Arc::clone(schema) })
    }

    pub(super) fn next_batch(
        &mut self,
        objects: &Objects,
        file: &SourceFile,
    ) -> Result<Option<RecordBatch>, SourceError> {
        loop {
            match self.decoder.try_decode().map_err(|error| damaged(file, &error))? {
                DecodeResult::NeedsData(ranges) => {
                    let bytes = objects.read(&file.object, &ranges)?;
                    self.decoder.push_ranges(ranges, bytes).map_err(|error| damaged(file, &error))?;
                }
                DecodeResult::Data(batch) => {
                    let readable = to_readable(&batch, &self.schema);
                    return readable.map(Some).map_err(|error| damaged(file, &ParquetError::from(error)));
                }
                DecodeResult::Finished => return Ok(None),
            }
        }
    }
}

fn damaged(file: &SourceFile, error: &ParquetError) -> SourceError {
    // The format is said already.
    let cause = match error {
        ParquetError::General(cause) => cause.clone(),
        other => other.to_string(),
    };
    SourceError::Damaged { file: file.path.clone(), format: Format::Parquet.name(), cause }
}
