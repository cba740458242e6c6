//! `banyanctl leader`: who leads.

use banyan_api::cluster::ClusterStatus;
use clap::Subcommand;
use ureq::http::Method;

use super::member::{print_change, send};
use crate::client::{Call, Client};
use crate::error::CliError;
use crate::output::{Output, or_dash};

/// What to do about the leader.
#[derive(Debug, Subcommand)]
pub(crate) enum Leader {
    /// Let another voter lead: the one named, or the one that is fit best
    Transfer {
        /// Id of the voter
        #[arg(long, value_name = "ID")]
        to: Option<u64>,
        /// Say what would happen and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

impl Leader {
    /// Does it.
    pub(super) fn run(&self, client: &Client, output: &mut Output<'_>) -> Result<(), CliError> {
        let Self::Transfer { to, dry_run } = *self;
        let query = vec![("to", to.map(|id| id.to_string()))];
        let change = send(client, Method::POST, "/v1/cluster/leader", query, dry_run)?;
        print_change(&change, output)?;
        if dry_run || output.is_json() {
            return Ok(());
        }
        let status: ClusterStatus = client.fetch(&Call {
            path: "/v1/cluster",
            ..Call::default()
        })?;
        output.line(&format!(
            "node {} leads, in term {}",
            or_dash(status.leader),
            status.term
        ))
    }
}
