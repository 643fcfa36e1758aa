//! The directory: the clients and top-ups that Check compares with, in memory.
//!
//! Owned by the loader, which follows the tables; read by Check without waiting. Until both tables have been
//! loaded to their end the edge is *not ready*: missing must never mean *unknown client*.

mod file;
mod loader;

use std::sync::atomic::{AtomicU8, Ordering};

use dashmap::DashMap;
use hookline_event_log::{Entry, Epoch, TableName};
use hookline_schemas::check::{Client, DirectoryKey, TopUp};
use hookline_schemas::delivery::decode;
use hookline_schemas::gateway::Gateway;
use hookline_schemas::notification::{Field, Fields};

pub use file::{DirectoryChanges, DirectoryFileError, load_directory_file};
pub(crate) use loader::follow;

/// The epoch of what edges put into the directory's tables: any edge may, and all put the same.
pub(crate) const EDGE_EPOCH: Epoch = Epoch(0);

/// The longest name that is looked up before the signature is verified, in bytes.
const MAX_HINT: usize = 255;

/// Both tables loaded to their end.
const ALL_LOADED: u8 = 0b11;

/// Clients and top-ups by their keys.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    clients: DashMap<DirectoryKey, Client>,
    top_ups: DashMap<DirectoryKey, TopUp>,
    loaded: AtomicU8,
}

impl Directory {
    /// Whether both tables have been loaded to their end.
    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire) == ALL_LOADED
    }

    /// The client with this id, if the organization has it.
    pub(crate) fn client(&self, gateway: &Gateway, account: &str) -> Option<Client> {
        self.clients
            .get(&DirectoryKey::of_client(&gateway.organization, account))
            .map(|client| client.clone())
    }

    /// The top-up that InvoiceId names, if the gateway has it.
    pub(crate) fn top_up(&self, gateway: &Gateway, fields: &Fields<'_>) -> Option<(DirectoryKey, TopUp)> {
        let key = DirectoryKey::of_top_up(&gateway.id, fields.text(Field::InvoiceId)?);
        self.top_ups.get(&key).map(|top_up| (key, top_up.clone()))
    }

    /// Whether an InvoiceId or an AccountId of this gateway stands in the fields; a hint, not a proof.
    /// Asked of bodies that nobody has verified: names longer than any real one are not looked up.
    pub(crate) fn hints_at(&self, gateway: &Gateway, fields: &Fields<'_>) -> bool {
        let short = |field| fields.text(field).filter(|name| name.len() <= MAX_HINT);
        let knows_invoice = short(Field::InvoiceId).is_some() && self.top_up(gateway, fields).is_some();
        knows_invoice
            || short(Field::AccountId).is_some_and(|account| self.client(gateway, account).is_some())
    }

    /// Remembers that a top-up has been paid.
    pub(crate) fn mark_paid(&self, key: DirectoryKey) {
        if let Some(mut top_up) = self.top_ups.get_mut(&key) {
            top_up.paid = true;
        }
    }

    /// How many clients and top-ups there are.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.clients.len(), self.top_ups.len())
    }

    fn finish_loading(&self, table: TableName) {
        self.loaded.fetch_or(loaded_bit(table), Ordering::AcqRel);
    }

    /// Takes an entry of a table; `false` if it is not one of this version, and was left out.
    fn take(&self, table: TableName, entry: &Entry) -> bool {
        let Some(key) = DirectoryKey::from_bytes(&entry.key) else { return false };
        match (table, &entry.value) {
            (TableName::Clients, Some(value)) => {
                decode(value).map(|client| self.clients.insert(key, client)).is_ok()
            }
            (TableName::TopUps, Some(value)) => {
                decode(value).map(|top_up| self.top_ups.insert(key, top_up)).is_ok()
            }
            (TableName::Clients, None) => {
                self.clients.remove(&key);
                true
            }
            (TableName::TopUps, None) => {
                self.top_ups.remove(&key);
                true
            }
            (TableName::Lanes | TableName::Control | TableName::Payments, _) => false,
        }
    }
}

const fn loaded_bit(table: TableName) -> u8 {
    match table {
        TableName::Clients => 0b01,
        TableName::TopUps => 0b10,
        TableName::Lanes | TableName::Control | TableName::Payments => 0,
    }
}
