//! One request: counted, its site found by its login, answered as the site does, by the method's family.

use anyhow::{anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::Value;

use super::fields::Fields;
use super::{OpenSite, Profile, State, account, notifications};
use crate::serve::locked;

/// No request of hookline is longer.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// What every method answers, with status 200.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Envelope {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Value>,
    success: bool,
    message: Option<String>,
}

impl Envelope {
    /// Done.
    pub(super) const fn done() -> Self {
        Self { model: None, success: true, message: None }
    }

    /// Done, with words.
    pub(super) fn said(message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..Self::done() }
    }

    /// What was asked for.
    pub(super) fn found(model: &impl Serialize) -> Self {
        // Structs of texts, numbers and flags always serialize.
        Self { model: serde_json::to_value(model).ok(), ..Self::done() }
    }

    /// Refused, for this reason.
    pub(super) fn refused(reason: impl Into<String>) -> Self {
        Self { success: false, ..Self::said(reason) }
    }
}

/// Answers a request and counts it. An error closes the connection without an answer.
pub(super) async fn answer(
    state: &State,
    request: Request<Incoming>,
) -> anyhow::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    state.count(head.uri.path());
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|error| anyhow!(error))?.to_bytes();
    let Some((public_id, password)) = credentials(&head.headers) else {
        return Ok(unauthorized());
    };
    let profile = locked(&state.sites).get(&public_id).map(|site| site.profile.clone());
    match profile {
        None => return Ok(unauthorized()),
        Some(Profile::Unavailable) => return Ok(empty(StatusCode::SERVICE_UNAVAILABLE)),
        Some(Profile::Hang(time)) => {
            tokio::time::sleep(time).await;
            bail!("the site hangs");
        }
        Some(Profile::Redirect(location)) => return redirect(&location),
        Some(Profile::Garbage) => return Ok(garbage()),
        Some(Profile::Healthy) => {}
    }
    let mut sites = locked(&state.sites);
    let site = sites.get_mut(&public_id).filter(|site| has(site, &password));
    let Some(site) = site else { return Ok(unauthorized()) };
    if head.method != Method::POST {
        return Ok(empty(StatusCode::METHOD_NOT_ALLOWED));
    }
    let Ok(fields) = Fields::read(&head.headers, &body) else {
        return Ok(empty(StatusCode::BAD_REQUEST));
    };
    let segments: Vec<&str> = head.uri.path().split('/').skip(1).collect();
    Ok(by_method(site, &segments, &fields).map_or_else(|| empty(StatusCode::NOT_FOUND), |found| json(&found)))
}

/// `None` where there is no such method.
fn by_method(site: &mut OpenSite, segments: &[&str], fields: &Fields) -> Option<Envelope> {
    match segments {
        ["test"] => Some(account::test()),
        ["site", "notifications", kind, "get"] => Some(notifications::get(site, kind)),
        ["site", "notifications", kind, "update"] => Some(notifications::update(site, kind, fields)),
        _ => None,
    }
}

fn has(site: &OpenSite, password: &str) -> bool {
    site.api_secrets.iter().any(|secret| secret.expose() == password)
}

/// HTTP Basic: login and password.
fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    let decoded = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (login, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((login.to_owned(), password.to_owned()))
}

fn json(envelope: &Envelope) -> Response<Full<Bytes>> {
    // As in `found`.
    let body = serde_json::to_vec(envelope).unwrap_or_default();
    with_type("application/json; charset=utf-8", body.into())
}

fn garbage() -> Response<Full<Bytes>> {
    let page = "<!DOCTYPE html><html><body><h1>Something went wrong</h1></body></html>";
    with_type("text/html", Bytes::from_static(page.as_bytes()))
}

fn with_type(content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn unauthorized() -> Response<Full<Bytes>> {
    let mut response = empty(StatusCode::UNAUTHORIZED);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
    response
}

fn redirect(location: &str) -> anyhow::Result<Response<Full<Bytes>>> {
    let mut response = empty(StatusCode::FOUND);
    response.headers_mut().insert(header::LOCATION, location.parse()?);
    Ok(response)
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_basic_says() {
        for (value, expected) in [
            ("Basic cGtfMTpzM2NyZXQ=", Some(("pk_1", "s3cret"))),
            ("basic cGtfMTpzM2NyZXQ=", Some(("pk_1", "s3cret"))),
            ("Basic cGtfMTphOmI=", Some(("pk_1", "a:b"))),
            ("Bearer cGtfMTpzM2NyZXQ=", None),
            ("Basic cGtfMQ==", None),
            ("Basic !", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().expect("a header"));
            let read = credentials(&headers);
            let read = read.as_ref().map(|(login, password)| (login.as_str(), password.as_str()));
            assert_eq!(read, expected, "{value}");
        }
        assert_eq!(credentials(&HeaderMap::new()), None);
    }

    #[test]
    fn an_envelope_is_as_documented() {
        let model = serde_json::json!({ "IsEnabled": true });
        for (envelope, expected) in [
            (Envelope::done(), r#"{"Success":true,"Message":null}"#),
            (Envelope::said("1"), r#"{"Success":true,"Message":"1"}"#),
            (Envelope::refused("no"), r#"{"Success":false,"Message":"no"}"#),
            (Envelope::found(&model), r#"{"Model":{"IsEnabled":true},"Success":true,"Message":null}"#),
        ] {
            assert_eq!(serde_json::to_string(&envelope).expect("a text"), expected);
        }
    }
}
