//! The directory file: clients and top-ups, one JSON object a line, put into the tables at start.
//!
//! ```json
//! {"client": {"organization": "org_demo", "client_id": "c-1", "blocked": false}}
//! {"top_up": {"gateway": "gw_demo", "invoice_id": "i-1", "amount": "100.00", "currency": "RUB",
//!             "client_id": "c-1", "club_id": "club_1", "expires_at": "2026-12-01T00:00:00Z"}}
//! ```
//! (each on one line). What the file does not name any more is removed; a top-up that has been paid stays, and
//! stays paid, whatever the file says.

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

/// What loading a directory file has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirectoryChanges {
    /// Entries that the file names.
    pub named: usize,
    /// Of those, how many were put because they are new or differ.
    pub put: usize,
    /// Entries that the file names no more, and that were removed.
    pub removed: usize,
    /// Changes that the log had no space for: the directory is older than the file.
    pub refused: usize,
}

/// Makes the tables say what the file says: what is new or differs is put, what is not named any more is
/// removed. When it returns, all of it is durable but what there was no space for.
///
/// # Errors
///
/// If the file can't be read, a line is malformed (nothing is changed then), or the log fails.
pub async fn load_directory_file<L: Log>(
    path: &Path,
    log: &L,
) -> Result<DirectoryChanges, DirectoryFileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| DirectoryFileError::Read { path: path.to_owned(), source })?;
    let lines = parse(&text).map_err(|lines| DirectoryFileError::Lines { path: path.to_owned(), lines })?;
    let mut present = entries_of(log, TableName::Clients).await?;
    present.extend(entries_of(log, TableName::TopUps).await?);

    let mut changes = DirectoryChanges { named: lines.len(), ..DirectoryChanges::default() };
    let mut puts = Vec::new();
    for line in lines {
        let (place, value) = entry(line, &present);
        if present.remove(&place).as_ref() != Some(&value) {
            puts.push((place, Some(value)));
            changes.put += 1;
        }
    }
    // A top-up that has been paid stays, or a line that comes again would ask for the money again.
    let removed = present.into_iter().filter(|(place, value)| !is_paid(*place, value));
    puts.extend(removed.map(|(place, _)| (place, None)));
    changes.removed = puts.len() - changes.put;
    changes.refused = put_all(log, puts).await?;
    Ok(changes)
}

/// Where an entry of the directory stands.
type Place = (TableName, DirectoryKey);

/// Puts everything; says for how much there was no space.
async fn put_all<L: Log>(log: &L, puts: Vec<(Place, Option<Bytes>)>) -> Result<usize, AppendError> {
    let mut in_flight: VecDeque<Appending> = VecDeque::new();
    let mut refused = 0;
    let mut count = |acknowledged| match acknowledged {
        Ok(_) => Ok(()),
        Err(AppendError::NoSpace) => {
            refused += 1;
            Ok(())
        }
        Err(error) => Err(error),
    };
    for ((table, key), value) in puts {
        let key = Bytes::copy_from_slice(&key.0);
        in_flight.push_back(log.table(table).put(Partition(0), key, value, EDGE_EPOCH).await?);
        if in_flight.len() >= IN_FLIGHT
            && let Some(oldest) = in_flight.pop_front()
        {
            count(oldest.await)?;
        }
    }
    for put in in_flight {
        count(put.await)?;
    }
    Ok(refused)
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

/// What a line says, given what is there: a top-up that has been paid stays paid.
fn entry(line: Line, present: &HashMap<Place, Bytes>) -> (Place, Bytes) {
    match line {
        Line::Client(ClientLine { organization, client_id, blocked }) => {
            let key = DirectoryKey::of_client(&organization, &client_id);
            ((TableName::Clients, key), encode(&Client { blocked }).into())
        }
        Line::TopUp(line) => {
            let place = (TableName::TopUps, DirectoryKey::of_top_up(&line.gateway, &line.invoice_id));
            let milliseconds = |at: jiff::Timestamp| u64::try_from(at.as_millisecond()).unwrap_or(0);
            let top_up = TopUp {
                amount: line.amount,
                currency: line.currency,
                client_id: line.client_id,
                club_id: line.club_id,
                expires_at: line.expires_at.map(|at| Timestamp(milliseconds(at))),
                paid: line.paid || present.get(&place).is_some_and(|value| is_paid(place, value)),
            };
            (place, encode(&top_up).into())
        }
    }
}

fn is_paid((table, _): Place, value: &[u8]) -> bool {
    table == TableName::TopUps && decode::<TopUp>(value).is_ok_and(|top_up| top_up.paid)
}

/// What a table of the directory holds now.
async fn entries_of<L: Log>(log: &L, table: TableName) -> Result<HashMap<Place, Bytes>, ReadError> {
    let mut entries = HashMap::new();
    let mut watch = log.table(table).watch(&[Partition(0)]);
    while let Change::Entry(entry) = watch.next().await? {
        let Some(key) = DirectoryKey::from_bytes(&entry.key) else { continue };
        match entry.value {
            Some(value) => entries.insert((table, key), value),
            None => entries.remove(&(table, key)),
        };
    }
    Ok(entries)
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
        let line = || parse(line).expect("a line").pop().expect("a line");
        let place = (TableName::TopUps, DirectoryKey::of_top_up(&GatewayId::new("g"), "i"));
        let (_, unpaid) = entry(line(), &HashMap::new());
        assert!(!is_paid(place, &unpaid));
        let paid = TopUp { paid: true, ..decode(&unpaid).expect("a top-up") };
        let (_, value) = entry(line(), &HashMap::from([(place, encode(&paid).into())]));
        assert!(is_paid(place, &value));
    }
}
