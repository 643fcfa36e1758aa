//! Who is calling: what a token that was believed says of its bearer.
//!
//! `verifier.rs` decides who is believed, by keys from a file or the identity provider's URL (`jwks.rs`), and by the
//! local key (`local.rs`), which issues tokens too. What a bearer may do is decided here and by who asks.

#[cfg(test)]
pub(crate) mod fixtures;
mod jwks;
mod key;
mod local;
mod verifier;

use async_graphql::Context;
use hookline_schemas::ids::{ClubId, OrganizationId};
use http::{HeaderMap, header};

pub use key::KeyProblem;
pub use local::{IssueRequest, LocalKey, LocalKeyError, make_key_file};
pub use verifier::{IdentityError, local_key};
pub(crate) use verifier::{Verified, Verifier};

use crate::error::ApiError;

/// What the bearer of a token may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Of an organization, everything.
    Owner,
    /// The same.
    Admin,
    /// IZI itself: the clients of every organization, and nothing else.
    Platform,
    /// Any other of the organization: sees, and changes nothing.
    Other(String),
}

impl Role {
    /// The role that a token names: `OWNER`, `ADMIN`, `PLATFORM` or another.
    pub fn named(name: &str) -> Self {
        match name {
            "OWNER" => Self::Owner,
            "ADMIN" => Self::Admin,
            "PLATFORM" => Self::Platform,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Owner => "OWNER",
            Self::Admin => "ADMIN",
            Self::Platform => "PLATFORM",
            Self::Other(name) => name,
        }
    }
}

/// Who asks, or why that is not known: goes with every operation, so that it is the resolver that refuses, and what
/// needs nobody (introspection) refuses nobody.
#[derive(Debug, Clone)]
pub(crate) struct Identified(pub(crate) Result<Caller, ApiError>);

/// For resolvers: who asks.
///
/// # Errors
///
/// What is wrong with his token.
pub(crate) fn caller<'c>(context: &Context<'c>) -> Result<&'c Caller, ApiError> {
    match context.data_opt::<Identified>() {
        Some(Identified(identified)) => identified.as_ref().map_err(Clone::clone),
        None => Err(ApiError::Unauthenticated),
    }
}

/// The token of a request.
///
/// # Errors
///
/// [`ApiError::Unauthenticated`] if there is none, [`ApiError::TokenInvalid`] if there is something else.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Result<&str, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, another) = (values.next().ok_or(ApiError::Unauthenticated)?, values.next());
    match (value.to_str(), another) {
        (Ok(value), None) => bearer(value),
        _ => Err(NOT_BEARER),
    }
}

/// The token in the value of an `Authorization`.
///
/// # Errors
///
/// [`ApiError::TokenInvalid`] if there is something else.
pub(crate) fn bearer(value: &str) -> Result<&str, ApiError> {
    let (scheme, token) = value.split_once(' ').ok_or(NOT_BEARER)?;
    let token = token.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() { Ok(token) } else { Err(NOT_BEARER) }
}

const NOT_BEARER: ApiError = ApiError::TokenInvalid("the header is not Authorization: Bearer ...");

/// The bearer of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// `sub`.
    pub(crate) subject: String,
    /// His role.
    pub(crate) role: Role,
    /// His organization.
    pub(crate) organization: OrganizationId,
    /// The clubs that he is confined to; `None`: the whole organization.
    pub(crate) clubs: Option<Vec<ClubId>>,
}

impl Caller {
    /// He manages his organization, or some of its clubs.
    ///
    /// # Errors
    ///
    /// [`ApiError::Forbidden`] for any role but OWNER and ADMIN.
    pub(crate) fn manages(&self) -> Result<(), ApiError> {
        match self.role {
            Role::Owner | Role::Admin => Ok(()),
            Role::Platform | Role::Other(_) => Err(ApiError::Forbidden("OWNER or ADMIN is needed")),
        }
    }

    /// He manages his organization as a whole.
    ///
    /// # Errors
    ///
    /// [`ApiError::Forbidden`] for any role but OWNER and ADMIN, and for a token that is confined to clubs.
    pub(crate) fn manages_organization(&self) -> Result<(), ApiError> {
        self.manages()?;
        match self.clubs {
            None => Ok(()),
            Some(_) => Err(ApiError::Forbidden("a token for the whole organization is needed")),
        }
    }

    /// Whether he may see what belongs to this club; `None`: to all of them.
    ///
    /// # Errors
    ///
    /// [`ApiError::ClubAccessDenied`] for a club that is not his; [`ApiError::Forbidden`] for all clubs, where he is
    /// confined to some.
    pub(crate) fn may_enter(&self, club: Option<&ClubId>) -> Result<(), ApiError> {
        match (&self.clubs, club) {
            (None, _) => Ok(()),
            (Some(clubs), Some(club)) if clubs.contains(club) => Ok(()),
            (Some(_), Some(club)) => Err(ApiError::ClubAccessDenied(club.clone())),
            (Some(_), None) => {
                Err(ApiError::Forbidden("it belongs to all clubs: a token for the organization is needed"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_token_is_read_from_one_bearer_header_alone() {
        const OTHER: Result<&str, bool> = Err(true);
        for (values, expected) in [
            (&["Bearer x.y.z"][..], Ok("x.y.z")),
            (&["bearer  x.y.z "], Ok("x.y.z")),
            (&[], Err(false)),
            (&[""], OTHER),
            (&["x.y.z"], OTHER),
            (&["Bearer"], OTHER),
            (&["Bearer "], OTHER),
            (&["Basic dXNlcjpwYXNz"], OTHER),
            (&["Bearer x.y.z", "Bearer x.y.z"], OTHER),
        ] {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            });
            let token = bearer_token(&headers);
            assert_eq!(token.map_err(|error| error.code() == "TOKEN_INVALID"), expected, "{values:?}");
        }
    }
}
