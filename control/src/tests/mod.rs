//! Tests of the control plane as a whole: the schema over an embedded log, with a CloudPayments on the loopback.

mod acquirer;
mod clients;
mod deliveries;
mod gateways;
mod matrix;
mod payments;
mod schema;
mod secrecy;
mod webhooks;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use async_graphql::{Request, Response, Variables};
use hookline_event_log::PartitionCounts;
use hookline_event_log::embedded::{EmbeddedLog, EmbeddedOptions};
use hookline_registry::Registry;
use hookline_schemas::ids::{ClubId, OrganizationId};
use hookline_schemas::seal::Sealer;
use hookline_schemas::time::Clock;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::acquirer::Acquirer;
use crate::control::{Control, Parts};
use crate::error::ApiError;
use crate::graphql::{Api, Configured, ControlSchema, WebhookLimits};
use crate::identity::{Caller, Identified, Role};
use crate::settings::{CloudPaymentsSettings, PaymentSettings};

/// A control plane over a log of its own, active.
struct Rig {
    log: EmbeddedLog,
    control: Control<EmbeddedLog>,
    schema: ControlSchema<EmbeddedLog>,
    acquirer: Acquirer,
    sealer: Sealer,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// The control, running.
    running: TaskTracker,
    directory: TempDir,
}

/// How a rig differs from others.
struct Setup {
    configured: Configured,
    allow_http: bool,
    callback_url: Option<&'static str>,
    is_active: bool,
    /// Another CloudPayments than the rig's own.
    api_url: Option<String>,
    payments: PaymentSettings,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            configured: Configured::default(),
            allow_http: false,
            callback_url: Some("https://pay.example.com/"),
            is_active: true,
            api_url: None,
            payments: payment_settings(),
        }
    }
}

impl Rig {
    async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    async fn with(setup: Setup) -> Self {
        Self::within(tempfile::tempdir().expect("a scratch directory"), setup).await
    }

    /// Another one over the same log, once this one has ended.
    async fn restarted(self, setup: Setup) -> Self {
        let Self { log, control, schema, stop, running, directory, .. } = self;
        stop.cancel();
        running.close();
        running.wait().await;
        log.close().await;
        drop((log, control, schema));
        Self::within(directory, setup).await
    }

    async fn within(directory: TempDir, setup: Setup) -> Self {
        let options = EmbeddedOptions {
            partitions: PartitionCounts { events: 1, lanes: 2 },
            map_size: 64 * 1024 * 1024,
            reserve: 1024 * 1024,
            allow_page_cache: true,
            lazy_sync: Duration::from_millis(1),
            ..EmbeddedOptions::new(directory.path().join("data"))
        };
        let (clock, tasks, stop) = (Clock::start(), TaskTracker::new(), CancellationToken::new());
        let log = EmbeddedLog::open(options, clock).expect("the log opens");
        let acquirer = Acquirer::start(&tasks).await;
        let sealer = Sealer::new(&[7; 32]);
        let (tell, known) = watch::channel(None::<Arc<Registry>>);
        tasks.spawn(hookline_registry::follow(log.clone(), sealer.clone(), tell));
        let settings = CloudPaymentsSettings {
            api_url: setup.api_url.unwrap_or_else(|| acquirer.url.clone()),
            callback_url: setup.callback_url.map(str::to_owned),
            ca_file: None,
            timeout: Duration::from_secs(10),
            max_concurrency: 5,
        };
        let limits =
            WebhookLimits { allow_http: setup.allow_http, max_deadline: Duration::from_secs(96 * 3600) };
        let parts = Parts {
            log: log.clone(),
            known,
            sealer: sealer.clone(),
            clock,
            configured: setup.configured,
            limits,
            payments: setup.payments,
            view_dir: directory.path().join("views"),
        };
        let control = Control::new(parts, &settings).await.expect("a control plane");
        let schema = crate::graphql::schema(control.api());
        let rig = Self {
            log,
            control,
            schema,
            acquirer,
            sealer,
            stop,
            tasks,
            running: TaskTracker::new(),
            directory,
        };
        if setup.is_active {
            rig.start().await;
        }
        rig
    }

    /// Makes it the active one.
    async fn start(&self) {
        let (control, stop) = (self.control.clone(), self.stop.clone());
        self.running.spawn(async move { control.run(&stop).await });
        let mut active = self.api().store.active();
        active.wait_for(Option::is_some).await.expect("it becomes the active one");
        until(async || self.api().attempts.loaded().is_some()).await;
    }

    fn api(&self) -> &Arc<Api<EmbeddedLog>> {
        self.control.api()
    }

    fn registry(&self) -> Arc<Registry> {
        self.api().store.registry().expect("the registry has been read")
    }

    async fn execute(&self, caller: &Result<Caller, ApiError>, query: &str, variables: Value) -> Response {
        let request = Request::new(query).variables(Variables::from_json(variables));
        self.schema.execute(request.data(Identified(caller.clone()))).await
    }

    /// What an OWNER is answered.
    async fn owner(&self, query: &str) -> Value {
        data(self.execute(&Ok(owner()), query, json!({})).await)
    }

    /// Why an OWNER is refused.
    async fn refused(&self, query: &str) -> ApiError {
        self.refused_with(query, json!({})).await
    }

    async fn refused_with(&self, query: &str, variables: Value) -> ApiError {
        error(&self.execute(&Ok(owner()), query, variables).await)
            .unwrap_or_else(|| panic!("{query} was done"))
    }
}

pub(crate) fn payment_settings() -> PaymentSettings {
    PaymentSettings {
        top_up_lifetime: Duration::from_secs(900),
        retention: Duration::from_secs(400 * 24 * 3600),
        reconcile_every: Duration::ZERO,
        reconcile_after: Duration::from_secs(900),
        repair: false,
        view_dir: None,
    }
}

fn caller(role: &str, organization: &str, clubs: Option<&[&str]>) -> Caller {
    Caller {
        subject: "user_1".to_owned(),
        role: Role::named(role),
        organization: OrganizationId::new(organization),
        clubs: clubs.map(|clubs| clubs.iter().map(ClubId::new).collect()),
    }
}

fn owner() -> Caller {
    caller("OWNER", "org_1", None)
}

/// The data of an answer without errors.
fn data(response: Response) -> Value {
    assert_eq!(response.errors, [], "{response:?}");
    response.data.into_json().expect("JSON")
}

/// The first error of an answer, if it is one of ours.
fn error(response: &Response) -> Option<ApiError> {
    let first = response.errors.first()?;
    let ours = first.source::<ApiError>();
    Some(ours.cloned().unwrap_or_else(|| panic!("not an error of ours: {first:?}")))
}

/// Waits until it is so.
async fn until(is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it happens");
}
