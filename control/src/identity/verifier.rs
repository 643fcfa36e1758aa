//! From a token to its bearer: which keys are believed, and what a token has to say.
//!
//! A key decides the algorithm, the issuer and so whom it may speak for. Everything that is wrong is found before a
//! token is called expired: who has forged one learns nothing by its age.

use std::path::{Path, PathBuf};

use hookline_outbound::{Outbound, TlsError};
use hookline_schemas::ids::{ClubId, OrganizationId};
use hookline_schemas::time::{Clock, Timestamp};
use hookline_schemas::webhook::{UrlError, parse_url};
use http::Uri;
use jsonwebtoken::{Algorithm, Header};
use serde_json::Value;

use super::jwks::{Pace, PublishedKeys};
use super::key::{Claims, Key, KeyProblem};
use super::local::{ISSUER, LocalKey, LocalKeyError};
use super::{Caller, Role};
use crate::error::ApiError;
use crate::settings::TokenSettings;

/// Why nobody can be identified with these settings.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Two sources of the provider's keys.
    #[error("public_key_file and jwks_url are both set: the identity provider has one of them")]
    TwoSources,
    /// A provider without a name.
    #[error("issuer is missing: with public_key_file or jwks_url set, it says whose tokens are believed")]
    NoIssuer,
    /// A name without a provider.
    #[error("issuer is set, and neither public_key_file nor jwks_url is: nothing would verify its tokens")]
    NoKeys,
    /// Nothing to compare `aud` with.
    #[error("audience is empty")]
    NoAudience,
    /// Two meanings of one claim, or a claim that means something else in every token.
    #[error(
        "role_claim, organization_claim and clubs_claim have to be three names, none of them iss, aud, sub, exp, nbf or iat"
    )]
    Claims,
    /// Not a URL that keys can be fetched from.
    #[error("jwks_url: {0}")]
    Url(UrlError),
    /// The provider's key can't be read.
    #[error("failed to read public_key_file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The provider's key can't be believed.
    #[error("public_key_file {} {problem}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: KeyProblem,
    },
    /// No local key.
    #[error(transparent)]
    Local(#[from] LocalKeyError),
    /// No TLS to the provider.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Claims that have their own meaning in every token.
const RESERVED: [&str; 7] = ["", "iss", "aud", "sub", "exp", "nbf", "iat"];

/// The identity provider's keys.
#[derive(Debug)]
enum Provided {
    /// In a file.
    File(Key),
    /// Behind a URL.
    Published(PublishedKeys),
}

/// A bearer, and until when his token says who he is.
#[derive(Debug, Clone)]
pub(crate) struct Verified {
    /// Who he is.
    pub(crate) caller: Caller,
    /// `exp`, and how far the clocks may be apart: a wall time.
    pub(crate) until: Timestamp,
}

/// Knows whose tokens are believed.
#[derive(Debug)]
pub(crate) struct Verifier {
    settings: TokenSettings,
    local: Option<Key>,
    /// With the issuer.
    provided: Option<(Provided, String)>,
    clock: Clock,
}

impl Verifier {
    /// Reads the keys that are in files; [`Verifier::keep_keys`] fetches the others.
    ///
    /// # Errors
    ///
    /// If the settings contradict each other, or a key can't be believed.
    pub(crate) fn new(
        settings: &TokenSettings,
        default_local_key: &Path,
        clock: Clock,
    ) -> Result<Self, IdentityError> {
        Self::at_pace(settings, default_local_key, clock, Pace::NORMAL)
    }

    pub(super) fn at_pace(
        settings: &TokenSettings,
        default_local_key: &Path,
        clock: Clock,
        pace: Pace,
    ) -> Result<Self, IdentityError> {
        let problems = settings.problems();
        if let Some(problem) = problems.into_iter().next() {
            return Err(problem);
        }
        let provided = match (&settings.public_key_file, &settings.jwks_url) {
            (Some(path), _) => Some(Provided::File(read_key(path)?)),
            (None, Some(url)) => {
                let outbound = Outbound::new(None, clock)?;
                Some(Provided::Published(PublishedKeys::new(jwks_url(url)?, outbound, clock, pace)))
            }
            (None, None) => None,
        };
        let local = local_key(settings, default_local_key)?;
        let local = local.map(|local| Key::verifying(Some(local.id().to_owned()), &local.verifying_key()));
        let provided = provided.zip(settings.issuer.clone());
        Ok(Self { settings: settings.clone(), local, provided, clock })
    }

    /// Keeps the identity provider's keys, where they are behind a URL. Never ends.
    pub(crate) async fn keep_keys(&self) {
        match &self.provided {
            Some((Provided::Published(keys), _)) => keys.keep().await,
            Some((Provided::File(_), _)) | None => std::future::pending().await,
        }
    }

    /// The bearer of this token.
    ///
    /// # Errors
    ///
    /// [`ApiError::TokenExpired`] if nothing but its age is wrong with it; [`ApiError::TokenInvalid`] if anything else
    /// is; [`ApiError::Unavailable`] if the identity provider's keys have never been fetched.
    pub(crate) async fn verify(&self, token: &str) -> Result<Caller, ApiError> {
        Ok(self.verify_until(token).await?.caller)
    }

    /// The same, for who stays longer than a request takes.
    ///
    /// # Errors
    ///
    /// Those of [`Verifier::verify`].
    pub(crate) async fn verify_until(&self, token: &str) -> Result<Verified, ApiError> {
        let header = read_header(token)?;
        if let Some(claims) =
            self.local.as_ref().and_then(|key| open(std::slice::from_ref(key), &header, token))
        {
            return self.judge(&claims, ISSUER);
        }
        let Some((provided, issuer)) = &self.provided else { return Err(NOT_BELIEVED) };
        let claims = match provided {
            Provided::File(key) => open(std::slice::from_ref(key), &header, token),
            Provided::Published(keys) => open(&keys.keys_for(&header).await?, &header, token),
        };
        self.judge(&claims.ok_or(NOT_BELIEVED)?, issuer)
    }

    /// What a token with a right signature says of its bearer.
    fn judge(&self, claims: &Claims, issuer: &str) -> Result<Verified, ApiError> {
        if claims.get("iss").and_then(Value::as_str) != Some(issuer) {
            return Err(ApiError::TokenInvalid("it is of another issuer than its key"));
        }
        if !is_for(claims.get("aud"), &self.settings.audience) {
            return Err(ApiError::TokenInvalid("it is for another audience"));
        }
        let caller = self.bearer(claims)?;
        let seconds = |name| match claims.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or(ApiError::TokenInvalid("exp and nbf are numbers")),
        };
        let (expires, begins) = (seconds("exp")?, seconds("nbf")?);
        let now = std::time::Duration::from_millis(self.clock.wall().0).as_secs_f64();
        let leeway = self.settings.leeway.as_secs_f64();
        if begins.is_some_and(|begins| begins > now + leeway) {
            return Err(ApiError::TokenInvalid("it is not valid yet"));
        }
        match expires {
            None => Err(ApiError::TokenInvalid("exp is missing")),
            Some(expires) if expires + leeway <= now => Err(ApiError::TokenExpired),
            Some(expires) => Ok(Verified { caller, until: wall_time(expires + leeway) }),
        }
    }

    fn bearer(&self, claims: &Claims) -> Result<Caller, ApiError> {
        let role = text(claims, &self.settings.role_claim)
            .ok_or(ApiError::TokenInvalid("the claim of the role is missing"))?;
        let role = Role::named(role);
        let organization = match (text(claims, &self.settings.organization_claim), &role) {
            (Some(organization), _) => organization,
            (None, Role::Platform) => "",
            (None, _) => return Err(ApiError::TokenInvalid("the claim of the organization is missing")),
        };
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
        let clubs = clubs(claims.get(&self.settings.clubs_claim))?;
        Ok(Caller { subject, role, organization: OrganizationId::new(organization), clubs })
    }
}

