//! The subscription to attempts.

use async_graphql::Request;
use futures::{FutureExt, Stream, StreamExt};

use super::*;
use crate::identity::Identified;
use crate::tests::matrix::seeded;

/// What a caller is told, as it comes.
fn listen(rig: &Rig, caller: Caller, arguments: &str) -> impl Stream<Item = async_graphql::Response> + Unpin {
    let query = format!("subscription {{ webhookAttempted{arguments} {{ webhookId eventId answer }} }}");
    Box::pin(rig.schema.execute_stream(Request::new(query).data(Identified(Ok(caller)))))
}

async fn told(stream: &mut (impl Stream<Item = async_graphql::Response> + Unpin)) -> String {
    let next = tokio::time::timeout(std::time::Duration::from_secs(30), stream.next()).await;
    let attempt = data(next.expect("told in time").expect("it goes on"))["webhookAttempted"].clone();
    format!(
        "{} {}",
        attempt["webhookId"].as_str().expect("an id"),
        attempt["eventId"].as_str().expect("an id")
    )
}

#[tokio::test]
async fn everybody_is_told_of_attempts_at_his_webhooks_as_they_are_then() {
    let rig = seeded().await;
    let foreign = rig.foreign_webhook().await;
    let club: Option<&[&str]> = Some(&["club_2"]);
    let mut all = listen(&rig, caller("OWNER", "org_1", None), "");
    let mut one = listen(&rig, caller("MANAGER", "org_1", None), r#"(webhookId: "wh_2")"#);
    let mut confined = listen(&rig, caller("OWNER", "org_1", club), "");
    let mut other = listen(&rig, caller("OWNER", "org_2", None), "");
    // Each listens from its first poll on.
    for stream in [&mut one, &mut confined, &mut other] {
        assert!(stream.next().now_or_never().is_none());
    }
    assert!(all.next().now_or_never().is_none());
    for (webhook, event) in
        [("wh_1", "evt_1"), (foreign.as_str(), "evt_2"), ("wh_gone", "evt_3"), ("wh_2", "evt_4")]
    {
        rig.attempted(webhook, event, 1, DELIVERED).await;
    }
    assert_eq!(told(&mut all).await, "wh_1 evt_1");
    rig.owner(r#"mutation { deleteWebhook(id: "wh_1") }"#).await;
    rig.attempted("wh_1", "evt_5", 2, DELIVERED).await;
    rig.attempted("wh_2", "evt_6", 3, failed(500)).await;
    for stream in [&mut all, &mut one, &mut confined] {
        assert_eq!(told(stream).await, "wh_2 evt_4");
    }
    assert_eq!(told(&mut other).await, format!("{foreign} evt_2"));
    assert_eq!(told(&mut one).await, "wh_2 evt_6");
    assert_eq!(told(&mut all).await, "wh_2 evt_6", "the webhook of evt_5 has been deleted");
}

#[tokio::test]
async fn who_may_not_see_a_webhook_does_not_listen_to_it() {
    let rig = seeded().await;
    let club: Option<&[&str]> = Some(&["club_2"]);
    for (caller, webhook, code) in [
        (caller("OWNER", "org_2", None), "wh_1", "NOT_FOUND"),
        (caller("OWNER", "org_1", None), "wh_x", "NOT_FOUND"),
        (caller("OWNER", "org_1", club), "wh_1", "CLUB_ACCESS_DENIED"),
        (caller("OWNER", "org_1", club), "wh_all", "FORBIDDEN"),
        (caller("PLATFORM", "", None), "wh_1", "FORBIDDEN"),
    ] {
        let arguments = format!(r#"(webhookId: "{webhook}")"#);
        let mut stream = listen(&rig, caller, &arguments);
        let refused = stream.next().await.expect("an answer");
        assert_eq!(error(&refused).map(|error| error.code()), Some(code), "{webhook}");
        assert!(stream.next().await.is_none(), "it has ended");
    }
}

#[tokio::test]
async fn who_listens_too_slowly_is_told_so_without_a_number_and_goes_on() {
    let rig = seeded().await;
    let mut slow = listen(&rig, caller("OWNER", "org_1", None), "");
    assert!(slow.next().now_or_never().is_none());
    let last = 1_030;
    let mut appended = Vec::new();
    for number in 1..=last {
        let record = AttemptRecord {
            webhook: WebhookId::new("wh_1"),
            event: EventId::new(format!("evt_{number}")),
            number: 1,
            started_at: Timestamp(number),
            duration_ms: 3,
            outcome: DELIVERED,
            answer: None,
        };
        let journal = rig.log.journal(JournalName::Attempts);
        let partition = partition_of(b"wh_1", journal.partitions());
        let appending = journal.append(partition, Bytes::from_static(b"wh_1"), encode(&record).into());
        appended.push(appending.await.expect("accepted"));
    }
    until(async || rig.api().attempts.loaded() == usize::try_from(last).ok()).await;
    let missed = slow.next().await.expect("an answer");
    let missed = error(&missed).expect("an error");
    assert_eq!(missed.code(), "EVENTS_MISSED");
    let tells_how_much = missed.to_string().contains(|letter: char| letter.is_ascii_digit());
    assert!(!tells_how_much, "how much others do is theirs: {missed}");
    assert_eq!(told(&mut slow).await, "wh_1 evt_7");
    assert_eq!(told(&mut slow).await, "wh_1 evt_8");
}
