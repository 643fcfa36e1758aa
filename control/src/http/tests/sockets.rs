//! What is said over a socket: who asks, what is answered, and what is refused.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::client::{Client, Heard, LEGACY, MODERN};
use super::stage::Stage;

const NEW: Duration = Duration::ZERO;

fn code(error: &Value) -> &str {
    assert!(error.pointer("/extensions/timestamp").is_some_and(Value::is_string), "{error}");
    assert!(error.pointer("/message").is_some_and(Value::is_string), "{error}");
    error.pointer("/extensions/code").and_then(Value::as_str).unwrap_or_else(|| panic!("no code in {error}"))
}

/// The only error of a refusal, in either protocol.
fn refused(word: &Value, id: &str) -> Value {
    assert_eq!((&word["type"], &word["id"]), (&json!("error"), &json!(id)), "{word}");
    match &word["payload"] {
        Value::Array(errors) => match errors.as_slice() {
            [error] => error.clone(),
            _ => panic!("one error in {word}"),
        },
        error => error.clone(),
    }
}

async fn stage_and_client(protocol: &'static str) -> (Stage, Client) {
    let stage = Stage::new().await;
    let client = Client::welcome(&stage, protocol, &stage.token("user_1", NEW)).await;
    (stage, client)
}

#[tokio::test]
async fn answers_come_until_there_are_no_more() {
    for (protocol, word) in [(MODERN, "next"), (LEGACY, "data")] {
        let (_stage, mut client) = stage_and_client(protocol).await;
        client.subscribe("a", "subscription Numbers { count(to: 200) }").await;
        for number in 1..=200 {
            let payload = json!({ "data": { "count": number } });
            assert_eq!(client.word().await, json!({ "type": word, "id": "a", "payload": payload }));
        }
        assert_eq!(client.word().await, json!({ "type": "complete", "id": "a" }));
        // The id is free again, and the socket as good as new.
        client.subscribe("a", "subscription { caller }").await;
        let payload = json!({ "data": { "caller": "user_1" } });
        assert_eq!(client.word().await, json!({ "type": word, "id": "a", "payload": payload }));
        assert_eq!(client.word().await, json!({ "type": "complete", "id": "a" }));
    }
}

#[tokio::test]
async fn what_is_stopped_is_dropped() {
    let (stage, mut client) = stage_and_client(MODERN).await;
    client.subscribe("a", "subscription { silence }").await;
    client.say(&json!({ "type": "complete", "id": "a" })).await;
    stage.left().await;
    client.is_open_and_quiet().await;

    let (stage, mut client) = stage_and_client(LEGACY).await;
    client.subscribe("a", "subscription { silence }").await;
    client.say(&json!({ "type": "stop", "id": "a" })).await;
    assert_eq!(client.word().await, json!({ "type": "complete", "id": "a" }));
    stage.left().await;
    client.say(&json!({ "type": "connection_terminate" })).await;
    assert_eq!(client.hear().await.closed().0, 1000);
}

#[tokio::test]
async fn what_runs_ends_with_its_client() {
    let (stage, mut client) = stage_and_client(MODERN).await;
    client.subscribe("a", "subscription { silence }").await;
    client.is_open_and_quiet().await;
    drop(client);
    stage.left().await;
}