/// Seconds since the epoch as a time; what is beyond all times is the last of them.
fn wall_time(seconds: f64) -> Timestamp {
    Timestamp(0).after(std::time::Duration::try_from_secs_f64(seconds).unwrap_or(std::time::Duration::MAX))
}

const NOT_BELIEVED: ApiError = ApiError::TokenInvalid("no key that is believed has signed it");

/// Which key signs tokens here, if any does: the one that is set; without an identity provider one beside the
/// configuration, made where it is missing. With a provider nobody is to be surprised by a second issuer.
///
/// # Errors
///
/// If the key can't be read or made.
pub fn local_key(settings: &TokenSettings, default: &Path) -> Result<Option<LocalKey>, LocalKeyError> {
    match (&settings.local_key_file, settings.has_provider()) {
        (Some(path), true) => LocalKey::load(path).map(Some),
        (Some(path), false) => LocalKey::load_or_make(path).map(Some),
        (None, true) => Ok(None),
        (None, false) => LocalKey::load_or_make(default).map(Some),
    }
}

impl TokenSettings {
    /// Whether an identity provider issues tokens.
    pub(crate) const fn has_provider(&self) -> bool {
        self.public_key_file.is_some() || self.jwks_url.is_some()
    }

    /// What is wrong with them, without a look at any file.
    pub fn problems(&self) -> Vec<IdentityError> {
        let names = [&self.role_claim, &self.organization_claim, &self.clubs_claim].map(String::as_str);
        let [role, organization, clubs] = names;
        let are_names = names.iter().all(|name| !RESERVED.contains(name))
            && role != organization
            && role != clubs
            && organization != clubs;
        let issuer = self.issuer.as_deref().filter(|issuer| !issuer.is_empty());
        let url = self.jwks_url.as_deref().map(jwks_url).and_then(Result::err);
        let found = [
            (self.public_key_file.is_some() && self.jwks_url.is_some()).then_some(IdentityError::TwoSources),
            (self.has_provider() && issuer.is_none()).then_some(IdentityError::NoIssuer),
            (!self.has_provider() && self.issuer.is_some()).then_some(IdentityError::NoKeys),
            self.audience.is_empty().then_some(IdentityError::NoAudience),
            (!are_names).then_some(IdentityError::Claims),
            url,
        ];
        found.into_iter().flatten().collect()
    }
}

