//! Sums over a client's payments: worked out each time, so that nothing can count twice.

use std::collections::BTreeMap;

use hookline_schemas::ids::ClubId;
use hookline_schemas::money::Amount;
use tokio_rusqlite::rusqlite::{Connection, Result};

/// What a client was credited with, and got back, in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) currency: String,
    pub(crate) credited: Amount,
    pub(crate) refunded: Amount,
    /// How many payments were credited.
    pub(crate) payments: usize,
}

/// The totals, by currency.
pub(super) fn totals(
    database: &Connection,
    organization: &str,
    client: &str,
    clubs: Option<&[ClubId]>,
    is_test: bool,
) -> Result<Vec<Totals>> {
    let find = "SELECT currency, credited, refunded, club FROM payments \
                WHERE organization = ?1 AND client = ?2 AND is_test = ?3 AND currency IS NOT NULL";
    let mut find = database.prepare_cached(find)?;
    let mut rows = find.query((organization, client, is_test))?;
    let mut by_currency = BTreeMap::<String, Totals>::new();
    while let Some(row) = rows.next()? {
        let club: String = row.get(3)?;
        if clubs.is_some_and(|clubs| !clubs.iter().any(|own| own.as_str() == club)) {
            continue;
        }
        let amount =
            |column| -> Result<Amount> { Ok(row.get::<_, String>(column)?.parse().unwrap_or(Amount::ZERO)) };
        let (currency, credited, refunded): (String, _, _) = (row.get(0)?, amount(1)?, amount(2)?);
        let totals = by_currency.entry(currency.clone()).or_insert_with(|| Totals {
            currency,
            credited: Amount::ZERO,
            refunded: Amount::ZERO,
            payments: 0,
        });
        totals.credited = totals.credited.plus(credited);
        totals.refunded = totals.refunded.plus(refunded);
        totals.payments += usize::from(!credited.is_zero());
    }
    Ok(by_currency.into_values().collect())
}
