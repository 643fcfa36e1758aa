//! Lists: payments and open top-ups of an organization, the latest first, page by page.

use hookline_schemas::ids::{ClubId, GatewayId, OrganizationId};
use hookline_schemas::payment::{PaymentRecord, PaymentStatus, TopUpRecord};
use hookline_schemas::time::Timestamp;
use serde::de::DeserializeOwned;
use tokio_rusqlite::rusqlite::types::Value;
use tokio_rusqlite::rusqlite::{Connection, Result, params_from_iter};

use super::Shown;
use super::rows::{milliseconds, records, with_payment, with_top_up};

/// What is asked for. Everything that is set has to be so.
#[derive(Debug, Clone)]
pub(crate) struct PaymentFilter {
    pub(crate) organization: OrganizationId,
    /// One of these clubs; none: all.
    pub(crate) clubs: Option<Vec<ClubId>>,
    pub(crate) client: Option<String>,
    pub(crate) gateway: Option<GatewayId>,
    pub(crate) status: Option<PaymentStatus>,
    pub(crate) is_test: Option<bool>,
    /// Began then or later.
    pub(crate) since: Option<Timestamp>,
    /// Began earlier.
    pub(crate) until: Option<Timestamp>,
    /// An open top-up that has ended by now counts as failed.
    pub(crate) now: Timestamp,
}

/// The place of a row: the next page begins behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) created_at: Timestamp,
    pub(crate) id: String,
}

/// A row of a page.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) cursor: Cursor,
    pub(crate) shown: Shown,
}

/// A statement as it grows: its conditions, and what is put into them.
#[derive(Debug, Default)]
struct Conditions {
    text: String,
    values: Vec<Value>,
}

impl Conditions {
    /// One more condition; each `?` in it is one of the values.
    fn and(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.text.push_str(if self.text.is_empty() { "WHERE " } else { " AND " });
        self.text.push_str(condition);
        self.values.extend(values);
    }
}

/// One page, at most so long. Payments and top-ups are asked for on their own, each in the order of its index, and
/// merged.
pub(super) fn list(
    database: &Connection,
    filter: &PaymentFilter,
    behind: Option<&Cursor>,
    most: usize,
) -> Result<Vec<Listed>> {
    let mut listed = payments(database, filter, behind, most)?;
    listed.extend(open_top_ups(database, filter, behind, most)?);
    listed.sort_by(|one, other| {
        (other.cursor.created_at, &other.cursor.id).cmp(&(one.cursor.created_at, &one.cursor.id))
    });
    listed.truncate(most);
    Ok(listed)
}

/// Payments, but for the failed tries of top-ups of ours: those are shown with them.
fn payments(
    database: &Connection,
    filter: &PaymentFilter,
    behind: Option<&Cursor>,
    most: usize,
) -> Result<Vec<Listed>> {
    let mut conditions = common(filter, behind);
    if let Some(status) = filter.status {
        conditions.and("status = ?", [status.as_str().to_owned().into()]);
    }
    if let Some(is_test) = filter.is_test {
        conditions.and("is_test = ?", [is_test.into()]);
    }
    conditions.and(
        "(status NOT IN ('FAILED', 'PENDING') OR invoice IS NULL \
          OR NOT EXISTS (SELECT 1 FROM top_ups t WHERE t.key = 'top_up/' || r.gateway || '/' || r.invoice))",
        [],
    );
    page(database, "payments", conditions, most, |payment: PaymentRecord| {
        let cursor = Cursor { created_at: payment.created_at, id: payment.id.to_string() };
        Ok(Listed { cursor, shown: with_top_up(database, payment)? })
    })
}

/// Top-ups that nobody has taken.
fn open_top_ups(
    database: &Connection,
    filter: &PaymentFilter,
    behind: Option<&Cursor>,
    most: usize,
) -> Result<Vec<Listed>> {
    let mut conditions = common(filter, behind);
    match filter.status {
        None => {}
        Some(PaymentStatus::Pending) => {
            conditions.and("expires_at > ?", [milliseconds(filter.now).into()]);
        }
        Some(PaymentStatus::Failed) => {
            conditions.and("expires_at <= ?", [milliseconds(filter.now).into()]);
        }
        Some(PaymentStatus::Authorized | PaymentStatus::Confirmed | PaymentStatus::Cancelled) => {
            return Ok(Vec::new());
        }
    }
    // Nobody has paid: it is no test yet.
    if filter.is_test == Some(true) {
        return Ok(Vec::new());
    }
    conditions.and(
        "NOT EXISTS (SELECT 1 FROM payments p WHERE p.gateway = r.gateway AND p.invoice = r.id \
                     AND p.status IN ('CONFIRMED', 'AUTHORIZED', 'CANCELLED'))",
        [],
    );
    page(database, "top_ups", conditions, most, |top_up: TopUpRecord| {
        let cursor = Cursor { created_at: top_up.created_at, id: top_up.id.to_string() };
        Ok(Listed { cursor, shown: with_payment(database, top_up)? })
    })
}

/// The latest records of a table under these conditions, as they are listed.
fn page<R: DeserializeOwned>(
    database: &Connection,
    table: &str,
    Conditions { text, values }: Conditions,
    most: usize,
    listed: impl Fn(R) -> Result<Listed>,
) -> Result<Vec<Listed>> {
    let list = format!("SELECT record FROM {table} r {text} ORDER BY created_at DESC, id DESC LIMIT {most}");
    records(database, &list, params_from_iter(values))?.into_iter().map(listed).collect()
}

/// What both have.
fn common(filter: &PaymentFilter, behind: Option<&Cursor>) -> Conditions {
    let mut conditions = Conditions::default();
    let text = |text: &str| Value::from(text.to_owned());
    conditions.and("organization = ?", [text(filter.organization.as_str())]);
    if let Some(client) = &filter.client {
        conditions.and("client = ?", [text(client)]);
    }
    if let Some(gateway) = &filter.gateway {
        conditions.and("gateway = ?", [text(gateway.as_str())]);
    }
    if let Some(clubs) = &filter.clubs {
        let marks = vec!["?"; clubs.len()].join(", ");
        conditions.and(&format!("club IN ({marks})"), clubs.iter().map(|club| text(club.as_str())));
    }
    if let Some(since) = filter.since {
        conditions.and("created_at >= ?", [milliseconds(since).into()]);
    }
    if let Some(until) = filter.until {
        conditions.and("created_at < ?", [milliseconds(until).into()]);
    }
    if let Some(Cursor { created_at, id }) = behind {
        conditions.and("(created_at, id) < (?, ?)", [milliseconds(*created_at).into(), text(id)]);
    }
    conditions
}
