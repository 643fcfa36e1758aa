//! `[sealing]`: where the keys stand that seal.

use std::path::{Path, PathBuf};

use hookline_schemas::secret::Secret;
use serde::Deserialize;

use crate::key::{KeySource, Ring, RingError};

/// The file's name where none is configured.
const FILE_NAME: &str = "hookline.key";

/// `[sealing]` as it is written; `hookline.default.toml` explains each member.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SealingConfig {
    /// The keys themselves, for the environment.
    key: Option<Secret>,
    key_file: Option<PathBuf>,
}

impl SealingConfig {
    /// Without either, the file stands in this directory. What is returned is of use only if this added no problem.
    pub(super) fn check(self, directory: &Path, problems: &mut Vec<String>) -> KeySource {
        if self.key.is_some() && self.key_file.is_some() {
            problems
                .push("sealing.key and sealing.key_file are both set: one of them has the keys".to_owned());
        }
        let given = self.key.as_ref().and_then(|key| {
            let problem = |error: RingError| match error {
                RingError::Malformed(number) => {
                    format!("sealing.key: its key number {number} does not hold 32 bytes in base64")
                }
                RingError::Empty => "sealing.key holds no key".to_owned(),
            };
            Ring::of_list(key.expose()).map_err(|error| problems.push(problem(error))).ok()
        });
        match given {
            Some(ring) => KeySource::Given(ring),
            None => KeySource::File(self.key_file.unwrap_or_else(|| directory.join(FILE_NAME))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn check(key: Option<&str>, key_file: Option<&str>) -> (KeySource, Vec<String>) {
        let mut problems = Vec::new();
        let config = SealingConfig { key: key.map(Secret::new), key_file: key_file.map(PathBuf::from) };
        (config.check(Path::new("/etc/hookline"), &mut problems), problems)
    }

    #[test]
    fn the_keys_stand_in_one_place() {
        let (source, problems) = check(None, None);
        assert!(matches!(source, KeySource::File(path) if path == Path::new("/etc/hookline/hookline.key")));
        assert!(problems.is_empty());
        let (source, problems) = check(None, Some("./my.key"));
        assert!(matches!(source, KeySource::File(path) if path == Path::new("./my.key")));
        assert!(problems.is_empty());
        let (source, problems) = check(Some(KEY), None);
        assert!(matches!(source, KeySource::Given(_)) && problems.is_empty());
        let (_, problems) = check(Some(KEY), Some("./my.key"));
        assert!(problems.iter().any(|problem| problem.contains("both set")), "{problems:?}");
    }

    #[test]
    fn a_malformed_key_is_named_by_its_number_and_not_shown() {
        for (key, part) in
            [("", "holds no key"), ("c2hvcnQ=", "number 1"), (&format!("{KEY} s3cret"), "number 2")]
        {
            let (_, problems) = check(Some(key), None);
            let all = problems.join("\n");
            assert!(all.contains(part), "{all}");
            assert!(!all.contains("c2hv") && !all.contains("s3cret"), "{all}");
        }
    }
}
