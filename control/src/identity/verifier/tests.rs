//! Who is believed and who is not, by files; `jwks_tests.rs` has the keys behind a URL.

use std::time::Duration;

use jsonwebtoken::Algorithm::{EdDSA, HS256, PS256, RS256, RS512};
use jsonwebtoken::EncodingKey;
use serde_json::json;
use tempfile::TempDir;

use super::super::fixtures::{
    ED25519_PRIVATE, ED25519_PUBLIC, OTHER_PRIVATE, PROVIDER, RSA_PRIVATE, RSA_PUBLIC, claims, in_seconds,
    settings, signed, unsigned,
};
use super::super::local::IssueRequest;
use super::*;

/// A directory, and settings that believe this public key.
fn provider(public: &str) -> (TempDir, TokenSettings) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("provider.pem");
    std::fs::write(&path, public).expect("written");
    let settings =
        TokenSettings { issuer: Some(PROVIDER.to_owned()), public_key_file: Some(path), ..settings() };
    (directory, settings)
}

fn verifier(directory: &TempDir, settings: &TokenSettings) -> Verifier {
    let default = directory.path().join("hookline-tokens.pem");
    Verifier::new(settings, &default, Clock::start()).expect("a verifier")
}

async fn code(verifier: &Verifier, token: &str) -> &'static str {
    verifier.verify(token).await.map_or_else(|error| error.code(), |_| "believed")
}

#[tokio::test]
async fn a_key_verifies_its_own_algorithm_alone() {
    let good = claims(json!({}));
    for (public, private, own) in [(RSA_PUBLIC, RSA_PRIVATE, RS256), (ED25519_PUBLIC, ED25519_PRIVATE, EdDSA)]
    {
        let (directory, settings) = provider(public);
        let verifier = verifier(&directory, &settings);
        assert_eq!(code(&verifier, &signed(own, private, None, &good)).await, "believed");
        assert_eq!(code(&verifier, &signed(own, private, Some("some-kid"), &good)).await, "believed");
        let signature = "c2lnbmF0dXJl";
        for forged in [
            signed(HS256, public, None, &good),
            signed(HS256, public.trim(), None, &good),
            unsigned(&json!({ "alg": "none" }), &good, ""),
            unsigned(&json!({ "alg": "None" }), &good, signature),
            unsigned(&json!({ "alg": "RS256" }), &good, signature),
            unsigned(&json!({ "alg": "EdDSA" }), &good, ""),
            unsigned(&json!({ "typ": "JWT" }), &good, signature),
            signed(RS512, RSA_PRIVATE, None, &good),
            signed(PS256, RSA_PRIVATE, None, &good),
            signed(EdDSA, OTHER_PRIVATE, None, &good),
        ] {
            assert_eq!(code(&verifier, &forged).await, "TOKEN_INVALID", "{forged}");
        }
        let other = if own == RS256 { (EdDSA, ED25519_PRIVATE) } else { (RS256, RSA_PRIVATE) };
        assert_eq!(code(&verifier, &signed(other.0, other.1, None, &good)).await, "TOKEN_INVALID");
    }
}

#[tokio::test]
async fn what_is_not_whole_is_no_token() {
    let (directory, settings) = provider(ED25519_PUBLIC);
    let verifier = verifier(&directory, &settings);
    let token = signed(EdDSA, ED25519_PRIVATE, None, &claims(json!({})));
    let others = signed(EdDSA, ED25519_PRIVATE, None, &claims(json!({ "organizationId": "org_2" })));
    let (message, signature) = token.rsplit_once('.').expect("three parts");
    let (others_message, _) = others.rsplit_once('.').expect("three parts");
    let key = EncodingKey::from_ed_pem(ED25519_PRIVATE.as_bytes()).expect("a key");
    let critical = Header { crit: Some(vec!["exp".to_owned()]), ..Header::new(EdDSA) };
    let critical = jsonwebtoken::encode(&critical, &claims(json!({})), &key).expect("a token");
    for broken in [
        String::new(),
        "...".to_owned(),
        message.to_owned(),
        format!("{message}."),
        format!("{token}.{signature}"),
        format!("{others_message}.{signature}"),
        token.replacen('e', "E", 1),
        format!("{token}="),
        critical,
    ] {
        assert_eq!(code(&verifier, &broken).await, "TOKEN_INVALID", "{broken}");
    }
}

