//! The API as it is asked over its socket. What is posted to hookline is tested in `tests/it`.

mod faults;
mod holds;
mod lists;
mod orders;
mod refunds;

use anyhow::ensure;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::*;
use crate::connection::Connection;

const WITHIN: Duration = Duration::from_secs(5);
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

async fn start() -> anyhow::Result<Acquirer> {
    Acquirer::start(vec![Site::new("pk_1", "s3cret"), Site::new("pk_2", "other")]).await
}

/// A request with the credentials `pk_1` and `s3cret`.
fn request(
    method: &str,
    path: &str,
    content_type: &str,
    body: &str,
) -> anyhow::Result<Request<Full<bytes::Bytes>>> {
    let request = Request::builder().method(method).uri(path).header("host", "127.0.0.1");
    let request =
        request.header("authorization", "Basic cGtfMTpzM2NyZXQ=").header("content-type", content_type);
    Ok(request.body(Full::new(bytes::Bytes::from(body.to_owned())))?)
}

/// What the site `pk_1` answers to this JSON.
async fn call(acquirer: &Acquirer, path: &str, body: Value) -> anyhow::Result<Value> {
    told(acquirer, path, JSON, &body.to_string()).await
}

/// Whether `Success` is set.
fn succeeded(answer: &Value) -> bool {
    answer.get("Success") == Some(&Value::Bool(true))
}

/// A transaction at the site `pk_1` as it stands.
fn standing(acquirer: &Acquirer, transaction_id: u64) -> TransactionView {
    let mut transactions = acquirer.transactions("pk_1").into_iter();
    transactions.find(|transaction| transaction.transaction_id == transaction_id).expect("a transaction")
}

async fn ask(acquirer: &Acquirer, path: &str) -> anyhow::Result<Response<bytes::Bytes>> {
    Connection::to(acquirer.address()).send(request("POST", path, JSON, "")?, WITHIN).await
}

/// What a request with status 200 is answered.
async fn told(acquirer: &Acquirer, path: &str, content_type: &str, body: &str) -> anyhow::Result<Value> {
    let request = request("POST", path, content_type, body)?;
    let answer = Connection::to(acquirer.address()).send(request, WITHIN).await?;
    ensure!(answer.status() == StatusCode::OK, "{path}: {}", answer.status());
    Ok(serde_json::from_slice(answer.body())?)
}

