//! Follows one of the directory's tables into memory.

use std::sync::Arc;

use hookline_event_log::{Change, Log, Partition, ReadError, Table, TableName, TableWatch};

use super::Directory;

/// Follows the table until the log closes.
pub(crate) async fn follow<L: Log>(
    log: L,
    table: TableName,
    directory: Arc<Directory>,
) -> Result<(), ReadError> {
    let partitions: Vec<_> = (0..log.table(table).partitions()).map(Partition).collect();
    let mut watch = log.table(table).watch(&partitions);
    loop {
        match watch.next().await {
            Ok(Change::Entry(entry)) => {
                if !directory.take(table, &entry) {
                    tracing::error!(table = table.as_str(), "left out an entry that is not of this version");
                }
            }
            Ok(Change::Loaded) => directory.finish_loading(table),
            Err(ReadError::Closed) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
