//! The directory file: clients and top-ups, one JSON object a line, put into the tables at start.
//!
//! ```json
//! {"client": {"organization": "org_demo", "client_id": "c-1", "blocked": false}}
//! {"top_up": {"gateway": "gw_demo", "invoice_id": "i-1", "amount": "100.00", "currency": "RUB",
//!             "client_id": "c-1", "club_id": "club_1", "expires_at": "2026-12-01T00:00:00Z"}}
//! ```
//! (each on one line). A top-up that has been paid stays paid, whatever the file says.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hookline_event_log::{
    AppendError, Appending, Change, Log, Partition, ReadError, Table, TableName, TableWatch,
};
use hookline_schemas::check::{Client, DirectoryKey, TopUp};
use hookline_schemas::delivery::{decode, encode};
use hookline_schemas::ids::{ClubId, GatewayId, OrganizationId};
use hookline_schemas::money::Amount;
use hookline_schemas::time::Timestamp;
use serde::Deserialize;

use super::EDGE_EPOCH;

/// Puts that may be in flight at once.
const IN_FLIGHT: usize = 4096;

/// Why a directory file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryFileError {
    /// The file could not be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Some lines are not what they should be; all of them are named.
    #[error("{} has {} bad lines: {}", path.display(), lines.len(), lines.join("; "))]
    Lines {
        /// The file.
        path: PathBuf,
        /// `line N: what is wrong`, each.
        lines: Vec<String>,
    },
    /// The log did not take an entry.
    #[error("failed to put an entry into the directory")]
    Put(#[from] AppendError),
    /// The log could not be read.
    #[error("failed to read the directory")]
    Load(#[from] ReadError),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Client(ClientLine),
    TopUp(TopUpLine),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientLine {
    organization: OrganizationId,
    client_id: String,
    #[serde(default)]
    blocked: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopUpLine {
    gateway: GatewayId,
    invoice_id: String,
    amount: Amount,
    currency: String,
    client_id: Option<String>,
    club_id: Option<ClubId>,
    expires_at: Option<jiff::Timestamp>,
    #[serde(default)]
    paid: bool,
}

/// Puts what the file names into the tables. When it returns, all of it is durable and the number of
/// entries is given back.
///
/// # Errors
///
/// If the file can't be read, a line is malformed (nothing is put then), or the log does not take it.
pub async fn load_directory_file<L: Log>(path: &Path, log: &L) -> Result<usize, DirectoryFileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| DirectoryFileError::Read { path: path.to_owned(), source })?;
    let lines = parse(&text).map_err(|lines| DirectoryFileError::Lines { path: path.to_owned(), lines })?;
    let paid = paid_top_ups(log).await?;
    let mut in_flight: VecDeque<Appending> = VecDeque::new();
    let count = lines.len();
    for line in lines {
        let (table, key, value) = entry(line, &paid);
        let put = log.table(table).put(Partition(0), key, Some(value), EDGE_EPOCH).await?;
        in_flight.push_back(put);
        if in_flight.len() >= IN_FLIGHT
            && let Some(oldest) = in_flight.pop_front()
        {
            oldest.await?;
        }
    }
    for put in in_flight {
        put.await?;
    }
    Ok(count)
}

fn parse(text: &str) -> Result<Vec<Line>, Vec<String>> {
    let mut parsed = Vec::new();
    let mut problems = Vec::new();
    let numbered = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (index, line) in numbered {
        match serde_json::from_str(line) {
            Ok(line) => parsed.push(line),
            Err(problem) => problems.push(format!("line {}: {problem}", index + 1)),
        }
    }
    if problems.is_empty() { Ok(parsed) } else { Err(problems) }
}

fn entry(line: Line, paid: &HashMap<DirectoryKey, bool>) -> (TableName, Bytes, Bytes) {
    match line {
        Line::Client(ClientLine { organization, client_id, blocked }) => {
            let key = DirectoryKey::of_client(&organization, &client_id);
            (TableName::Clients, key_bytes(key), encode(&Client { blocked }).into())
        }
        Line::TopUp(line) => {
            let key = DirectoryKey::of_top_up(&line.gateway, &line.invoice_id);
            let milliseconds = |at: jiff::Timestamp| u64::try_from(at.as_millisecond()).unwrap_or(0);
            let top_up = TopUp {
                amount: line.amount,
                currency: line.currency,
                client_id: line.client_id,
                club_id: line.club_id,
                expires_at: line.expires_at.map(|at| Timestamp(milliseconds(at))),
                paid: line.paid || paid.get(&key).copied().unwrap_or(false),
            };
            (TableName::TopUps, key_bytes(key), encode(&top_up).into())
        }
    }
}

fn key_bytes(key: DirectoryKey) -> Bytes {
    Bytes::copy_from_slice(&key.0)
}

/// Which top-ups of an earlier life have been paid.
async fn paid_top_ups<L: Log>(log: &L) -> Result<HashMap<DirectoryKey, bool>, ReadError> {
    let mut paid = HashMap::new();
    let mut watch = log.table(TableName::TopUps).watch(&[Partition(0)]);
    while let Change::Entry(entry) = watch.next().await? {
        let top_up = entry.value.as_deref().and_then(|value| decode::<TopUp>(value).ok());
        if let (Some(key), Some(top_up)) = (DirectoryKey::from_bytes(&entry.key), top_up) {
            paid.insert(key, top_up.paid);
        }
    }
    Ok(paid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_every_bad_line_at_once() {
        let text = r#"{"client": {"organization": "o", "client_id": "c"}}

{"client": {"organization": "o"}}
{"top_up": {"gateway": "g", "invoice_id": "i", "amount": 100.0, "currency": "RUB"}}
{"top_up": {"gateway": "g", "invoice_id": "i", "amount": "1e5", "currency": "RUB"}}
{"client": {"organization": "o", "client_id": "c", "colour": "red"}}"#;
        let problems = parse(text).expect_err("four bad lines");
        let lines: Vec<_> = problems.iter().filter_map(|problem| problem.split(':').next()).collect();
        assert_eq!(lines, ["line 3", "line 4", "line 5", "line 6"]);
    }

    #[test]
    fn a_paid_top_up_stays_paid() {
        let line = r#"{"top_up": {"gateway": "g", "invoice_id": "i", "amount": "1.00", "currency": "RUB"}}"#;
        let line = parse(line).expect("a line").pop().expect("a line");
        let key = DirectoryKey::of_top_up(&GatewayId::new("g"), "i");
        let (_, _, value) = entry(line, &HashMap::from([(key, true)]));
        assert!(decode::<TopUp>(&value).expect("a top-up").paid);
    }
}