#[tokio::test]
async fn issuer_audience_and_times_are_demanded() {
    let (directory, settings) = provider(RSA_PUBLIC);
    let verifier = verifier(&directory, &settings);
    for (changes, expected) in [
        (json!({ "iss": "https://other.example.com" }), "TOKEN_INVALID"),
        (json!({ "iss": null }), "TOKEN_INVALID"),
        (json!({ "iss": "hookline" }), "TOKEN_INVALID"),
        (json!({ "iss": [PROVIDER] }), "TOKEN_INVALID"),
        (json!({ "aud": "another" }), "TOKEN_INVALID"),
        (json!({ "aud": null }), "TOKEN_INVALID"),
        (json!({ "aud": [] }), "TOKEN_INVALID"),
        (json!({ "aud": ["another", "hookline"] }), "believed"),
        (json!({ "exp": null }), "TOKEN_INVALID"),
        (json!({ "exp": "tomorrow" }), "TOKEN_INVALID"),
        (json!({ "exp": in_seconds(900).to_string() }), "TOKEN_INVALID"),
        (json!({ "exp": in_seconds(-3600) }), "TOKEN_EXPIRED"),
        (json!({ "exp": -1 }), "TOKEN_EXPIRED"),
        (json!({ "exp": in_seconds(-15) }), "believed"),
        (json!({ "exp": in_seconds(-45) }), "TOKEN_EXPIRED"),
        (json!({ "nbf": in_seconds(-10) }), "believed"),
        (json!({ "nbf": in_seconds(15) }), "believed"),
        (json!({ "nbf": in_seconds(120) }), "TOKEN_INVALID"),
        (json!({ "nbf": "soon" }), "TOKEN_INVALID"),
        (json!({ "exp": in_seconds(-3600), "aud": "another" }), "TOKEN_INVALID"),
        (json!({ "exp": in_seconds(-3600), "iss": "another" }), "TOKEN_INVALID"),
        (json!({ "exp": in_seconds(-3600), "role": null }), "TOKEN_INVALID"),
        (json!({ "exp": in_seconds(-3600), "nbf": in_seconds(3600) }), "TOKEN_INVALID"),
    ] {
        let token = signed(RS256, RSA_PRIVATE, None, &claims(changes.clone()));
        assert_eq!(code(&verifier, &token).await, expected, "{changes}");
    }
    let forged = signed(EdDSA, OTHER_PRIVATE, None, &claims(json!({ "exp": in_seconds(-3600) })));
    assert_eq!(code(&verifier, &forged).await, "TOKEN_INVALID", "a forged one is never called expired");
}

