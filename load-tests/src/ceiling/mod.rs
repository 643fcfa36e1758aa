//! What could be reached at best: programs that do the least of what hookline does, with the same crates, settings and
//! number of threads, each as a process of its own, so that the operating system counts its time as it counts
//! hookline's. `hookline-load-tests ceiling NAME` runs one; nobody but a scenario has a reason to.
//!
//! | ceiling | does | leaves out |
//! |---|---|---|
//! | `hyper` | reads the body, answers a constant | everything else |
//! | `hyper-hmac` | the same, and verifies the signature | routes, permits, fields, gateways, the log |
//! | `hyper-hmac-append` | the same, and has a record synced before it answers | index, check sums, retention, delivery |
//! | `append` | has records synced in a raw file, asked by tasks of its own | HTTP, too |
//! | `signing-client` | signs twice and posts, over raw hyper connections | events, plans, the log, time-outs |
//! | `kafka` | has records acknowledged by Kafka, by librdkafka's own producers, asked by tasks of its own | HTTP, admission |
//!
//! A server prints where it listens and answers until its stdin ends; the others print one line of JSON
//! ([`Measured`]) and end. So a ceiling never outlives who has started it.

mod append;
mod asking;
mod child;
mod kafka;
mod measured;
mod server;
pub mod signing_client;

use std::io::Read;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Subcommand;
use hookline_schemas::ids::GatewayId;
use hookline_schemas::secret::Secret;
use hookline_schemas::time::Clock;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::load::{EventRecord, Sender, records};
pub use asking::Asking;
pub use child::{Server, measure};
pub use measured::Measured;
pub(crate) use measured::percentile;
use server::{Work, answer_all};

/// Records that are appended in turn: as long as those of so many different payments.
const RECORDS: usize = 4096;

/// Which.
#[derive(Debug, Subcommand)]
pub enum Ceiling {
    /// Reads each body and answers a constant
    Hyper,
    /// And verifies the signature
    HyperHmac {
        /// The API secret
        #[arg(long)]
        secret: String,
    },
    /// And has a record synced before it answers
    HyperHmacAppend {
        /// The API secret
        #[arg(long)]
        secret: String,
        /// Where the file is made
        #[arg(long)]
        directory: PathBuf,
    },
    /// Appends records to a file, with one sync for all that wait
    Append {
        /// Where the file is made
        #[arg(long)]
        directory: PathBuf,
        /// How many ask, and for how long
        #[command(flatten)]
        asking: Asking,
    },
    /// Signs twice and posts
    SigningClient(signing_client::Options),
    /// Produces records to a topic of its own
    Kafka {
        /// Some brokers
        #[arg(long)]
        bootstrap_servers: String,
        /// How many ask, and for how long
        #[command(flatten)]
        asking: Asking,
    },
}

/// Runs it: a server until stdin ends, the others until they have measured.
///
/// # Errors
///
/// If it can't be run, or something was not acknowledged.
pub async fn run(ceiling: Ceiling) -> anyhow::Result<()> {
    let clock = Clock::start();
    match ceiling {
        Ceiling::Hyper => serve(Work::Read).await,
        Ceiling::HyperHmac { secret } => serve(Work::verify(&secret)).await,
        Ceiling::HyperHmacAppend { secret, directory } => {
            serve(Work::append(&secret, &directory, event_records()?)?).await
        }
        Ceiling::Append { directory, asking } => {
            tell(&append::measure(&directory, asking, event_records()?, clock).await?)
        }
        Ceiling::SigningClient(options) => signing_client::run(options).await,
        Ceiling::Kafka { bootstrap_servers, asking } => {
            tell(&kafka::measure(&bootstrap_servers, asking, event_records()?, clock).await?)
        }
    }
}

#[expect(clippy::print_stdout, reason = "whoever has started it reads this")]
async fn serve(work: Work) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?);
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    // Blocks for as long as the process lives, which no thread of the runtime should.
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        stopping.cancel();
    })?;
    answer_all(listener, work, stop).await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "whoever has started it reads this")]
fn tell(measured: &Measured) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(measured)?);
    Ok(())
}

/// Those that hookline makes of the Pays that it is asked.
fn event_records() -> anyhow::Result<Arc<[EventRecord]>> {
    let sender = Sender {
        gateway_id: GatewayId::new("gw_demo"),
        public_id: "pk_demo".to_owned(),
        api_secret: Secret::new(""),
    };
    records(&sender, RECORDS)
}
