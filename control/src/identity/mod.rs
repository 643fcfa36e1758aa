//! Who is calling: what a token that was believed says of its bearer.

use hookline_schemas::ids::{ClubId, OrganizationId};

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