#[tokio::test]
async fn claims_say_who_the_bearer_is() {
    let (directory, settings) = provider(ED25519_PUBLIC);
    let verifier = verifier(&directory, &settings);
    let role = "the claim of the role is missing";
    let organization = "the claim of the organization is missing";
    let clubs = "the claim of the clubs is no list of texts";
    let of = |role: Role, organization: &str, clubs: Option<&[&str]>| {
        Ok((
            role,
            organization.to_owned(),
            clubs.map(|clubs| clubs.iter().copied().map(ClubId::new).collect()),
        ))
    };
    for (changes, expected) in [
        (json!({}), of(Role::Owner, "org_1", None)),
        (json!({ "role": "ADMIN" }), of(Role::Admin, "org_1", None)),
        (json!({ "role": "owner" }), of(Role::Other("owner".to_owned()), "org_1", None)),
        (json!({ "role": null }), Err(role)),
        (json!({ "role": "" }), Err(role)),
        (json!({ "role": ["OWNER"] }), Err(role)),
        (json!({ "organizationId": null }), Err(organization)),
        (json!({ "organizationId": "" }), Err(organization)),
        (json!({ "organizationId": 7 }), Err(organization)),
        (json!({ "role": "PLATFORM", "organizationId": null }), of(Role::Platform, "", None)),
        (json!({ "role": "PLATFORM" }), of(Role::Platform, "org_1", None)),
        (json!({ "role": "platform", "organizationId": null }), Err(organization)),
        (json!({ "clubIds": [] }), of(Role::Owner, "org_1", Some(&[]))),
        (json!({ "clubIds": ["club_1", "club_2"] }), of(Role::Owner, "org_1", Some(&["club_1", "club_2"]))),
        (json!({ "clubIds": "club_1" }), Err(clubs)),
        (json!({ "clubIds": ["club_1", 2] }), Err(clubs)),
        (json!({ "clubIds": {} }), Err(clubs)),
    ] {
        let token = signed(EdDSA, ED25519_PRIVATE, None, &claims(changes.clone()));
        let found = verifier.verify(&token).await;
        let found = found.map(|caller| (caller.role, caller.organization.as_str().to_owned(), caller.clubs));
        assert_eq!(found, expected.map_err(ApiError::TokenInvalid), "{changes}");
    }
    for (changes, expected) in
        [(json!({}), "user_1"), (json!({ "sub": null }), ""), (json!({ "sub": 7 }), "")]
    {
        let token = signed(EdDSA, ED25519_PRIVATE, None, &claims(changes));
        assert_eq!(verifier.verify(&token).await.expect("a caller").subject, expected);
    }
}

#[tokio::test]
async fn claims_have_the_names_that_are_set() {
    let (directory, settings) = provider(ED25519_PUBLIC);
    let settings = TokenSettings {
        role_claim: "https://izi/role".to_owned(),
        organization_claim: "org".to_owned(),
        clubs_claim: "clubs".to_owned(),
        ..settings
    };
    let verifier = verifier(&directory, &settings);
    let renamed = json!({ "https://izi/role": "ADMIN", "org": "org_2", "clubs": ["club_2"], "clubIds": 7 });
    let caller =
        verifier.verify(&signed(EdDSA, ED25519_PRIVATE, None, &claims(renamed))).await.expect("a caller");
    assert_eq!((caller.role, caller.organization.as_str()), (Role::Admin, "org_2"));
    assert_eq!(caller.clubs, Some(vec![ClubId::new("club_2")]));
}

fn request() -> IssueRequest {
    IssueRequest {
        subject: "somebody".to_owned(),
        role: Role::Owner,
        organization: OrganizationId::new("org_1"),
        clubs: Some(vec![ClubId::new("club_1")]),
        ttl: Duration::from_secs(900),
    }
}

#[tokio::test]
async fn without_a_provider_the_local_key_is_made_and_its_tokens_believed() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = settings();
    let verifier = verifier(&directory, &settings);
    let default = directory.path().join("hookline-tokens.pem");
    let key = local_key(&settings, &default).expect("a key").expect("a local one");
    let now = Clock::start().wall();
    let caller = verifier.verify(&key.issue(&request(), &settings, now)).await.expect("a caller");
    let IssueRequest { subject, role, organization, clubs, .. } = request();
    assert_eq!(caller, Caller { subject, role, organization, clubs });

    let long_ago = key.issue(&request(), &settings, now.before(Duration::from_secs(3600)));
    assert_eq!(verifier.verify(&long_ago).await, Err(ApiError::TokenExpired));
    let other = TokenSettings { audience: "another".to_owned(), ..settings.clone() };
    assert_eq!(code(&verifier, &key.issue(&request(), &other, now)).await, "TOKEN_INVALID");
    let provided = signed(EdDSA, ED25519_PRIVATE, None, &claims(json!({ "iss": "hookline" })));
    assert_eq!(code(&verifier, &provided).await, "TOKEN_INVALID");
}

