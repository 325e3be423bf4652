//! From a location in a pipeline to the list of files behind it.

use std::path::{Component, PathBuf};
use std::sync::Arc;

use object_store::ObjectMeta;
use object_store::local::LocalFileSystem;
use object_store::path::Path;

use super::error::near_names;
use super::objects::Objects;
use super::{SourceError, s3};

/// More files than this behind one location is a mistake in the location rather than a table.
const FILES_MAX: usize = 100_000;

/// One file of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path: relative to the base directory when it lies below it; an `s3://` URL for an object.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    pub(super) object: Path,
}

/// The files of a location, sorted by path, and the store that holds them.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) objects: Objects,
    pub(super) files: Vec<SourceFile>,
}

/// Where the path of a location begins.
enum Root {
    /// The local disk; paths below the segments of the base directory are shown from there.
    Disk(Vec<String>),
    /// A bucket of that name.
    Bucket(String),
}

/// Finds the files behind `location`.
pub(super) fn locate(location: &str, base_dir: &std::path::Path) -> Result<Located, SourceError> {
    locate_by(location, base_dir, s3::environment())
}

/// The same with other variables than those of the process.
fn locate_by(
    location: &str,
    base_dir: &std::path::Path,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Located, SourceError> {
    let (root, segments, objects) = match location.split_once("://") {
        Some(("s3", path)) => {
            let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
            check_bucket(location, bucket)?;
            let (store, known) = s3::open(location, bucket, variables)?;
            let segments = key.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect();
            (Root::Bucket(bucket.to_owned()), segments, Objects::new(store, Some(known), location)?)
        }
        _ => {
            let base = base_segments(location, base_dir)?;
            let segments: Vec<String> = location_segments(location, &base)?;
            (Root::Disk(base), segments, Objects::new(Arc::new(LocalFileSystem::new()), None, location)?)
        }
    };
    let found = match segments.iter().position(|segment| is_pattern(segment)) {
        Some(first_pattern) => {
            let pattern: Vec<&str> = segments[first_pattern..].iter().map(String::as_str).collect();
            let holds_some = |folder: &Path| may_hold_matches(&pattern, &segments_after(folder, first_pattern));
            let folder = to_path(location, &segments[..first_pattern])?;
            let below = list_recursively(&objects, &folder, location, holds_some)?;
            let matches = |file: &Found| glob_matches(&pattern, &segments_after(&file.object, first_pattern));
            below.into_iter().filter(matches).collect()
        }
        None => {
            let path = to_path(location, &segments)?;
            // A bucket as a whole is no object.
            match if segments.is_empty() { None } else { objects.find(&path)? } {
                Some(meta) => vec![Found { object: path, bytes: meta.size }],
                None => list_recursively(&objects, &path, location, |_| true)?,
            }
        }
    };
    if found.is_empty() {
        return Err(SourceError::NotFound { location: location.to_owned(), near: look_alikes(&objects, &segments)? });
    }
    let mut files: Vec<SourceFile> = found.into_iter().map(|file| file.shown_from(&root)).collect();
    files.sort_by(|a, b| a.object.cmp(&b.object));
    Ok(Located { objects, files })
}

struct Found {
    object: Path,
    bytes: u64,
}

impl Found {
    fn shown_from(self, root: &Root) -> SourceFile {
        let path = match root {
            Root::Disk(base) => match self.object.as_ref().strip_prefix(&format!("{}/", base.join("/"))) {
                Some(relative) => relative.to_owned(),
                None => format!("/{}", self.object),
            },
            Root::Bucket(bucket) => format!("s3://{bucket}/{}", self.object),
        };
        SourceFile { path, bytes: self.bytes, object: self.object }
    }
}

fn check_bucket(location: &str, bucket: &str) -> Result<(), SourceError> {
    let cause = match bucket {
        "" => "an S3 URL names a bucket: s3://bucket/folder/file.parquet",
        name if is_pattern(name) => "the name of the bucket cannot be a pattern",
        name if name.contains('@') => "keys and passwords belong into the environment, see AWS_ACCESS_KEY_ID",
        _ => return Ok(()),
    };
    // What stands before an `@` may be a password.
    let shown = location.rsplit_once('@').map_or(location.to_owned(), |(_, rest)| format!("s3://...@{rest}"));
    Err(SourceError::BadLocation { location: shown, cause: cause.into() })
}

fn segments_after(path: &Path, skipped: usize) -> Vec<&str> {
    path.as_ref().split('/').skip(skipped).collect()
}

/// The segments of the base directory, links resolved so that `..` in a location means what the shell means.
fn base_segments(location: &str, base_dir: &std::path::Path) -> Result<Vec<String>, SourceError> {
    let bad = |cause: String| SourceError::BadLocation { location: location.to_owned(), cause };
    // The parent of a bare file name is the empty path, which means the current directory.
    let base_dir = if base_dir.as_os_str().is_empty() { std::path::Path::new(".") } else { base_dir };
    let absolute = std::fs::canonicalize(base_dir)
        .map_err(|error| bad(format!("its base directory {} cannot be opened: {error}", base_dir.display())))?;
    let mut segments = Vec::new();
    for component in absolute.components() {
        if let Component::Normal(name) = component {
            let name = name.to_str().ok_or_else(|| bad(format!("{} is not UTF-8", absolute.display())))?;
            segments.push(name.to_owned());
        }
    }
    Ok(segments)
}

fn location_segments(location: &str, base: &[String]) -> Result<Vec<String>, SourceError> {
    let bad = |cause: String| SourceError::BadLocation { location: location.to_owned(), cause };
    let path: PathBuf = match location.split_once("://") {
        None => PathBuf::from(location),
        Some(("file", rest)) if rest.starts_with('/') => {
            let decoded = Path::from_url_path(rest).map_err(|error| bad(error.to_string()))?;
            PathBuf::from(format!("/{decoded}"))
        }
        Some(("file", _)) => return Err(bad("a file URL needs three slashes: file:///directory/file.parquet".into())),
        Some((scheme, _)) => {
            return Err(bad(format!("{scheme}:// is not supported; use a path, a file:// or an s3:// URL")));
        }
    };
    if location.trim().is_empty() {
        return Err(bad("it is empty".into()));
    }
    let mut segments = if path.is_absolute() { Vec::new() } else { base.to_vec() };
    for component in path.components() {
        match component {
            Component::Normal(name) => segments.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => {
                segments.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(segments)
}

fn to_path(location: &str, segments: &[String]) -> Result<Path, SourceError> {
    Path::parse(segments.join("/"))
        .map_err(|error| SourceError::BadLocation { location: location.to_owned(), cause: error.to_string() })
}

/// All visible files below `root`, but for those in folders that are not `wanted`.
fn list_recursively(
    objects: &Objects,
    root: &Path,
    location: &str,
    wanted: impl Fn(&Path) -> bool,
) -> Result<Vec<Found>, SourceError> {
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(directory) = open.pop() {
        let list = objects.list(&directory)?;
        open.extend(list.common_prefixes.into_iter().filter(|prefix| !is_hidden(prefix) && wanted(prefix)));
        // Object stores mark a folder by an object of its own name.
        let is_visible = |meta: &ObjectMeta| !is_hidden(&meta.location) && meta.location != directory;
        let visible = list.objects.into_iter().filter(is_visible);
        found.extend(visible.map(|meta| Found { object: meta.location, bytes: meta.size }));
        if found.len() > FILES_MAX || open.len() > FILES_MAX {
            return Err(SourceError::BadLocation {
                location: location.to_owned(),
                cause: format!("more than {FILES_MAX} files lie below it"),
            });
        }
    }
    Ok(found)
}

/// Names that begin with `.` or `_` are markers and left-overs (`_SUCCESS`, `.part-0.crc`), not data.
fn is_hidden(path: &Path) -> bool {
    path.filename().is_some_and(|name| name.starts_with(['.', '_']))
}

fn look_alikes(objects: &Objects, segments: &[String]) -> Result<Vec<String>, SourceError> {
    let Some((last, parent)) = segments.split_last() else { return Ok(Vec::new()) };
    let Ok(parent) = Path::parse(parent.join("/")) else { return Ok(Vec::new()) };
    let list = objects.list(&parent)?;
    let names = list.objects.iter().map(|meta| &meta.location).chain(&list.common_prefixes).filter_map(Path::filename);
    Ok(near_names(last, names))
}

fn is_pattern(segment: &str) -> bool {
    segment.contains(['*', '?'])
}

/// Whether the path segments match the pattern segments; `**` stands for any number of segments.
fn glob_matches(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) => (0..=path.len()).any(|skipped| glob_matches(rest, &path[skipped..])),
        (Some((first, pattern)), Some((segment, path))) => {
            segment_matches(first, segment) && glob_matches(pattern, path)
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Whether a path below `folder` can match `pattern`.
fn may_hold_matches(pattern: &[&str], folder: &[&str]) -> bool {
    match (pattern.split_first(), folder.split_first()) {
        (Some((&"**", _)), _) | (Some(_), None) => true,
        (Some((first, pattern)), Some((segment, folder))) => {
            segment_matches(first, segment) && may_hold_matches(pattern, folder)
        }
        (None, _) => false,
    }
}

/// Greedy matching with one backtrack point: linear in practice, quadratic at worst.
fn segment_matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((star_at, matched_to)) => {
                    star = Some((star_at, matched_to + 1));
                    p = star_at + 1;
                    t = matched_to + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_within_and_across_segments() {
        let matches = |pattern: &str, path: &str| {
            glob_matches(&pattern.split('/').collect::<Vec<_>>(), &path.split('/').collect::<Vec<_>>())
        };
        for (pattern, path, expected) in [
            ("*.csv", "a.csv", true),
            ("*.csv", "x/a.csv", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbY", false),
            ("?.csv", "é.csv", true),
            ("?.csv", ".csv", false),
            ("**/*.csv", "a.csv", true),
            ("**/*.csv", "x/y/a.csv", true),
            ("x/**/a.csv", "x/a.csv", true),
            ("x/**", "y/a.csv", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn only_folders_that_can_hold_a_match_are_listed() {
        for (pattern, folder, expected) in [
            ("*.csv", "a", false),
            ("*/*.csv", "a", true),
            ("a*/*.csv", "b", false),
            ("a*/*.csv", "ab/c", false),
            ("a/**/x.csv", "a/b/c", true),
            ("a/**/x.csv", "b", false),
            ("**", "a/b", true),
        ] {
            let (pattern, segments): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), folder.split('/').collect());
            assert_eq!(may_hold_matches(&pattern, &segments), expected, "{pattern:?} {folder}");
        }
    }

    fn located(location: &str, files: &[&str]) -> Result<Vec<String>, SourceError> {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let location = location.replace("BASE", directory.path().to_str().unwrap());
        let located = locate(&location, directory.path())?;
        Ok(located.files.into_iter().map(|file| file.path).collect())
    }

    #[test]
    fn a_location_names_a_file_a_directory_a_glob_or_a_url() {
        let files = ["t/b.csv", "t/a.csv", "t/2020/c.csv", "t/_SUCCESS", "t/.b.csv.crc", "t/_tmp/d.csv", "a b.csv"];
        for (location, expected) in [
            ("t/a.csv", vec!["t/a.csv"]),
            ("./t/../t/a.csv", vec!["t/a.csv"]),
            ("t", vec!["t/2020/c.csv", "t/a.csv", "t/b.csv"]),
            ("t/", vec!["t/2020/c.csv", "t/a.csv", "t/b.csv"]),
            ("t/*.csv", vec!["t/a.csv", "t/b.csv"]),
            ("**/c.csv", vec!["t/2020/c.csv"]),
            ("BASE/t/a.csv", vec!["t/a.csv"]),
            ("file://BASE/a%20b.csv", vec!["a b.csv"]),
        ] {
            assert_eq!(located(location, &files).unwrap(), expected, "{location}");
        }
    }

    #[test]
    fn a_wrong_location_says_what_would_be_right() {
        let message = |location: &str| located(location, &["data/transactions.parquet"]).unwrap_err().to_string();
        for (location, part) in [
            ("data/transactons.parquet", "did you mean transactions.parquet?"),
            ("dat", "did you mean data?"),
            ("data/*.csv", "data/*.csv: no such file"),
            ("gs://bucket/x.parquet", "gs:// is not supported"),
            ("s3:///x.parquet", "names a bucket"),
            ("s3://b*/x.parquet", "cannot be a pattern"),
            ("s3://key:word@bucket/x.parquet", "\"s3://...@bucket/x.parquet\" cannot be read"),
            ("file://x.parquet", "three slashes"),
            ("", "it is empty"),
        ] {
            assert!(message(location).contains(part), "{location}: {}", message(location));
        }
    }
}
