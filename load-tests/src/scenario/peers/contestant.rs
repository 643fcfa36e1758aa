//! A sender in the scenario, hookline or a peer: how it is spoken to, what it uses, and how it is killed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::adapter::{Access, Adapter, Endpoint, Hookline};
use super::file::PeerEntry;
use super::processes::{cpu_of_trees, kill_trees};
use crate::connection::Connection;
use crate::scenario::fleet::Fleet;
use crate::simulator::Target;

/// For one answer while endpoints are registered.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// After registering: a sender may keep its endpoints in memory, and read them again.
const SETTLE: Duration = Duration::from_secs(3);

/// One that sends.
#[derive(Debug)]
pub(super) struct Contestant {
    pub(super) name: &'static str,
    pub(super) version: String,
    pub(super) adapter: Arc<dyn Adapter>,
    pub(super) address: SocketAddr,
    system: System,
}

#[derive(Debug)]
enum System {
    /// Started by the scenario, and ended by it.
    Hookline(Fleet),
    /// Somebody else's.
    Peer(PeerEntry),
}

impl Contestant {
    /// hookline, once it is ready.
    pub(super) async fn hookline(mut fleet: Fleet, target: Target) -> anyhow::Result<Self> {
        let address = *target.addresses.first().context("hookline has no edge")?;
        fleet.start(&["hookline"]).await?;
        Ok(Self {
            name: "hookline",
            version: env!("CARGO_PKG_VERSION").to_owned(),
            adapter: Arc::new(Hookline::at(target)),
            address,
            system: System::Hookline(fleet),
        })
    }

    /// A peer, with these endpoints registered.
    pub(super) async fn peer(entry: PeerEntry, endpoints: &[Endpoint], run: &str) -> anyhow::Result<Self> {
        let access = Access {
            address: entry.address,
            token: entry.token.clone(),
            project: entry.project.clone(),
            run: run.to_owned(),
        };
        let (name, address) = (entry.name(), entry.address);
        let adapter = entry.adapter.adapter(access);
        register(adapter.as_ref(), address, endpoints)
            .await
            .with_context(|| format!("{name} takes no endpoints"))?;
        tokio::time::sleep(SETTLE).await;
        Ok(Self { name, version: entry.version.clone(), adapter, address, system: System::Peer(entry) })
    }

    /// A peer whose business is to send webhooks.
    pub(super) fn is_service(&self) -> bool {
        matches!(&self.system, System::Peer(entry) if entry.adapter.is_service())
    }

    /// User and system time of all its processes, since each of them was started.
    pub(super) async fn cpu(&self) -> anyhow::Result<Duration> {
        match &self.system {
            System::Hookline(fleet) => Ok(fleet.usage()?.cpu),
            System::Peer(entry) => cpu_of_trees(&entry.process_ids().await?),
        }
    }

    /// `kill -9` of what sends; databases and brokers go on.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        match &mut self.system {
            System::Hookline(fleet) => fleet.kill("hookline").await,
            System::Peer(entry) => kill_trees(&entry.sender_ids().await?).await,
        }
    }

    /// Starts it again after that.
    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        match &mut self.system {
            System::Hookline(fleet) => fleet.start(&["hookline"]).await,
            System::Peer(entry) => entry.start().await,
        }
    }

    /// hookline is stopped, in order; a peer stays as it is. What was wrong with the end.
    pub(super) async fn stop(self) -> anyhow::Result<Vec<String>> {
        match self.system {
            System::Hookline(fleet) => fleet.stop_all().await,
            System::Peer(_) => Ok(Vec::new()),
        }
    }
}

async fn register(adapter: &dyn Adapter, address: SocketAddr, endpoints: &[Endpoint]) -> anyhow::Result<()> {
    let mut connection = Connection::to(address);
    for call in adapter.registration(endpoints)? {
        let mut next = Some(call);
        while let Some(call) = next {
            let path = call.uri().to_string();
            let answer = connection.send(call, ANSWER_WITHIN).await?;
            let said = String::from_utf8_lossy(answer.body());
            ensure!(answer.status().is_success(), "{path} answered {}: {said}", answer.status());
            // Some answer with nothing: then nothing can follow.
            let answer: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
            next = if answer.is_null() { None } else { adapter.follow_up(&answer)? };
        }
    }
    Ok(())
}
