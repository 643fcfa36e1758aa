//! The edge: takes CloudPayments' notifications over HTTP and answers them.
//!
//! `admit → read → verify →` Check: answer from memory · anything else: append, and answer `{"code":0}` once
//! it is durable (`accept.rs` shows the path as plain calls). The edge owns no state that a restart would
//! miss: everything it knows it loads from the log's tables, and everything it accepts is in the log before
//! the answer leaves. It does not deliver anything.

mod accept;
mod admission;
mod answer;
mod append;
mod body;
mod check;
mod directory;
mod gateway_metrics;
mod gateways;
mod metrics;
mod patience;
mod quarantine;
mod route;
mod server;
mod settings;
mod source;
mod tls;
mod verify;

pub use directory::{DirectoryChanges, DirectoryFileError, load_directory_file};
pub use gateways::{GatewayConflict, Gateways};
pub use metrics::METRICS;
pub use server::{Ingest, StartError};
pub use settings::{Settings, TlsSettings};
pub use tls::{Tls, TlsError};