#[tokio::test]
async fn the_right_password_is_told_from_a_wrong_one() -> anyhow::Result<()> {
    let acquirer = start().await?;
    let first = told(&acquirer, "/test", JSON, "").await?;
    let second = told(&acquirer, "/test", JSON, "{}").await?;
    let message = |told: &Value| told.get("Message").and_then(Value::as_str).map(str::to_owned);
    assert_eq!(first.get("Success"), Some(&Value::Bool(true)));
    assert!(message(&first).is_some_and(|text| text.len() == 36) && message(&first) != message(&second));

    acquirer.set_secrets("pk_1", vec![Secret::new("rotated")]);
    assert_eq!(ask(&acquirer, "/test").await?.status(), StatusCode::UNAUTHORIZED);
    acquirer.set_secrets("pk_1", vec![Secret::new("rotated"), Secret::new("s3cret")]);
    assert_eq!(ask(&acquirer, "/test").await?.status(), StatusCode::OK);
    // Credentials of nobody, and none at all.
    let nobody =
        Request::post("/test").header("authorization", "Basic cGtfMzpzM2NyZXQ=").body(Full::default())?;
    for request in [nobody, Request::post("/test").body(Full::default())?] {
        let answer = Connection::to(acquirer.address()).send(request, WITHIN).await?;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
    acquirer.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_notification_is_set_as_a_whole_and_remembered() -> anyhow::Result<()> {
    let acquirer = start().await?;
    let unset = json!({ "IsEnabled": false, "Address": null, "HttpMethod": "GET", "Encoding": "UTF8", "Format": "CloudPayments" });
    let of = async |kind: &str| told(&acquirer, &format!("/site/notifications/{kind}/get"), JSON, "").await;
    assert_eq!(of("pay").await?.get("Model"), Some(&unset));

    let update = "/site/notifications/Pay/update";
    let body = r#"{"IsEnabled":true,"Address":"https://a.example/pay","HttpMethod":"POST"}"#;
    assert_eq!(told(&acquirer, update, JSON, body).await?, json!({ "Success": true, "Message": null }));
    let set = of("PAY").await?;
    assert_eq!(set.pointer("/Model/Address"), Some(&json!("https://a.example/pay")));
    let settings = acquirer.notification("pk_1", NotificationType::Pay);
    assert!(settings.is_some_and(|settings| settings.is_enabled && settings.http_method == "POST"));
    assert_eq!(acquirer.notification("pk_2", NotificationType::Pay), None, "another site's");
    assert_eq!(acquirer.notification("pk_1", NotificationType::Fail), None, "another type");

    // The method that is not named is GET again.
    told(&acquirer, update, FORM, "IsEnabled=true&Address=https%3a%2f%2fa.example").await?;
    assert_eq!(of("Pay").await?.pointer("/Model/HttpMethod"), Some(&json!("GET")));
    acquirer.stop().await;
    Ok(())
}

#[tokio::test]
async fn what_can_not_be_set_is_refused_and_changes_nothing() -> anyhow::Result<()> {
    let acquirer = start().await?;
    let whole = r#"{"IsEnabled":true,"Address":"https://a.example","HttpMethod":"POST"}"#;
    for (kind, body) in [
        ("Check", whole),
        ("Receipt", whole),
        ("Nothing", whole),
        ("Pay", r#"{"IsEnabled":true}"#),
        ("Pay", r#"{"IsEnabled":true,"Address":""}"#),
        ("Pay", r#"{"HttpMethod":"PUT"}"#),
        ("Pay", r#"{"Format":"JSON"}"#),
    ] {
        let refused = told(&acquirer, &format!("/site/notifications/{kind}/update"), JSON, body).await?;
        assert_eq!(refused.get("Success"), Some(&Value::Bool(false)), "{kind} {body}");
        assert!(refused.get("Message").is_some_and(Value::is_string), "{refused}");
    }
    assert_eq!(acquirer.notification("pk_1", NotificationType::Pay), None);
    // The cabinet sets what the API shows and does not set.
    let address = Some("https://a.example/check".to_owned());
    let check = NotificationSettings { is_enabled: true, address, ..NotificationSettings::default() };
    acquirer.set_notification("pk_1", NotificationType::Check, check);
    let shown = told(&acquirer, "/site/notifications/Check/get", JSON, "").await?;
    assert_eq!(shown.pointer("/Model/Address"), Some(&json!("https://a.example/check")));
    acquirer.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_site_misbehaves_as_it_is_told_and_the_others_do_not() -> anyhow::Result<()> {
    let acquirer = start().await?;
    let status = async || anyhow::Ok(ask(&acquirer, "/test").await?.status());
    acquirer.set_profile("pk_2", Profile::Unavailable);
    assert_eq!(status().await?, StatusCode::OK, "it is another's");
    acquirer.set_profile("pk_1", Profile::Unavailable);
    assert_eq!(status().await?, StatusCode::SERVICE_UNAVAILABLE);
    acquirer.set_profile("pk_1", Profile::Redirect("http://127.0.0.1:1/test".to_owned()));
    let answer = ask(&acquirer, "/test").await?;
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(
        answer.headers().get("location").map(|to| to.as_bytes()),
        Some(&b"http://127.0.0.1:1/test"[..])
    );
    acquirer.set_profile("pk_1", Profile::Garbage);
    let answer = ask(&acquirer, "/test").await?;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(serde_json::from_slice::<Value>(answer.body()).is_err());
    acquirer.set_profile("pk_1", Profile::Hang(Duration::from_millis(10)));
    assert!(ask(&acquirer, "/test").await.is_err(), "no answer comes");
    acquirer.set_profile("pk_1", Profile::Healthy);
    assert_eq!(status().await?, StatusCode::OK);
    acquirer.stop().await;
    Ok(())
}

#[tokio::test]
async fn requests_are_counted_by_path_whatever_they_are_answered() -> anyhow::Result<()> {
    let acquirer = start().await?;
    for (method, path, content_type, body, expected) in [
        ("POST", "/test", JSON, "", StatusCode::OK),
        ("POST", "/test?again=1", JSON, "", StatusCode::OK),
        ("GET", "/test", JSON, "", StatusCode::METHOD_NOT_ALLOWED),
        ("POST", "/payments/nothing", JSON, "", StatusCode::NOT_FOUND),
        ("POST", "/test", "text/plain", "a", StatusCode::BAD_REQUEST),
    ] {
        let request = request(method, path, content_type, body)?;
        let answer = Connection::to(acquirer.address()).send(request, WITHIN).await?;
        assert_eq!(answer.status(), expected, "{method} {path}");
    }
    let expected = BTreeMap::from([("/payments/nothing".to_owned(), 1), ("/test".to_owned(), 4)]);
    assert_eq!(acquirer.requests(), expected);
    assert_eq!((acquirer.requests_at("/test"), acquirer.requests_at("/else")), (4, 0));
    let address = acquirer.address();
    acquirer.stop().await;
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
    Ok(())
}
