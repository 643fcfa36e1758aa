//! What a configuration says, key by key, as far as it takes to see which of it has changed.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use figment::Figment;
use figment::value::{Dict, Value};

/// These count as soon as the configuration is read again.
const READ_AGAIN: [&str; 4] = ["gateways", "webhooks", "ingest.tls", "telemetry.log_filter"];

/// A hash for each key of each table. No value is kept: some are secrets.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Sections(BTreeMap<String, u64>);

impl fmt::Debug for Sections {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

impl Sections {
    /// Of the file, the environment and the defaults together.
    pub(super) fn of(figment: &Figment) -> Self {
        let mut hashes = BTreeMap::new();
        for (table, value) in figment.extract::<Dict>().unwrap_or_default() {
            match value {
                Value::Dict(_, keys) => {
                    let named = keys.iter().map(|(key, value)| (format!("{table}.{key}"), hash(value)));
                    hashes.extend(named);
                }
                value => drop(hashes.insert(table, hash(&value))),
            }
        }
        Self(hashes)
    }

    /// The keys that differ and count from the next start on alone.
    pub(crate) fn wait_for_restart(&self, now: &Self) -> Vec<String> {
        let all = self.0.keys().chain(now.0.keys().filter(|key| !self.0.contains_key(*key)));
        let differ = all.filter(|key| self.0.get(*key) != now.0.get(*key));
        differ.filter(|key| !READ_AGAIN.contains(&key.as_str())).cloned().collect()
    }
}

/// Of what it says, not of where it stands.
fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    // Texts, numbers, lists and tables of them always serialize.
    serde_json::to_string(value).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use figment::providers::{Format, Toml};

    use super::*;

    fn sections(text: &str) -> Sections {
        Sections::of(&Figment::from(Toml::string(text)))
    }

    #[test]
    fn what_waits_for_a_restart_is_named_and_what_is_read_again_is_not() {
        let before = "data_dir = \"a\"\n[ingest]\nmax_requests = 1\n[ingest.tls]\nkey_file = \"k\"\n[[gateways]]\nid = \"1\"";
        for (now, expected) in [
            (before, &[][..]),
            (&before.replace("\"k\"", "\"other\"").replace("\"1\"", "\"2\""), &[]),
            (&before.replace("= 1", "= 2"), &["ingest.max_requests"]),
            (&before.replace("\"a\"", "\"b\""), &["data_dir"]),
            (&format!("{before}\n[log.kafka]\ntls = true"), &["log.kafka"]),
            ("data_dir = \"a\"", &["ingest.max_requests"]),
            (&format!("# moved\n\n{before}"), &[]),
        ] {
            assert_eq!(sections(before).wait_for_restart(&sections(now)), expected, "{now}");
        }
    }

    #[test]
    fn no_value_is_shown() {
        let shown = format!("{:?}", sections("[log.kafka]\nsasl_password = \"s3cret\""));
        assert_eq!(shown, "{\"log.kafka\"}");
    }
}