#[tokio::test]
async fn beside_a_provider_local_tokens_are_believed_only_where_their_key_is_set() {
    let (directory, provided) = provider(RSA_PUBLIC);
    let default = directory.path().join("hookline-tokens.pem");
    let key = LocalKey::load_or_make(&default).expect("a key");
    let token = key.issue(&request(), &provided, Clock::start().wall());
    let alone = verifier(&directory, &provided);
    assert_eq!(code(&alone, &token).await, "TOKEN_INVALID");
    assert!(local_key(&provided, &default).expect("settings").is_none());

    let both = TokenSettings { local_key_file: Some(default.clone()), ..provided.clone() };
    let both = verifier(&directory, &both);
    assert_eq!(code(&both, &token).await, "believed");
    assert_eq!(code(&both, &signed(RS256, RSA_PRIVATE, None, &claims(json!({})))).await, "believed");
    let poses = claims(json!({ "iss": "hookline" }));
    assert_eq!(
        code(&both, &signed(RS256, RSA_PRIVATE, None, &poses)).await,
        "TOKEN_INVALID",
        "each its issuer"
    );

    let missing = directory.path().join("missing.pem");
    let missing = TokenSettings { local_key_file: Some(missing), ..provided };
    let refused = Verifier::new(&missing, &default, Clock::start()).expect_err("no such file");
    assert!(matches!(refused, IdentityError::Local(LocalKeyError::File { .. })), "{refused}");
}

#[test]
fn settings_that_contradict_each_other_are_named() {
    let (directory, provided) = provider(RSA_PUBLIC);
    let default = directory.path().join("hookline-tokens.pem");
    let private = directory.path().join("private.pem");
    std::fs::write(&private, RSA_PRIVATE).expect("written");
    let url = || Some("https://id.example.com/keys".to_owned());
    for (changed, part) in [
        (TokenSettings { jwks_url: url(), ..provided.clone() }, "public_key_file and jwks_url are both set"),
        (TokenSettings { issuer: None, ..provided.clone() }, "issuer is missing"),
        (TokenSettings { issuer: Some(String::new()), ..provided.clone() }, "issuer is missing"),
        (TokenSettings { public_key_file: None, ..provided.clone() }, "issuer is set"),
        (TokenSettings { audience: String::new(), ..provided.clone() }, "audience is empty"),
        (TokenSettings { clubs_claim: "role".to_owned(), ..provided.clone() }, "three names"),
        (TokenSettings { role_claim: "sub".to_owned(), ..provided.clone() }, "three names"),
        (
            TokenSettings {
                public_key_file: None,
                jwks_url: Some("keys.json".to_owned()),
                ..provided.clone()
            },
            "jwks_url: not an absolute URL",
        ),
        (
            TokenSettings {
                public_key_file: None,
                jwks_url: Some("file:///keys".to_owned()),
                ..provided.clone()
            },
            "jwks_url",
        ),
        (TokenSettings { public_key_file: Some(private), ..provided.clone() }, "holds a private key"),
        (
            TokenSettings { public_key_file: Some(directory.path().join("none")), ..provided.clone() },
            "failed to read",
        ),
    ] {
        let refused = Verifier::new(&changed, &default, Clock::start()).expect_err(part).to_string();
        assert!(refused.contains(part), "{part}: {refused}");
        assert!(!default.exists(), "nothing is made where a provider is set");
    }
}

#[tokio::test]
async fn a_token_says_until_when_it_is_good() {
    let (directory, settings) = provider(ED25519_PUBLIC);
    let verifier = verifier(&directory, &settings);
    let expires = in_seconds(900);
    let leeway = 30_000;
    for (exp, until) in [
        (json!(expires), u64::try_from(expires).expect("a time") * 1000 + leeway),
        (json!(u32::MAX), u64::from(u32::MAX) * 1000 + leeway),
        (json!(1e300), u64::MAX),
    ] {
        let token = signed(EdDSA, ED25519_PRIVATE, None, &claims(json!({ "exp": exp })));
        let verified = verifier.verify_until(&token).await.expect("believed");
        assert_eq!(verified.until, Timestamp(until), "{exp}");
        assert_eq!(verified.caller.subject, "user_1");
    }
}
