//! One post: a notification signed and addressed as CloudPayments does it, and how it reads the answer.

use bytes::Bytes;
use hookline_schemas::signature::ContentKey;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;

use crate::fixtures::Fixture;

/// A notification with its signatures, ready to be posted as often as it takes.
#[derive(Debug)]
pub struct Signed<'a> {
    fixture: &'a Fixture,
    content_hmac: String,
    x_content_hmac: String,
}

impl<'a> Signed<'a> {
    /// Signs it: over the bytes as they are posted, and over the decoded text.
    pub fn new(fixture: &'a Fixture, key: &ContentKey) -> Self {
        Self {
            fixture,
            content_hmac: key.sign(&fixture.body),
            x_content_hmac: key.sign(&fixture.decoded_body()),
        }
    }

    /// What was signed.
    pub const fn fixture(&self) -> &'a Fixture {
        self.fixture
    }

    /// The signature over the bytes of the body.
    pub fn content_hmac(&self) -> &str {
        &self.content_hmac
    }

    /// The signature over the decoded text.
    pub fn x_content_hmac(&self) -> &str {
        &self.x_content_hmac
    }

    /// The request to this URL; one that names no host needs the header beside it.
    pub fn request(&self, url: Uri) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.fixture.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url;
        let values = [
            ("content-type", self.fixture.content_type()),
            ("content-hmac", &self.content_hmac),
            ("x-content-hmac", &self.x_content_hmac),
        ];
        for (name, value) in values {
            // Base64 and the name of a type are letters, digits and a few marks.
            if let Ok(value) = HeaderValue::from_str(value) {
                request.headers_mut().insert(name, value);
            }
        }
        request
    }
}

/// The code of an answer as CloudPayments reads it: JSON from the first byte, `code` as a number or as a
/// string of digits, HTTP 200.
pub fn answered_code(answer: &Response<Bytes>) -> Option<u64> {
    if answer.status() != StatusCode::OK {
        return None;
    }
    let answer: serde_json::Value = serde_json::from_slice(answer.body()).ok()?;
    let code = answer.get("code")?;
    code.as_u64().or_else(|| code.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_200_with_a_code_is_an_answer() {
        for (status, body, expected) in [
            (200, r#"{"code":0}"#, Some(0)),
            (200, r#"{"code":"0"}"#, Some(0)),
            (200, r#"{"code":13,"message":"no"}"#, Some(13)),
            (503, r#"{"code":0}"#, None),
            (401, r#"{"code":13}"#, None),
            (204, "", None),
            (200, "<html>", None),
            (200, "{}", None),
            (200, r#"{"code":null}"#, None),
            (200, r#"{"code":-1}"#, None),
        ] {
            let answer = Response::builder().status(status).body(Bytes::from(body)).expect("an answer");
            assert_eq!(answered_code(&answer), expected, "{status} {body}");
        }
    }
}
