//! The request of an attempt: what every one of a webhook's has in its head, its event, and the signatures.

use bytes::Bytes;
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::Webhook;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;

use crate::core::Prepared;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const HOOKLINE: HeaderValue = HeaderValue::from_static(concat!("hookline/", env!("CARGO_PKG_VERSION")));
const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const STANDARD: HeaderName = HeaderName::from_static("webhook-signature");
const IZI: HeaderName = HeaderName::from_static("x-izi-signature");
const IZI_NEXT: HeaderName = HeaderName::from_static("x-izi-signature-next");

/// The request of an attempt that is made at this time.
pub(super) fn request_of(webhook: &Webhook, event: &Prepared, now: Timestamp) -> Request<Full<Bytes>> {
    let id = event.event.id.as_str();
    let signatures = webhook.keys.sign(id, now, &event.body);
    let mut request = Request::new(Full::new(event.body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target_of(&webhook.url);
    // Ours come later, and replace what has their name.
    request.headers_mut().clone_from(webhook.headers.as_map());
    let headers = request.headers_mut();
    headers.reserve(OURS);
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(USER_AGENT, HOOKLINE);
    headers.insert(TIMESTAMP, HeaderValue::from(now.unix_seconds()));
    let values = [
        (HOST, host_of(&webhook.url)),
        (ID, HeaderValue::from_str(id).ok()),
        (STANDARD, HeaderValue::try_from(signatures.standard).ok()),
        (IZI, HeaderValue::try_from(signatures.izi).ok()),
        (IZI_NEXT, signatures.izi_next.and_then(|signature| HeaderValue::try_from(signature).ok())),
    ];
    for (name, value) in values {
        // Ids and signatures are letters, digits and a few marks; a URL's host has been judged.
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    request
}

/// So many headers are ours.
const OURS: usize = 8;

/// What stands in the first line: the path alone.
fn target_of(url: &Uri) -> Uri {
    url.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")).into()
}

/// The host, with its port where that is not the scheme's own (RFC 9110, 7.2).
fn host_of(url: &Uri) -> Option<HeaderValue> {
    let authority = url.authority()?;
    let usual = if url.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let host = match authority.port_u16() {
        Some(port) if port != usual => authority.as_str(),
        Some(_) | None => authority.host(),
    };
    HeaderValue::from_str(host).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_line_has_the_path_and_the_host_stands_in_its_header() {
        for (url, target, host) in [
            ("https://club.example/hooks?club=1", "/hooks?club=1", "club.example"),
            ("https://club.example", "/", "club.example"),
            ("https://club.example:443/", "/", "club.example"),
            ("https://club.example:80/", "/", "club.example:80"),
            ("http://club.example:80/a", "/a", "club.example"),
            ("http://127.0.0.1:8080/a", "/a", "127.0.0.1:8080"),
            ("http://[::1]:8080/a", "/a", "[::1]:8080"),
            ("https://[::1]/a", "/a", "[::1]"),
        ] {
            let url: Uri = url.parse().expect("a URL");
            assert_eq!(target_of(&url).to_string(), target, "{url}");
            assert_eq!(host_of(&url).expect("a host"), host, "{url}");
        }
    }
}