#[tokio::test]
async fn who_asks_is_known_by_connection_init_or_else_by_the_upgrade() {
    let stage = Stage::new().await;
    let (one, other) = (stage.token("user_1", NEW), stage.token("user_2", NEW));
    let bearer = |token: &str| json!(format!("Bearer {token}"));
    for (shown, payload, expected) in [
        (Some(&one), None, "user_1"),
        (Some(&one), Some(json!({})), "user_1"),
        (Some(&one), Some(Value::Null), "user_1"),
        (Some(&one), Some(json!({ "authToken": bearer(&other), "Authorization": null })), "user_1"),
        (Some(&one), Some(json!({ "Authorization": bearer(&other) })), "user_2"),
        (None, Some(json!({ "authorization": bearer(&other) })), "user_2"),
        (None, Some(json!({ "AUTHORIZATION": bearer(&one) })), "user_1"),
    ] {
        let mut client = Client::open(&stage, MODERN, shown.map(String::as_str)).await;
        client.say(&json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(client.word().await, json!({ "type": "connection_ack" }), "{payload:?}");
        client.subscribe("a", "subscription { caller }").await;
        assert_eq!(client.word().await["payload"]["data"]["caller"], json!(expected), "{payload:?}");
    }
}

#[tokio::test]
async fn who_is_not_known_is_closed() {
    let stage = Stage::new().await;
    let good = stage.token("user_1", NEW);
    let old = stage.token("user_1", Duration::from_secs(3600));
    let forged = format!("{good}x");
    for (shown, said, code, reason) in [
        (None, None, "UNAUTHENTICATED", "a token is needed: Authorization: Bearer ..."),
        (Some(&old), None, "TOKEN_EXPIRED", "Token is expired"),
        (Some(&forged), None, "TOKEN_INVALID", "Token is invalid: "),
        (Some(&good), Some(json!(format!("Bearer {old}"))), "TOKEN_EXPIRED", "Token is expired"),
        (Some(&good), Some(json!(good)), "TOKEN_INVALID", "Token is invalid: "),
        (Some(&good), Some(json!(7)), "TOKEN_INVALID", "Token is invalid: "),
        (None, Some(json!(format!("Bearer {forged}"))), "TOKEN_INVALID", "Token is invalid: "),
    ] {
        let init = match &said {
            Some(said) => json!({ "type": "connection_init", "payload": { "Authorization": said } }),
            None => json!({ "type": "connection_init" }),
        };
        let mut modern = Client::open(&stage, MODERN, shown.map(String::as_str)).await;
        modern.say(&init).await;
        let closed = modern.hear().await.closed();
        assert!(closed.0 == 4401 && closed.1.starts_with(reason), "{closed:?} for {said:?}");

        let mut legacy = Client::open(&stage, LEGACY, shown.map(String::as_str)).await;
        legacy.say(&init).await;
        let word = legacy.word().await;
        assert_eq!(word["type"], json!("connection_error"), "{word}");
        assert_eq!(self::code(&word["payload"]), code);
        assert_eq!(legacy.hear().await.closed().0, 4401);
    }
    let good = stage.ask(Some(&good), "{ subject }").await;
    assert_eq!(good.number("x-ratelimit-limit"), 100, "bad tokens have not cost a good one its place");
}

#[tokio::test]
async fn what_a_resolver_says_goes_to_its_subscription() {
    for protocol in [MODERN, LEGACY] {
        let (_stage, mut client) = stage_and_client(protocol).await;
        client.subscribe("a", "subscription { fails }").await;
        assert_eq!(client.word().await["payload"], json!({ "data": { "fails": 1 } }));
        let word = client.word().await;
        assert_eq!(code(&word["payload"]["errors"][0]), "NOT_FOUND");
        assert_eq!(word["payload"]["errors"][0]["path"], json!(["fails"]));
        assert_eq!(client.word().await, json!({ "type": "complete", "id": "a" }));
        client.subscribe("b", "subscription { refused }").await;
        let word = client.word().await;
        assert_eq!((&word["id"], code(&word["payload"]["errors"][0])), (&json!("b"), "FORBIDDEN"));
        assert_eq!(client.word().await, json!({ "type": "complete", "id": "b" }));
    }
}

#[tokio::test]
async fn what_the_schema_does_not_know_or_allow_is_refused() {
    for protocol in [MODERN, LEGACY] {
        let (_stage, mut client) = stage_and_client(protocol).await;
        let deep = format!("subscription {}{}", "{ deeper ".repeat(6) + "{ missing }", " }".repeat(6));
        let many: String = (0..30).map(|number| format!("a{number}: missing ")).collect();
        let wide = format!("subscription {{ deeper {{ {many} }} }}");
        for query in ["subscription {", "subscription { colour }", "", &deep, &wide] {
            client.subscribe("a", query).await;
            assert_eq!(code(&refused(&client.word().await, "a")), "INVALID_INPUT", "{query}");
        }
        client.is_open_and_quiet().await;
    }
}

#[tokio::test]
async fn queries_and_mutations_are_not_answered_here() {
    for protocol in [MODERN, LEGACY] {
        let (_stage, mut client) = stage_and_client(protocol).await;
        for query in ["{ subject }", "query A { subject }", "mutation { neverEnds }", "{ __typename }"] {
            client.subscribe("a", query).await;
            let error = refused(&client.word().await, "a");
            assert_eq!(code(&error), "INVALID_INPUT");
            assert!(error["message"].as_str().is_some_and(|text| text.contains("POST /graphql")), "{error}");
        }
        client.is_open_and_quiet().await;
    }
}

#[tokio::test]
async fn over_the_limit_a_subscription_is_refused_and_the_socket_stays() {
    for protocol in [MODERN, LEGACY] {
        let stage = Stage::with(5, Duration::from_secs(30)).await;
        let token = stage.token("user_1", NEW);
        let mut client = Client::welcome(&stage, protocol, &token).await;
        client.subscribe("a", "subscription { silence }").await;
        client.subscribe("b", "subscription { x: silence y: silence z: silence w: silence }").await;
        let error = refused(&client.word().await, "b");
        assert_eq!(code(&error), "RATE_LIMITED");
        assert_eq!(error["message"], json!("more than 5 operations in 10 seconds"));
        assert!(error["extensions"]["retryAfter"].as_u64().is_some_and(|after| (1..=10).contains(&after)));
        client.is_open_and_quiet().await;
        // The upgrade, the one that runs, and the one that was refused.
        let told = stage.ask(Some(&token), "{ subject }").await;
        assert_eq!(told.number("x-ratelimit-remaining"), 1);
        client.subscribe("c", "subscription { silence }").await;
        client.subscribe("d", "subscription { silence }").await;
        assert_eq!(code(&refused(&client.word().await, "d")), "RATE_LIMITED");
    }
}

#[tokio::test]
async fn nothing_is_parsed_for_who_has_nothing_left() {
    let stage = Stage::with(5, Duration::from_secs(30)).await;
    let token = stage.token("user_1", NEW);
    let mut client = Client::welcome(&stage, MODERN, &token).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    for number in 0..4 {
        client.subscribe(&number.to_string(), "subscription { silence }").await;
    }
    client.subscribe("4", "{ a: subject b: subject c: subject d: subject }").await;
    let error = refused(&client.word().await, "4");
    assert_eq!(code(&error), "RATE_LIMITED");
    // There is room for one when the upgrade leaves the window; that there are four of them nobody knows.
    assert!(error["extensions"]["retryAfter"].as_u64().is_some_and(|after| after <= 9), "{error}");
}

#[tokio::test]
async fn who_is_refused_a_hundred_times_in_a_row_is_closed() {
    for (protocol, limit) in [(MODERN, 3), (LEGACY, 1_000)] {
        let stage = Stage::with(limit, Duration::from_secs(30)).await;
        let mut client = Client::welcome(&stage, protocol, &stage.token("user_1", NEW)).await;
        for _ in 0..60 {
            client.subscribe("a", "{ subject }").await;
            refused(&client.word().await, "a");
        }
        let mut left = 40;
        if protocol == LEGACY {
            client.subscribe("a", "subscription { caller }").await;
            assert_eq!(client.word().await["payload"]["data"]["caller"], json!("user_1"));
            assert_eq!(client.word().await["type"], json!("complete"));
            left = 100;
        }
        for _ in 0..left {
            client.subscribe("a", "{ subject }").await;
            refused(&client.word().await, "a");
        }
        let closed = client.hear().await.closed();
        assert_eq!(closed, (4429, "100 subscriptions in a row were refused".to_owned()));
    }
}

#[tokio::test]
async fn who_sends_more_than_a_thousand_messages_in_ten_seconds_is_closed() {
    let stage = Stage::new().await;
    let token = stage.token("user_1", NEW);
    for message in [
        Message::Ping(bytes::Bytes::new()),
        Message::Pong(bytes::Bytes::new()),
        Message::text(r#"{"type":"ping"}"#),
        Message::text(r#"{"type":"pong"}"#),
        Message::text(r#"{"type":"complete","id":"a"}"#),
    ] {
        for is_known in [false, true] {
            let (mut client, said) = if is_known {
                (Client::welcome(&stage, MODERN, &token).await, 1)
            } else {
                (Client::open(&stage, MODERN, None).await, 0)
            };
            for _ in said..999 {
                client.send(message.clone()).await;
            }
            client.is_open_and_quiet().await;
            client.send(message.clone()).await;
            let closed = client.end().await;
            assert_eq!(closed, (4429, "more than 1000 messages in 10 seconds".to_owned()), "{message:?}");
        }
    }
}

#[tokio::test]
async fn a_subscription_has_exactly_one_field_at_its_root() {
    for protocol in [MODERN, LEGACY] {
        let (_stage, mut client) = stage_and_client(protocol).await;
        for query in [
            "subscription { a: silence b: silence }",
            "subscription { count(to: 1) caller }",
            "subscription { ...F } fragment F on Events { silence }",
            "subscription { ... on Events { silence } }",
            "subscription { silence ...F } fragment F on Events { caller }",
            "subscription A { silence caller } subscription B { silence }",
        ] {
            client.subscribe("a", query).await;
            let error = refused(&client.word().await, "a");
            assert_eq!(code(&error), "INVALID_INPUT");
            assert!(error["message"].as_str().is_some_and(|text| text.contains("exactly one")), "{error}");
        }
        client.is_open_and_quiet().await;
    }
}

#[tokio::test]
async fn fields_in_fragments_are_paid_for_on_a_socket_too() {
    let stage = Stage::with(5, Duration::from_secs(30)).await;
    let mut client = Client::welcome(&stage, MODERN, &stage.token("user_1", NEW)).await;
    let fields: String = (0..5).map(|number| format!("a{number}: silence ")).collect();
    client.subscribe("a", &format!("subscription {{ ...F }} fragment F on Events {{ {fields} }}")).await;
    assert_eq!(code(&refused(&client.word().await, "a")), "RATE_LIMITED");
}

#[tokio::test]
async fn sixteen_subscriptions_run_on_a_socket() {
    for protocol in [MODERN, LEGACY] {
        let (_stage, mut client) = stage_and_client(protocol).await;
        for number in 0..16 {
            client.subscribe(&number.to_string(), "subscription { silence }").await;
        }
        client.is_open_and_quiet().await;
        client.subscribe("16", "subscription { silence }").await;
        assert_eq!(code(&refused(&client.word().await, "16")), "TOO_MANY_SUBSCRIPTIONS");
        client.say(&json!({ "type": "complete", "id": "3" })).await;
        client.subscribe("17", "subscription { caller }").await;
        let words = [client.word().await, client.word().await];
        assert!(words.iter().any(|word| word["payload"]["data"]["caller"] == json!("user_1")), "{words:?}");
    }
}

#[tokio::test]
async fn who_does_not_keep_to_the_protocol_is_closed() {
    let stage = Stage::new().await;
    let token = stage.token("user_1", NEW);
    let silence = r#"{"type":"subscribe","id":"a","payload":{"query":"subscription { silence }"}}"#;
    let texts = |texts: &[&str]| texts.iter().map(|text| Message::text(*text)).collect::<Vec<_>>();
    for (messages, expected) in [
        (texts(&[r#"{"type":"connection_init"}"#]), 4429),
        (texts(&[silence, silence]), 4409),
        (texts(&[r#"{"type":"subscribe","id":"a"}"#]), 4400),
        (texts(&[r#"{"type":"subscribe","id":"a","payload":{"query":["s3cret"]}}"#]), 4400),
        (texts(&[r#"{"type":"s3cret"}"#]), 4400),
        (texts(&["s3cret"]), 4400),
        (vec![Message::binary(&b"{\"type\":\"ping\"}"[..])], 4400),
    ] {
        let mut client = Client::welcome(&stage, MODERN, &token).await;
        for message in messages {
            client.send(message).await;
        }
        let (code, reason) = client.hear().await.closed();
        assert!(code == expected && !reason.contains("s3cret"), "{code} {reason}");
    }
    for protocol in [MODERN, LEGACY] {
        let mut uninvited = Client::open(&stage, protocol, Some(&token)).await;
        uninvited.subscribe("a", "subscription { silence }").await;
        assert_eq!(uninvited.hear().await.closed().0, 4401);
    }
}

#[tokio::test]
async fn a_later_subscription_takes_the_place_of_the_earlier_by_the_legacy_protocol() {
    let (stage, mut client) = stage_and_client(LEGACY).await;
    client.subscribe("a", "subscription { silence }").await;
    client.subscribe("a", "subscription { deeper { refused } }").await;
    stage.left().await;
    let Heard::Word(word) = client.hear().await else { panic!("closed") };
    assert_eq!(code(&word["payload"]["errors"][0]), "VALIDATION_ERROR", "{word}");
}
