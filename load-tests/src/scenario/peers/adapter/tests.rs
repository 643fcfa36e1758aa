//! Each request against its shape as the sender's documentation has it.

use http_body_util::BodyExt;

use super::*;
use crate::simulator::Target;

const SECRET: &str = "whsec_00000000000000000000000000000001";

fn access() -> Access {
    Access {
        address: ([127, 0, 0, 1], 3333).into(),
        token: Some("token".to_owned()),
        project: "project".to_owned(),
        run: "run".to_owned(),
    }
}

fn endpoints() -> Vec<Endpoint> {
    let endpoint =
        |number| Endpoint { url: format!("http://127.0.0.1:7/hooks/wh_{number}"), secret: SECRET.to_owned() };
    vec![endpoint(1), endpoint(2)]
}

/// Method, path, and the body with the event's own content taken out.
async fn shape(call: Call) -> (String, Value) {
    let line = format!("{} {}", call.method(), call.uri());
    assert_eq!(call.headers().get("authorization").expect("a header"), "Bearer token");
    assert_eq!(call.headers().get("host").expect("a header"), "127.0.0.1:3333");
    let body = call.into_body().collect().await.expect("a body").to_bytes();
    (line, serde_json::from_slice(&body).expect("JSON"))
}

async fn shapes(calls: Vec<Call>) -> Vec<(String, Value)> {
    futures::future::join_all(calls.into_iter().map(shape)).await
}

async fn assert_shapes(kind: Kind, registration: Vec<(&str, Value)>, publication: (&str, Value)) {
    let adapter = kind.adapter(access());
    let calls = adapter.registration(&endpoints()).expect("requests");
    let expected: Vec<_> = registration.into_iter().map(|(line, body)| (line.to_owned(), body)).collect();
    assert_eq!(shapes(calls).await, expected, "{kind:?}");
    let published = shape(adapter.publication(17).expect("a request")).await;
    assert_eq!(published, (publication.0.to_owned(), publication.1), "{kind:?}");
}

#[tokio::test]
async fn outpost_gets_a_destination_per_endpoint_of_one_tenant() {
    let destination = |number| {
        let url = format!("http://127.0.0.1:7/hooks/wh_{number}");
        let body = json!({"type": "webhook", "topics": ["payment.received"], "config": {"url": url},
            "credentials": {"secret": SECRET}});
        ("POST /api/v1/tenants/run/destinations", body)
    };
    let registration = vec![("PUT /api/v1/tenants/run", json!({})), destination(1), destination(2)];
    let event = json!({"tenant_id": "run", "topic": "payment.received", "eligible_for_retry": true,
        "data": content(17)});
    assert_shapes(Kind::Outpost, registration, ("POST /api/v1/publish", event)).await;
}

#[tokio::test]
async fn svix_gets_an_application_and_its_endpoints() {
    let endpoint = |number| {
        let url = format!("http://127.0.0.1:7/hooks/wh_{number}");
        ("POST /api/v1/app/run/endpoint/", json!({"url": url, "secret": SECRET, "version": 1}))
    };
    let registration =
        vec![("POST /api/v1/app/", json!({"name": "run", "uid": "run"})), endpoint(1), endpoint(2)];
    let message = json!({"eventType": "payment.received", "payload": content(17)});
    assert_shapes(Kind::Svix, registration, ("POST /api/v1/app/run/msg/", message)).await;
}

#[tokio::test]
async fn convoy_gets_endpoints_of_one_owner_and_a_subscription_for_each() {
    let endpoint = |number| {
        let url = format!("http://127.0.0.1:7/hooks/wh_{number}");
        let body = json!({"name": format!("run-{number}"), "owner_id": "run", "url": url, "secret": SECRET});
        ("POST /api/v1/projects/project/endpoints", body)
    };
    let event = json!({"owner_id": "run", "event_type": "payment.received", "data": content(17)});
    let publication = ("POST /api/v1/projects/project/events/fanout", event);
    assert_shapes(Kind::Convoy, vec![endpoint(1), endpoint(2)], publication).await;

    let adapter = Kind::Convoy.adapter(access());
    let created = json!({"status": true, "data": {"uid": "ep_1", "owner_id": "run"}});
    let subscription = adapter.follow_up(&created).expect("an answer").expect("a subscription");
    let expected =
        json!({"name": "run-ep_1", "endpoint_id": "ep_1", "filter_config": {"event_types": ["*"]}});
    let line = "POST /api/v1/projects/project/subscriptions".to_owned();
    assert_eq!(shape(subscription).await, (line, expected));
    let subscribed = json!({"status": true, "data": {"uid": "sub_1", "endpoint_id": "ep_1"}});
    assert!(adapter.follow_up(&subscribed).expect("an answer").is_none());
    assert!(adapter.follow_up(&json!({"status": false})).is_err());
}

#[tokio::test]
async fn django_webhook_gets_all_endpoints_at_once() {
    let endpoint = |number| json!({"url": format!("http://127.0.0.1:7/hooks/wh_{number}"), "secret": SECRET});
    let registration = vec![("PUT /endpoints", json!([endpoint(1), endpoint(2)]))];
    assert_shapes(Kind::DjangoWebhook, registration, ("POST /events", content(17))).await;
}

#[tokio::test]
async fn hookline_gets_a_signed_pay_and_has_accepted_it_with_code_0_alone() {
    let target = Target {
        addresses: vec![([127, 0, 0, 1], 8080).into()],
        gateway_id: hookline_schemas::ids::GatewayId::new("gw_demo"),
        public_id: "pk_demo".to_owned(),
        api_secret: hookline_schemas::secret::Secret::new("secret"),
    };
    let key = hookline_schemas::signature::ContentKey::new(&target.api_secret);
    let adapter = Hookline::at(target);
    assert!(adapter.registration(&endpoints()).expect("requests").is_empty());
    let (head, body) = adapter.publication(17).expect("a request").into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/payments/cloudpayments/gw_demo/pay"));
    assert_eq!(head.headers.get("host").expect("a header"), "127.0.0.1:8080");
    assert!(key.verifies(&body, head.headers.get("content-hmac").expect("a header").as_bytes()));
    assert!(String::from_utf8_lossy(&body).contains("TransactionId=17&"));
    for (answer, expected) in [(r#"{"code":0}"#, true), (r#"{"code":13}"#, false), ("", false)] {
        assert_eq!(adapter.is_accepted(&Response::new(Bytes::from(answer))), expected, "{answer}");
    }
}

#[test]
fn every_event_has_the_same_size_and_a_number_of_its_own() {
    for number in [1, 17, 4_294_967_301] {
        let content = content(number);
        assert_eq!(content.to_string().len(), BODY_BYTES);
        assert_eq!(content.pointer("/data/gatewayTransactionId"), Some(&number.to_string().into()));
    }
}

#[test]
fn a_peer_has_accepted_what_it_answers_with_2xx() {
    let adapter = Kind::Outpost.adapter(access());
    for (status, expected) in [(200, true), (202, true), (201, true), (429, false), (500, false)] {
        let answer = Response::builder().status(status).body(Bytes::new()).expect("an answer");
        assert_eq!(adapter.is_accepted(&answer), expected, "{status}");
    }
}
