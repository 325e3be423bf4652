//! A pipeline file with the columns of its sources.

use std::path::Path;

use paceline_store::{Location, SourceReader, SourceSpec};

use super::mistake::split_help;
use super::{Mistakes, Pipeline, PipelineFile, Schemas};

/// Reads and checks a pipeline file against the columns of its sources. Returns the pipeline and what is suspicious.
///
/// # Errors
/// [`Mistakes`] with all mistakes of the file, of its sources' columns and of its expressions; or that the file cannot
/// be read.
pub fn open(path: &Path) -> anyhow::Result<(Pipeline, Mistakes)> {
    let mut file = PipelineFile::read(path)?;
    let schemas = file.read_schemas();
    Ok(file.check(Some(&schemas)).map(|(pipeline, warnings)| (pipeline, file.answer(warnings)))?)
}

/// The same without the columns of its sources, which may be out of reach: no column and no expression is checked.
///
/// # Errors
/// [`Mistakes`] with all mistakes that the file alone shows; or that it cannot be read.
pub fn open_without_sources(path: &Path) -> anyhow::Result<(Pipeline, Mistakes)> {
    let file = PipelineFile::read(path)?;
    Ok(file.check(None).map(|(pipeline, warnings)| (pipeline, file.answer(warnings)))?)
}

impl PipelineFile {
    /// Reads the columns of each source. A source that cannot be read becomes a mistake of the file.
    pub fn read_schemas(&mut self) -> Schemas {
        let mut schemas = Schemas::new();
        for place in self.source_places() {
            let format = place.format.map(super::Format::to_store);
            let key = match place.location {
                Location::Files(_) => "path",
                Location::Query(_) => "adbc",
            };
            let spec = SourceSpec { format, ..SourceSpec::at(&place.name, place.location) };
            match SourceReader::open(&spec, self.folder()) {
                Ok(reader) => {
                    schemas.insert(place.name, reader.schema());
                }
                Err(error) => {
                    let (message, help) = split_help(&error.to_string());
                    let mistake = self.mistake(&["sources", &place.name, key], message, help);
                    self.add(mistake);
                }
            }
        }
        schemas
    }
}
