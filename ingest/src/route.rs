//! Which URL was posted at. Owns the shape of the two callback URLs; knows no gateway.

use hookline_schemas::notification::{BodyFormat, NotificationType};
use http::{HeaderMap, Method, header};

use crate::answer::Refusal;

/// Where a notification was posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route<'path> {
    /// `/payments/cloudpayments/{gatewayId}/{type}`: the URL names gateway and type.
    Typed {
        /// As it stands in the URL; may be unknown.
        gateway: &'path str,
        /// The type.
        kind: NotificationType,
    },
    /// `/payments/cloudpayments/callback`: the gateway is found by its key, the type by the fields.
    Shared,
}

const PREFIX: &str = "/payments/cloudpayments/";

impl<'path> Route<'path> {
    /// Reads method and path.
    pub(crate) fn of(method: &Method, path: &'path str) -> Result<Self, Refusal> {
        let rest = path.strip_prefix(PREFIX).ok_or(Refusal::NotFound)?;
        let route = match rest.trim_end_matches('/').split_once('/') {
            None if rest.trim_end_matches('/') == "callback" => Self::Shared,
            None => return Err(Refusal::NotFound),
            Some((gateway, segment)) => {
                let kind = NotificationType::of_segment(segment).ok_or(Refusal::NotFound)?;
                Self::Typed { gateway, kind }
            }
        };
        if method == Method::POST { Ok(route) } else { Err(Refusal::NotPost) }
    }
}

/// The format of the body, by Content-Type; without one it is a form, which is what CloudPayments sends.
pub(crate) fn body_format(headers: &HeaderMap) -> Result<BodyFormat, Refusal> {
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else { return Ok(BodyFormat::Form) };
    let content_type = content_type.to_str().map_err(|_| Refusal::NeitherFormNorJson)?;
    BodyFormat::of_content_type(content_type).ok_or(Refusal::NeitherFormNorJson)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_two_urls_and_posts_alone() {
        let typed = |gateway, kind| Ok(Route::Typed { gateway, kind });
        for (method, path, expected) in [
            (Method::POST, "/payments/cloudpayments/gw_1/pay", typed("gw_1", NotificationType::Pay)),
            (Method::POST, "/payments/cloudpayments/gw_1/Check", typed("gw_1", NotificationType::Check)),
            (Method::POST, "/payments/cloudpayments/gw_1/kkt/", typed("gw_1", NotificationType::Kkt)),
            (Method::POST, "/payments/cloudpayments/callback", Ok(Route::Shared)),
            (Method::GET, "/payments/cloudpayments/gw_1/pay", Err(Refusal::NotPost)),
            (Method::GET, "/payments/cloudpayments/callback", Err(Refusal::NotPost)),
            (Method::POST, "/payments/cloudpayments/gw_1", Err(Refusal::NotFound)),
            (Method::POST, "/payments/cloudpayments/gw_1/chargeback", Err(Refusal::NotFound)),
            (Method::POST, "/payments/cloudpayments/gw_1/pay/x", Err(Refusal::NotFound)),
            (Method::POST, "/", Err(Refusal::NotFound)),
        ] {
            assert_eq!(Route::of(&method, path), expected, "{method} {path}");
        }
    }
}
