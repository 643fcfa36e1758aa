//! The active control is killed while it is written to: what it answered is there, nothing is half-written, and the
//! one that stood by takes its place.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::future::join_all;
use hookline_schemas::time::Clock;
use serde_json::{Value, json};

use super::Scene;
use crate::graphql::GraphQl;
use crate::report::{Report, rounded};
use crate::scenario::fleet::Fleet;
use crate::serve::locked;

/// Who write at once.
const WRITERS: u16 = 4;
/// So many webhooks are there before the kill; an organization may have a hundred.
const ANSWERED_BEFORE: usize = 12;
/// Until a control is active: the group gives a member up that was killed after its session.
const ACTIVE_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

const CREATE: &str =
    "mutation($input: CreateWebhookInput!) { createWebhook(input: $input) { id url secret } }";
const LIST: &str = "{ webhooks { id url events isActive createdAt } }";

/// What came of it.
pub(super) struct Succession {
    answered: usize,
    lost: Vec<String>,
    /// That nobody was told of: at most one for each writer.
    unanswered: usize,
    /// From the kill until the other one was active.
    gap: Duration,
}

impl Succession {
    pub(super) fn report(&self, report: &mut Report) {
        report.figure("changes_before_the_kill", self.answered);
        report.figure("active_again_after_s", rounded(self.gap.as_secs_f64()));
        report.require(self.answered >= ANSWERED_BEFORE, || {
            format!("only {} changes were made", self.answered)
        });
        report.require(self.lost.is_empty(), || format!("{:?} were answered and are not there", self.lost));
        report.require(self.unanswered <= usize::from(WRITERS), || {
            format!("{} webhooks are there that nobody asked for", self.unanswered)
        });
    }
}

/// The one of these that takes changes.
pub(super) async fn active<'a>(
    clock: Clock,
    clients: &'a [(&'a str, GraphQl)],
) -> anyhow::Result<(&'a str, &'a GraphQl)> {
    let deadline = clock.elapsed() + ACTIVE_WITHIN;
    while clock.elapsed() < deadline {
        for (name, client) in clients {
            if client.ask(LIST, &Value::Null).await.is_ok_and(|answer| answer.is_good()) {
                return Ok((name, client));
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    bail!("no control was active within {ACTIVE_WITHIN:?}")
}

/// With the secrets that were handed out.
pub(super) async fn measure<'a>(
    scene: &Scene<'_>,
    fleet: &mut Fleet,
    (name, client): (&str, &GraphQl),
    standing_by: impl Iterator<Item = &'a GraphQl>,
) -> anyhow::Result<(Succession, Vec<String>)> {
    let clock = scene.bench.clock;
    let before = urls(client).await?;
    let answered: Mutex<BTreeMap<String, String>> = Mutex::default();
    let writing = join_all((0..WRITERS).map(|writer| write(client, writer, &answered)));
    let killing = async {
        while locked(&answered).len() < ANSWERED_BEFORE {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        fleet.kill(name).await
    };
    let (_, killed) = tokio::join!(writing, killing);
    killed?;
    let killed_at = clock.elapsed();
    let others: Vec<_> = standing_by.map(|client| ("the other", client.clone())).collect();
    let (_, other) = active(clock, &others).await?;
    let gap = clock.elapsed().saturating_sub(killed_at);
    let after = urls(other).await?;
    let answered = locked(&answered).clone();
    let lost = answered.keys().filter(|url| !after.contains(url)).cloned().collect();
    let unanswered = after.len().saturating_sub(before.len() + answered.len());
    Ok((Succession { answered: answered.len(), lost, unanswered, gap }, answered.into_values().collect()))
}

/// Registers one after the other until there is nobody to answer.
async fn write(client: &GraphQl, writer: u16, answered: &Mutex<BTreeMap<String, String>>) {
    for number in 0_u32.. {
        let url = format!("https://example.com/{writer}/{number}");
        let input = json!({ "url": url, "events": ["PAYMENT_RECEIVED"] });
        let Ok(answer) = client.ask(CREATE, &json!({ "input": input })).await else { return };
        let Some(secret) = answer.data("/createWebhook/secret").as_str() else { return };
        locked(answered).insert(url, secret.to_owned());
    }
}

async fn urls(client: &GraphQl) -> anyhow::Result<Vec<String>> {
    let answer = client.ask(LIST, &Value::Null).await?;
    ensure!(answer.is_good(), "{answer:?}");
    let webhooks = answer.data("/webhooks").as_array().context("no list")?;
    let url = |webhook: &Value| Some(webhook.get("url")?.as_str()?.to_owned());
    Ok(webhooks.iter().filter_map(url).collect())
}
