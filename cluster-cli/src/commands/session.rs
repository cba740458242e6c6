//! `banyanctl session`: who has an MQTT session, and what it waits for.

use banyan_api::session::{self, Kicked, Sessions};
use clap::Subcommand;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::Method;

use crate::client::{Call, Client};
use crate::error::CliError;
use crate::output::{Output, or_dash};

/// Sessions asked for at a time.
const PAGE: usize = 1_000;

/// What to do with sessions.
#[derive(Debug, Subcommand)]
pub(crate) enum Session {
    /// List sessions by client identifier: where each is connected, and what it waits for
    List {
        /// At most so many
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
    },
    /// Show one session with its subscriptions
    Show {
        /// The client identifier
        client_id: String,
    },
    /// End a session and close its connection
    Kick {
        /// The client identifier
        client_id: String,
    },
}

impl Session {
    /// Does it.
    pub(super) fn run(&self, client: &Client, output: &mut Output<'_>) -> Result<(), CliError> {
        match self {
            Self::List { limit } => print_list(&fetch_all(client, *limit)?, output),
            Self::Show { client_id } => {
                let session = client.fetch(&Call {
                    path: &path(client_id),
                    ..Call::default()
                })?;
                print_one(&session, output)
            }
            Self::Kick { client_id } => {
                let kicked: Kicked = client.fetch(&Call {
                    method: Method::DELETE,
                    path: &path(client_id),
                    ..Call::default()
                })?;
                if output.is_json() {
                    return output.json(&kicked);
                }
                output.line("session ended")
            }
        }
    }
}

fn path(client_id: &str) -> String {
    format!("/v1/sessions/{}", utf8_percent_encode(client_id, NON_ALPHANUMERIC))
}

/// All pages as one.
fn fetch_all(client: &Client, limit: Option<usize>) -> Result<Sessions, CliError> {
    let mut all = Sessions::default();
    loop {
        let wanted = limit.map_or(PAGE, |limit| limit.saturating_sub(all.items.len()).min(PAGE));
        if wanted == 0 {
            return Ok(all);
        }
        let page: Sessions = client.fetch(&Call {
            path: "/v1/sessions",
            query: vec![("limit", Some(wanted.to_string())), ("cursor", all.next.take())],
            ..Call::default()
        })?;
        all.revision = page.revision;
        all.items.extend(page.items);
        all.next = page.next;
        if all.next.is_none() {
            return Ok(all);
        }
    }
}

fn print_list(sessions: &Sessions, output: &mut Output<'_>) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(sessions);
    }
    let header = [
        "CLIENT",
        "NODE",
        "SUBSCRIPTIONS",
        "WAITING",
        "SECONDS",
        "IN FLIGHT",
        "EXPIRY",
    ];
    output.table(header, sessions.items.iter().map(row).collect())
}

fn row(session: &session::Session) -> [String; 7] {
    [
        session.client_id.clone(),
        or_dash(session.node),
        session.subscription_count.to_string(),
        waiting(session),
        session.lag_s.to_string(),
        session.in_flight.to_string(),
        expiry(session),
    ]
}

fn waiting(session: &session::Session) -> String {
    let at_least = if session.lag_is_partial { "≥ " } else { "" };
    format!("{at_least}{}", session.lag_messages)
}

fn expiry(session: &session::Session) -> String {
    session
        .expiry_s
        .map_or_else(|| "never".to_owned(), |seconds| format!("{seconds} s"))
}

fn print_one(session: &session::Session, output: &mut Output<'_>) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(session);
    }
    let since = or_dash(session.since.map(banyan_api::timestamp::format_us));
    output.line(&match session.node {
        Some(node) => format!("{}  connected to node {node} since {since}", session.client_id),
        None => format!("{}  not connected since {since}", session.client_id),
    })?;
    output.line(&format!(
        "waiting {} messages, the oldest for {} s  in flight {}  expiry {}  will {}",
        waiting(session),
        session.lag_s,
        session.in_flight,
        expiry(session),
        if session.has_will { "yes" } else { "no" },
    ))?;
    if session.subscriptions.is_empty() {
        return Ok(());
    }
    output.line("")?;
    let header = ["FILTER", "QOS", "OPTIONS", "ID"];
    let rows = session.subscriptions.iter().map(|subscription| {
        let options = [
            (subscription.no_local, "no local"),
            (subscription.retain_as_published, "retain as published"),
            (subscription.latest, "latest"),
            (subscription.replaying, "replaying"),
        ];
        let options: Vec<_> = options.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
        [
            subscription.filter.clone(),
            subscription.qos.to_string(),
            or_dash((!options.is_empty()).then(|| options.join(", "))),
            or_dash(subscription.subscription_id),
        ]
    });
    output.table(header, rows.collect())
}

#[cfg(test)]
mod tests {
    use banyan_api::session::Subscription;

    use super::*;
    use crate::output::{Format, printed};

    fn session() -> session::Session {
        session::Session {
            client_id: "sensor-7".into(),
            since: Some(1_500_000),
            expiry_s: Some(60),
            subscription_count: 1,
            lag_messages: 12,
            lag_is_partial: true,
            lag_s: 3,
            in_flight: 2,
            ..session::Session::default()
        }
    }

    #[test]
    fn one_line_per_session() {
        let connected = session::Session {
            client_id: "b".into(),
            connected: true,
            node: Some(2),
            expiry_s: None,
            lag_is_partial: false,
            lag_messages: 0,
            ..session()
        };
        let sessions = Sessions {
            revision: 7,
            items: vec![session(), connected],
            next: None,
        };
        let text = printed(Format::Table, |output| print_list(&sessions, output));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[1],
            "sensor-7  -     1              ≥ 12     3        2          60 s"
        );
        assert_eq!(
            lines[2],
            "b         2     1              0        3        2          never"
        );
        let json = printed(Format::Json, |output| print_list(&sessions, output));
        assert_eq!(serde_json::from_str::<Sessions>(&json).unwrap(), sessions);
    }

    #[test]
    fn one_session_with_its_subscriptions() {
        let mut session = session();
        session.subscriptions.push(Subscription {
            filter: "$share/g/a/#".into(),
            qos: 1,
            latest: true,
            ..Subscription::default()
        });
        let text = printed(Format::Table, |output| print_one(&session, output));
        assert_eq!(
            text,
            "sensor-7  not connected since 1.5\n\
             waiting ≥ 12 messages, the oldest for 3 s  in flight 2  expiry 60 s  will no\n\
             \n\
             FILTER        QOS  OPTIONS  ID\n\
             $share/g/a/#  1    latest   -\n"
        );
    }

    #[test]
    fn a_client_identifier_is_one_segment_of_the_path() {
        assert_eq!(path("a/b c"), "/v1/sessions/a%2Fb%20c");
    }
}