fn jwks_url(url: &str) -> Result<Uri, IdentityError> {
    parse_url(url).map_err(IdentityError::Url)
}

fn read_key(path: &Path) -> Result<Key, IdentityError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| IdentityError::File { path: path.to_owned(), source })?;
    Key::from_pem(&text).map_err(|problem| IdentityError::Key { path: path.to_owned(), problem })
}

/// What a token says of itself, and nobody believes: it helps to find the key, and no more.
fn read_header(token: &str) -> Result<Header, ApiError> {
    let header = jsonwebtoken::decode_header(token)
        .map_err(|_| ApiError::TokenInvalid("it is no JWT that is signed by RS256 or EdDSA"))?;
    if header.crit.is_some() {
        return Err(ApiError::TokenInvalid("it demands what is not known here (crit)"));
    }
    match header.alg {
        Algorithm::RS256 | Algorithm::EdDSA => Ok(header),
        _ => Err(ApiError::TokenInvalid("it is no JWT that is signed by RS256 or EdDSA")),
    }
}

fn open(keys: &[Key], header: &Header, token: &str) -> Option<Claims> {
    keys.iter().filter(|key| key.fits(header)).find_map(|key| key.open(token))
}

fn is_for(audience: Option<&Value>, ours: &str) -> bool {
    match audience {
        Some(Value::String(audience)) => audience == ours,
        Some(Value::Array(several)) => several.iter().any(|audience| audience == ours),
        _ => false,
    }
}

/// A claim that is a text, and not an empty one.
fn text<'c>(claims: &'c Claims, name: &str) -> Option<&'c str> {
    claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Absent: the whole organization. An empty list: not a single club.
fn clubs(claim: Option<&Value>) -> Result<Option<Vec<ClubId>>, ApiError> {
    let malformed = ApiError::TokenInvalid("the claim of the clubs is no list of texts");
    match claim {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(clubs)) => {
            let named: Option<Vec<ClubId>> =
                clubs.iter().map(|club| club.as_str().map(ClubId::new)).collect();
            named.map(Some).ok_or(malformed)
        }
        Some(_) => Err(malformed),
    }
}

#[cfg(test)]
mod tests;
