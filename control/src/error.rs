//! What a caller is told when something is not done: IZI's codes.

use hookline_schemas::ids::ClubId;

/// Why an operation is not done. The message is for people; [`ApiError::code`] is what programs read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    /// No token.
    #[error("a token is needed: Authorization: Bearer ...")]
    Unauthenticated,
    /// The token was good once.
    #[error("Token is expired")]
    TokenExpired,
    /// Forged, corrupted, of another issuer or for another audience.
    #[error("Token is invalid: {0}")]
    TokenInvalid(&'static str),
    /// The role is too low.
    #[error("No rights for the action: {0}")]
    Forbidden(&'static str),
    /// The club is not the caller's.
    #[error("club {0} is not among those of the token")]
    ClubAccessDenied(ClubId),
    /// Does not exist, or is another organization's: the two are not told apart.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// It is there already.
    #[error("{0}")]
    AlreadyExists(String),
    /// A value is understood, and not allowed.
    #[error("{field}: {details}")]
    Validation {
        /// The input's field.
        field: &'static str,
        /// What is wrong with it.
        details: String,
    },
    /// The same is there already, and can still be paid.
    #[error("Duplicate transaction")]
    Duplicate {
        /// The id of that one.
        of: String,
    },
    /// CloudPayments was asked, and said no.
    #[error("Payment declined: {0}")]
    Declined(String),
    /// This control is not the active one, or the log can't be written: nothing has changed.
    #[error("{0}")]
    Unavailable(String),
    /// Who listens was too slow.
    #[error("some of what was told was missed: ask for what is wanted of it")]
    Missed,
    /// The log may have it or not: look before you ask again.
    #[error("it may have been done or not: look before you ask again")]
    Unknown,
}

impl ApiError {
    /// `extensions.code`.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::TokenInvalid(_) => "TOKEN_INVALID",
            Self::Forbidden(_) => "FORBIDDEN",
            Self::ClubAccessDenied(_) => "CLUB_ACCESS_DENIED",
            Self::NotFound(_) => "NOT_FOUND",
            Self::AlreadyExists(_) | Self::Duplicate { .. } => "ALREADY_EXISTS",
            Self::Validation { .. } => "VALIDATION_ERROR",
            Self::Declined(_) => "PAYMENT_DECLINED",
            Self::Unavailable(_) => "SERVICE_UNAVAILABLE",
            Self::Missed => "EVENTS_MISSED",
            Self::Unknown => "OUTCOME_UNKNOWN",
        }
    }

    /// `extensions.field`, where it is about one.
    pub(crate) const fn field(&self) -> Option<&'static str> {
        match self {
            Self::Validation { field, .. } => Some(field),
            _ => None,
        }
    }

    /// `extensions.details`, where there are some.
    pub(crate) fn details(&self) -> Option<&str> {
        match self {
            Self::Validation { details, .. } => Some(details),
            Self::Duplicate { of } => Some(of),
            _ => None,
        }
    }
}
