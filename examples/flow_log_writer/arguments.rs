//! The command line.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use bytesize::ByteSize;
use chrono::{DateTime, Duration, NaiveDateTime, Utc};
use clap::{Args, Parser};

use crate::{
    generator::{
        kind::Kind,
        nic::{Nic, Plan},
        shape::Shape,
    },
    sink::{Account, Azure, Directory, Sink},
};

/// Writes flow logs as Azure does: one PT1H.json for each flow log, network interface and hour, which
/// grows by one block a minute before its closing brackets.
///
/// The same seed gives the same bytes. Without --rounds, --interactive or --bytes every document is committed once,
/// whole.
#[derive(Debug, Parser)]
#[command(name = "flow_log_writer")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) traffic: Traffic,
    /// Write for each committed tuple, in this file, the event that a collector must deliver in its `flow` form. An
    /// older file is replaced.
    #[arg(long, value_name = "FILE")]
    pub(crate) ledger: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) mode: Mode,
    /// Wait between two rounds.
    #[arg(long, value_name = "TIME", default_value = "200ms", requires = "rounds")]
    pub(crate) pause: humantime::Duration,
}

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Write below this directory instead of a storage account.
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// Blob service. The default is the storage emulator's.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:10000/devstoreaccount1")]
    endpoint: String,
    /// Storage account.
    #[arg(long, value_name = "NAME", default_value = "devstoreaccount1")]
    account: String,
    /// Account key. The default is the storage emulator's, which Microsoft publishes.
    #[arg(long, value_name = "BASE64", default_value = EMULATOR_KEY, hide_default_value = true)]
    account_key: String,
    /// Container. The default is the one that Azure has for the kind.
    #[arg(long, value_name = "NAME")]
    container: Option<String>,
    /// Create the container if it is missing.
    #[arg(long)]
    create_container: bool,
}

/// From Microsoft's "Use the Azurite emulator for local Azure Storage development": no secret.
const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// What to write.
#[derive(Debug, Args)]
pub(crate) struct Traffic {
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Network interfaces.
    #[arg(long, default_value_t = 2)]
    pub(crate) nics: u64,
    /// How many of them, the last ones, have no records: their documents stay {"records":[]}.
    #[arg(long, default_value_t = 0)]
    pub(crate) silent: u64,
    /// Flow-log resources: interfaces are dealt out to them. Odd and even ones have paths of the two documented kinds;
    /// network security groups have one kind.
    #[arg(long, default_value_t = 1)]
    roots: u64,
    /// UTC hour of the first documents.
    #[arg(long, value_name = "YYYY-MM-DDTHH", default_value = "2026-11-24T05", value_parser = parse_hour)]
    start_hour: DateTime<Utc>,
    /// Minute of the first hour at which to start.
    #[arg(long, value_name = "M", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..60))]
    first_minute: u32,
    /// Minutes to write; after an hour's last minute the next documents follow.
    #[arg(long, default_value_t = 5)]
    pub(crate) minutes: u32,
    /// Kind of flow log.
    #[arg(long, value_enum, default_value_t = Kind::Vnet)]
    kind: Kind,
    /// Kind of traffic.
    #[arg(long, value_enum, default_value_t = Shape::Typical)]
    shape: Shape,
    /// Mean number of tuples a record, instead of the shape's own.
    #[arg(long, value_name = "N")]
    tuples: Option<usize>,
    /// Give the first interface a record of about this size in the third minute of each hour.
    #[arg(long, value_name = "SIZE", default_value = "0B")]
    huge_bytes: ByteSize,
}

fn parse_hour(text: &str) -> Result<DateTime<Utc>, chrono::ParseError> {
    NaiveDateTime::parse_from_str(&format!("{text}:00"), "%Y-%m-%dT%H:%M").map(|time| time.and_utc())
}

/// How to go about it.
#[derive(Debug, Args)]
#[group(multiple = false, id = "mode")]
pub(crate) struct Mode {
    /// Commit one minute at a time, this many times, instead of --minutes at once. Each is one minute of the documents,
    /// however short --pause is.
    #[arg(long, value_name = "R")]
    pub(crate) rounds: Option<u32>,
    /// Read commands from stdin: `minute` commits one more minute of every interface, `minutes N` does so N times, `quit`
    /// ends. Each is answered on stdout, when all is committed, by `done` and the totals, or by `error`.
    #[arg(long)]
    pub(crate) interactive: bool,
    /// Write one document of about this size instead, quickly and with little memory; needs --directory.
    #[arg(long, value_name = "SIZE", requires = "directory")]
    pub(crate) bytes: Option<ByteSize>,
}

impl Traffic {
    /// What all interfaces have in common.
    pub(crate) fn plan(&self) -> anyhow::Result<Plan> {
        if self.silent > self.nics {
            bail!("--silent {} is more than --nics {}", self.silent, self.nics);
        }
        Ok(Plan {
            seed: self.seed,
            roots: self.roots,
            kind: self.kind,
            shape: self.shape,
            tuples: self.tuples,
            huge_bytes: usize::try_from(self.huge_bytes.as_u64()).context("--huge-bytes is too large")?,
        })
    }

    /// The first minute.
    pub(crate) fn start(&self) -> DateTime<Utc> {
        self.start_hour + Duration::minutes(i64::from(self.first_minute))
    }
}

impl Target {
    /// Opens the target and creates the container if that was asked for.
    pub(crate) async fn open(self, kind: Kind) -> anyhow::Result<Box<dyn Sink>> {
        let Self { directory, endpoint, account, account_key, container, create_container } = self;
        if let Some(directory) = directory {
            return Ok(Box::new(Directory::new(directory)?));
        }
        let container = container.unwrap_or_else(|| kind.container().to_owned());
        let azure = Azure::new(Account { endpoint, name: account, key: account_key, container })?;
        if create_container {
            azure.create_container().await?;
        }
        Ok(Box::new(azure))
    }

    /// Path of the first interface's first document, for a target that is a directory.
    pub(crate) fn document_path(&self, plan: Plan, start: DateTime<Utc>) -> anyhow::Result<PathBuf> {
        let directory = self.directory.as_deref().context("--bytes needs --directory")?;
        Ok(directory.join(Nic::new(plan, 0, false).identity().blob_name(start)))
    }
}
