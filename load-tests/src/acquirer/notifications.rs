//! `/site/notifications/{Type}/get` and `/update`: where a site's notifications go. Every documented type can be
//! read; every one of them but Check, which is set in the cabinet alone, can be written.

use hookline_schemas::notification::NotificationType;
use serde::{Deserialize, Serialize};

use super::answer::Envelope;
use super::fields::Fields;
use super::site::OpenSite;

/// The types that the documentation names.
pub(super) const DOCUMENTED: [NotificationType; 7] = [
    NotificationType::Check,
    NotificationType::Pay,
    NotificationType::Fail,
    NotificationType::Confirm,
    NotificationType::Refund,
    NotificationType::Recurrent,
    NotificationType::Cancel,
];

/// How one type of a site's notifications is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NotificationSettings {
    /// Whether it is sent at all.
    pub is_enabled: bool,
    /// Where to; there is one if it is sent.
    pub address: Option<String>,
    /// `GET` or `POST`.
    pub http_method: String,
    /// `UTF8` or `Windows1251`.
    pub encoding: String,
    /// `CloudPayments`, `QIWI` or `RT`.
    pub format: String,
}

impl Default for NotificationSettings {
    /// Not sent; by GET, because that is the API's default.
    fn default() -> Self {
        Self {
            is_enabled: false,
            address: None,
            http_method: "GET".to_owned(),
            encoding: "UTF8".to_owned(),
            format: "CloudPayments".to_owned(),
        }
    }
}

impl NotificationSettings {
    /// Posted to this address, as hookline wants it.
    pub fn posted_to(address: impl Into<String>) -> Self {
        let address = Some(address.into());
        Self { is_enabled: true, address, http_method: "POST".to_owned(), ..Self::default() }
    }

    /// Whether it is sent at all, and in the only way in which this server sends.
    pub(super) fn is_postable(&self) -> bool {
        let is_usual =
            self.http_method == "POST" && self.encoding == "UTF8" && self.format == "CloudPayments";
        self.is_enabled && is_usual
    }

    /// What is absent is the default, whatever was set before.
    fn read(fields: &Fields) -> Result<Self, String> {
        let one_of = |name: &str, values: &[&str]| match fields.text(name) {
            None => Ok(values.first().copied().unwrap_or_default().to_owned()),
            Some(text) if values.contains(&text) => Ok(text.to_owned()),
            Some(_) => Err(format!("{name} is none of {}", values.join(", "))),
        };
        let settings = Self {
            is_enabled: fields.flag("IsEnabled"),
            address: fields.text("Address").map(str::to_owned),
            http_method: one_of("HttpMethod", &["GET", "POST"])?,
            encoding: one_of("Encoding", &["UTF8", "Windows1251"])?,
            format: one_of("Format", &["CloudPayments", "QIWI", "RT"])?,
        };
        if settings.is_enabled && settings.address.is_none() {
            return Err("Address is needed where IsEnabled is true".to_owned());
        }
        Ok(settings)
    }
}

fn documented(kind: &str) -> Result<NotificationType, Envelope> {
    let found = NotificationType::of_segment(kind).filter(|kind| DOCUMENTED.contains(kind));
    found.ok_or_else(|| Envelope::refused(format!("there is no type {kind}")))
}

/// How a type is set.
pub(super) fn get(site: &OpenSite, kind: &str) -> Envelope {
    match documented(kind) {
        Ok(kind) => Envelope::found(&site.notifications.get(&kind).cloned().unwrap_or_default()),
        Err(refused) => refused,
    }
}

/// Sets a type; it is remembered as a whole.
pub(super) fn update(site: &mut OpenSite, kind: &str, fields: &Fields) -> Envelope {
    let kind = match documented(kind) {
        Ok(NotificationType::Check) => {
            return Envelope::refused("Check can be set in the merchant's cabinet alone");
        }
        Ok(kind) => kind,
        Err(refused) => return refused,
    };
    match NotificationSettings::read(fields) {
        Ok(settings) => {
            site.notifications.insert(kind, settings);
            Envelope::done()
        }
        Err(reason) => Envelope::refused(reason),
    }
}
