//! Who gets a socket and who does not, and for how long it lasts.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::client::{Client, LEGACY, MODERN};
use super::stage::{SOON, Stage, Told};
use crate::http::sockets::Limits;

const NEW: Duration = Duration::ZERO;
const TIMEOUT: Duration = Duration::from_secs(30);

/// An upgrade as it should be, with these headers in place of its own; an empty value takes one away.
fn upgrade(stage: &Stage, changes: &[(HeaderName, &'static str)]) -> Request<Full<bytes::Bytes>> {
    let mut request = stage.request(None, "");
    *request.method_mut() = Method::GET;
    let own = [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
        (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        (header::SEC_WEBSOCKET_PROTOCOL, MODERN),
        (header::CONTENT_TYPE, ""),
    ];
    for (name, value) in own.iter().chain(changes) {
        match *value {
            "" => drop(request.headers_mut().remove(name)),
            value => drop(request.headers_mut().insert(name, HeaderValue::from_static(value))),
        }
    }
    request
}

fn refusal(told: &Told) -> (StatusCode, &str) {
    assert_eq!(told.body.get("data"), Some(&Value::Null), "{told:?}");
    assert!(told.number("x-ratelimit-limit") > 0, "{told:?}");
    (told.status, told.code())
}

#[tokio::test]
async fn an_upgrade_to_anything_else_is_refused() {
    let stage = Stage::new().await;
    for (change, status) in [
        ((header::SEC_WEBSOCKET_PROTOCOL, ""), StatusCode::BAD_REQUEST),
        ((header::SEC_WEBSOCKET_PROTOCOL, "mqtt"), StatusCode::BAD_REQUEST),
        ((header::SEC_WEBSOCKET_PROTOCOL, "graphql-ws2, Graphql-WS"), StatusCode::BAD_REQUEST),
        ((header::SEC_WEBSOCKET_VERSION, "8"), StatusCode::BAD_REQUEST),
        ((header::SEC_WEBSOCKET_KEY, ""), StatusCode::BAD_REQUEST),
        ((header::UPGRADE, "h2c"), StatusCode::METHOD_NOT_ALLOWED),
        ((header::UPGRADE, ""), StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let told = stage.send(upgrade(&stage, std::slice::from_ref(&change))).await;
        assert_eq!(refusal(&told), (status, "INVALID_INPUT"), "{change:?}");
    }
    let mut elsewhere = upgrade(&stage, &[]);
    *elsewhere.uri_mut() = format!("http://{}/subscriptions", stage.address).parse().expect("a URL");
    assert_eq!(refusal(&stage.send(elsewhere).await), (StatusCode::NOT_FOUND, "NOT_FOUND"));
    let mut posted = upgrade(&stage, &[]);
    *posted.method_mut() = Method::POST;
    let told = stage.send(posted).await;
    assert_eq!(refusal(&told), (StatusCode::UNSUPPORTED_MEDIA_TYPE, "INVALID_INPUT"));
}

#[tokio::test]
async fn the_modern_protocol_is_preferred() {
    let stage = Stage::new().await;
    let client = Client::try_open(&stage, "graphql-ws, graphql-transport-ws", None).await;
    assert_eq!(client.expect("a socket").protocol, MODERN);
}

#[tokio::test]
async fn only_the_active_one_opens_sockets_and_one_that_is_not_any_more_closes_them() {
    let stage = Stage::new().await;
    let token = stage.token("user_1", NEW);
    let mut modern = Client::welcome(&stage, MODERN, &token).await;
    modern.subscribe("1", "subscription { silence }").await;
    let mut legacy = Client::open(&stage, LEGACY, None).await;
    stage.is_ready(false);
    for client in [&mut modern, &mut legacy] {
        let (code, reason) = client.hear().await.closed();
        assert_eq!((code, reason.contains("restart")), (1012, true), "{reason}");
    }
    let told = stage.send(upgrade(&stage, &[])).await;
    assert_eq!(refusal(&told), (StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE"));
    stage.is_ready(true);
    Client::welcome(&stage, MODERN, &token).await.is_open_and_quiet().await;
}

#[tokio::test]
async fn an_upgrade_costs_its_token_one() {
    let stage = Stage::with(3, TIMEOUT).await;
    let token = stage.token("user_1", NEW);
    let remaining = |client: &Client| client.headers.get("x-ratelimit-remaining").cloned().expect("a number");
    stage.ask(Some(&token), "{ subject }").await;
    assert_eq!(remaining(&Client::welcome(&stage, MODERN, &token).await), "1");
    assert_eq!(remaining(&Client::welcome(&stage, LEGACY, &token).await), "0");
    let mut request = upgrade(&stage, &[]);
    let bearer = format!("Bearer {token}").parse().expect("a header");
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    let told = stage.send(request).await;
    assert_eq!(refusal(&told), (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"));
    assert!((1..=10).contains(&told.number("retry-after")), "{told:?}");
    // Where the upgrade shows no token, connection_init's is charged.
    let mut client = Client::open(&stage, MODERN, None).await;
    let payload = json!({ "Authorization": format!("Bearer {token}") });
    client.say(&json!({ "type": "connection_init", "payload": payload })).await;
    let (code, reason) = client.hear().await.closed();
    assert_eq!((code, reason.as_str()), (4429, "more than 3 operations in 10 seconds"));
    let new = stage.token("user_2", NEW);
    assert_eq!(remaining(&Client::open(&stage, MODERN, Some(&new)).await), "2", "it is verified at once");
}

#[tokio::test]
async fn who_posts_without_a_token_keeps_no_browser_out() {
    let stage = Stage::with(2, TIMEOUT).await;
    let token = stage.token("user_1", NEW);
    while stage.ask(None, "{ __typename }").await.status == StatusCode::OK {}
    for protocol in [MODERN, LEGACY] {
        let mut browser = Client::open(&stage, protocol, None).await;
        assert_eq!(browser.headers.get("x-ratelimit-cost"), Some(&HeaderValue::from_static("0")));
        let payload = json!({ "Authorization": format!("Bearer {token}") });
        browser.say(&json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(browser.word().await, json!({ "type": "connection_ack" }));
    }
    // The price of its signature is the token's own.
    let told = stage.ask(Some(&token), "{ subject }").await;
    assert_eq!(told.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn strangers_take_no_place_of_who_is_known() {
    let limits = Limits { sockets: 1, sockets_of_strangers: 2, ..Limits::NORMAL };
    let stage = Stage::with_sockets(100, TIMEOUT, limits).await;
    let (token, other) = (stage.token("user_1", NEW), stage.token("user_2", NEW));
    let mut modern = Client::open(&stage, MODERN, None).await;
    let mut legacy = Client::open(&stage, LEGACY, Some("no.such.token")).await;
    for token in [None, Some("no.such.token")] {
        let mut request = upgrade(&stage, &[]);
        if let Some(token) = token {
            let bearer = format!("Bearer {token}").parse().expect("a header");
            request.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
        let told = stage.send(request).await;
        assert_eq!(refusal(&told), (StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE"), "{token:?}");
        assert_eq!(told.number("retry-after"), 1);
    }
    let known = Client::welcome(&stage, MODERN, &token).await;
    // Who is known now needs a place of those that are taken.
    let payload = json!({ "Authorization": format!("Bearer {other}") });
    for client in [&mut modern, &mut legacy] {
        client.say(&json!({ "type": "connection_init", "payload": payload })).await;
        if client.protocol == LEGACY {
            let error = client.word().await;
            let code = error.pointer("/payload/extensions/code");
            assert_eq!(code, Some(&json!("SERVICE_UNAVAILABLE")), "{error}");
        }
        let closed = client.hear().await.closed();
        assert_eq!(closed, (1013, "there are too many sockets: try again".to_owned()));
    }
    known.close().await;
    drop((modern, legacy));
    let again = async {
        while Client::try_open(&stage, MODERN, Some(&other)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, again).await.expect("no place is free");
}

#[tokio::test]
async fn a_token_has_only_so_many_sockets_wherever_it_is_shown() {
    let limits = Limits { sockets_of_a_token: 1, ..Limits::NORMAL };
    let stage = Stage::with_sockets(100, TIMEOUT, limits).await;
    let token = stage.token("user_1", NEW);
    let _first = Client::welcome(&stage, MODERN, &token).await;
    let mut hidden = Client::open(&stage, MODERN, None).await;
    let payload = json!({ "Authorization": format!("Bearer {token}") });
    hidden.say(&json!({ "type": "connection_init", "payload": payload })).await;
    let (code, reason) = hidden.hear().await.closed();
    assert_eq!((code, reason.as_str()), (4429, "this token has too many sockets"));
}

#[tokio::test]
async fn who_is_known_gives_a_strangers_place_back() {
    let limits = Limits { sockets_of_strangers: 1, ..Limits::NORMAL };
    let stage = Stage::with_sockets(100, TIMEOUT, limits).await;
    let payload = json!({ "Authorization": format!("Bearer {}", stage.token("user_1", NEW)) });
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::open(&stage, MODERN, None).await;
        client.say(&json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(client.word().await, json!({ "type": "connection_ack" }));
        clients.push(client);
    }
    for client in &mut clients {
        client.is_open_and_quiet().await;
    }
}

#[tokio::test]
async fn there_are_only_so_many_sockets() {
    let limits = Limits { sockets: 3, sockets_of_a_token: 2, ..Limits::NORMAL };
    let stage = Stage::with_sockets(100, TIMEOUT, limits).await;
    let (token, other) = (stage.token("user_1", NEW), stage.token("user_2", NEW));
    let first = Client::welcome(&stage, MODERN, &token).await;
    let _second = Client::welcome(&stage, LEGACY, &token).await;
    let with = |token: &str| {
        let mut request = upgrade(&stage, &[]);
        let bearer = format!("Bearer {token}").parse().expect("a header");
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        request
    };
    let told = stage.send(with(&token)).await;
    assert_eq!(refusal(&told), (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"));
    assert_eq!(told.number("retry-after"), 1);
    let _third = Client::welcome(&stage, MODERN, &other).await;
    let told = stage.send(with(&other)).await;
    assert_eq!(refusal(&told), (StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE"));
    // The server gives a place back after its goodbye was answered.
    first.close().await;
    let again = async {
        while Client::try_open(&stage, MODERN, Some(&other)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, again).await.expect("no place is free");
}

#[tokio::test]
async fn the_limits_are_as_they_are_told() {
    let Limits { sockets, sockets_of_strangers, sockets_of_a_token, .. } = Limits::NORMAL;
    assert_eq!((sockets, sockets_of_strangers, sockets_of_a_token), (1_000, 200, 32));
    let Limits { greeting, ping, silence, goodbye, readiness, .. } = Limits::NORMAL;
    let seconds = [greeting, ping, silence, goodbye, readiness].map(|time| time.as_secs());
    assert_eq!(seconds, [10, 30, 60, 1, 1]);
}

#[tokio::test]
async fn who_does_not_say_who_he_is_is_closed() {
    let limits = Limits { greeting: Duration::from_millis(300), ..Limits::NORMAL };
    let stage = Stage::with_sockets(100, TIMEOUT, limits).await;
    let token = stage.token("user_1", NEW);
    for protocol in [MODERN, LEGACY] {
        let mut client = Client::open(&stage, protocol, Some(&token)).await;
        assert_eq!(client.hear().await.closed().0, 4408, "{protocol}");
    }
    let mut client = Client::welcome(&stage, MODERN, &token).await;
    tokio::time::sleep(limits.greeting * 2).await;
    client.is_open_and_quiet().await;
}

#[tokio::test]
async fn who_gives_no_sign_of_life_is_closed_and_who_does_is_not() {
    let (ping, silence) = (Duration::from_millis(200), Duration::from_secs(2));
    let limits = Limits { ping, silence, goodbye: SOON, ..Limits::NORMAL };
    let stage = Stage::with_sockets(100, TIMEOUT, limits).await;
    let token = stage.token("user_1", NEW);
    let mut alive = Client::welcome(&stage, MODERN, &token).await;
    let silent = async {
        // Later than the other, who would be the first to be closed if it did not matter that he answers.
        tokio::time::sleep(silence / 2).await;
        let mut silent = Client::welcome(&stage, MODERN, &token).await;
        silent.subscribe("1", "subscription { silence }").await;
        stage.left().await;
        assert_eq!(silent.hear().await.closed().0, 3008);
    };
    // To read is to answer pings.
    tokio::select! {
        heard = alive.hear() => panic!("{heard:?}"),
        () = silent => {}
    }
    alive.is_open_and_quiet().await;
}

#[tokio::test]
async fn a_socket_ends_with_its_token() {
    let stage = Stage::new().await;
    // The clocks may be 30 seconds apart, so this one is good for a second or two.
    let token = stage.token("user_1", Duration::from_secs(900 + 28));
    let mut client = Client::welcome(&stage, MODERN, &token).await;
    client.subscribe("1", "subscription { silence }").await;
    assert_eq!(client.hear().await.closed(), (4401, "Token is expired".to_owned()));
}

#[tokio::test]
async fn all_hear_that_the_process_ends_and_nobody_keeps_it_from_that() {
    let limits = Limits { goodbye: Duration::from_millis(500), ..Limits::NORMAL };
    let stage = Stage::with_sockets(100, TIMEOUT, limits).await;
    let token = stage.token("user_1", NEW);
    let mut modern = Client::welcome(&stage, MODERN, &token).await;
    let mut legacy = Client::open(&stage, LEGACY, None).await;
    // Does not read, and so does not answer the goodbye.
    let mut deaf = Client::welcome(&stage, MODERN, &token).await;
    deaf.subscribe("1", "subscription { silence }").await;
    stage.shutdown.cancel();
    for client in [&mut modern, &mut legacy] {
        assert_eq!(client.hear().await.closed(), (1001, "going away".to_owned()));
    }
    stage.ended().await;
    assert_eq!(deaf.end().await.0, 1001);
}

#[tokio::test]
async fn who_does_not_read_is_closed_and_hears_why() {
    let limits = Limits { goodbye: SOON, ..Limits::NORMAL };
    let stage = Stage::with_sockets(100, TIMEOUT, limits).await;
    let mut slow = Client::welcome(&stage, MODERN, &stage.token("user_1", NEW)).await;
    slow.subscribe("1", "subscription { flood }").await;
    stage.left().await;
    let (code, reason) = slow.end().await;
    assert_eq!((code, reason.as_str()), (4430, "too slow: 64 messages wait to be read"));
}

#[tokio::test]
async fn a_message_may_have_64_kib() {
    let stage = Stage::new().await;
    let padded = |length: usize| {
        let ping = r#"{"type":"ping"}"#;
        Message::text(format!("{}{ping}", " ".repeat(length - ping.len())))
    };
    let mut client = Client::welcome(&stage, MODERN, &stage.token("user_1", NEW)).await;
    client.send(padded(64 * 1024)).await;
    assert_eq!(client.word().await, json!({ "type": "pong" }));
    client.send(padded(64 * 1024 + 1)).await;
    assert_eq!(client.hear().await.closed(), (1009, "a message may have 64 KiB".to_owned()));
}

#[tokio::test]
async fn sockets_are_counted_and_how_they_ended() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let stage = Stage::new().await;
    let token = stage.token("user_1", NEW);
    let mut open = Client::welcome(&stage, MODERN, &token).await;
    let mut uninvited = Client::open(&stage, MODERN, Some(&token)).await;
    uninvited.subscribe("1", "subscription { silence }").await;
    uninvited.end().await;
    Client::welcome(&stage, MODERN, &token).await.close().await;
    let told = || recorder.handle().render();
    let has = |line: &str| told().lines().any(|told| told == line);
    let one_is_left = async {
        while !has("hookline_control_sockets 1") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, one_is_left).await.expect("one socket is open");
    for line in [
        r#"hookline_control_requests_total{outcome="upgraded"} 3"#,
        r#"hookline_control_sockets_ended_total{outcome="uninvited"} 1"#,
        r#"hookline_control_sockets_ended_total{outcome="client"} 1"#,
    ] {
        assert!(has(line), "{line} in {}", told());
    }
    stage.shutdown.cancel();
    open.end().await;
    stage.ended().await;
    assert!(has("hookline_control_sockets 0"), "{}", told());
    assert!(has(r#"hookline_control_sockets_ended_total{outcome="going_away"} 1"#), "{}", told());
}
