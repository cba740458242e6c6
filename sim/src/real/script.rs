//! The order of things in a run.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use banyan_api::cluster::Member;
use banyan_core::state::TombstoneBounds;
use banyan_node::components::SystemClock;
use banyan_node::net::Tcp;
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::cluster::{Cluster, SETTLE_TIMEOUT};
use super::committed::Harvest;
use super::error::RealError;
use super::failover::{self, Probes};
use super::faults::{self, Kind};
use super::judge::{self, Observations, Verdict};
use super::machine::Machine;
use super::observer;
use super::patience::Patience;
use super::report::Report;
use super::scene::{Phase, Scene};
use super::stage::Stage;
use super::{Options, gaps};
use crate::client::http::{HttpClient, Listing};
use crate::history::{
    Answer, Call, CommittedLog, Consistency, FinalState, Finished, History, LogIdSeen, Recorder, RunSettings, Time,
};
use crate::model::Replay;
use crate::workload::{self, Behaviour, Context, Ending, NodeAddresses, Plan, Stop, Workload};

/// Time without faults at the beginning: what is slow later was not slow for lack of a start.
const WARM_UP: Duration = Duration::from_secs(3);
/// Chaos at a time.
const CHAOS: Duration = Duration::from_secs(35);
/// Calm after all nodes are ready again, so that clients get through too.
const CALM: Duration = Duration::from_secs(2);
/// Time for faults to undo themselves.
const UNDO_TIMEOUT: Duration = Duration::from_secs(60);
/// A client gives up on an answer after this. Longer than the nodes' own timeouts.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(7);
/// Time for subscribers to receive what is under way at the end.
const DRAIN: Duration = Duration::from_secs(6);
/// Clients pause so many times shorter than in the simulator.
const HURRY: u32 = 3;
/// Acknowledged writes a second, before the first fault, below which a run proves nothing.
const WRITES_PER_SECOND_MIN: f64 = 5.0;
/// Longest election timeout of the nodes, with room for machines that are busy with building them.
const ELECTION_TIMEOUT: Duration = Duration::from_millis(1_000);

/// Everything from the first start to the last check.
pub(super) async fn play(
    options: &Options,
    stage: &Stage,
    machine: &Machine,
    kinds: &[Kind],
    binary: &Path,
) -> Result<Report, RealError> {
    let cluster = Arc::new(Cluster::new(
        stage,
        machine,
        usize::from(options.nodes),
        binary,
        options.volume_mib,
    )?);
    cluster.start_all().await?;
    cluster.wait_until_ready().await.map_err(RealError::Start)?;

    let scene = Arc::new(Scene::new(cluster));
    let observations = Observations::default();
    let harvest = Arc::new(Mutex::new(Harvest::new(stage.dir())));
    let mut watchers = JoinSet::new();
    watchers.spawn(observer::watch_nodes(Arc::clone(&scene), observations.clone()));
    watchers.spawn(observer::watch_processes(Arc::clone(&scene)));
    watchers.spawn(observer::watch_time(Arc::clone(&scene)));
    watchers.spawn(observer::watch_logs(Arc::clone(&scene), Arc::clone(&harvest)));

    let context = context(&scene);
    let mut kills = Vec::new();
    let healed_at;
    match options.measure_failover {
        Some(count) => {
            let probes = Probes::start(&context);
            kills = failover::kill_leaders(&scene, count).await?;
            healed_at = scene.now();
            heal(&scene).await;
            probes.finish().await;
        }
        None => {
            let clients = workload::spawn(&plan(options.seed), &context);
            warm_up(&scene, &context.recorder).await?;
            chaos(&scene, &context, kinds, options).await;
            healed_at = scene.now();
            heal(&scene).await;
            finish_clients(&scene, clients).await;
        }
    }
    let finals = final_states(&scene, &context).await;
    watchers.shutdown().await;
    if let Some(error) = scene.take_failure() {
        return Err(error);
    }
    if scene.violations().is_empty() {
        for wrong in scene.cluster.stop_all().await {
            scene.violated("I-61", wrong);
        }
    }
    let ended = Ended {
        finals,
        healed_at,
        kills,
    };
    Ok(judge_run(
        options,
        stage,
        &scene,
        &context.recorder,
        &observations,
        &harvest,
        &ended,
    ))
}

/// What is known when the nodes have stopped.
struct Ended {
    finals: Vec<FinalState>,
    healed_at: Time,
    kills: Vec<Time>,
}

fn context(scene: &Arc<Scene>) -> Context {
    let address = |node: &Arc<super::node::Node>| NodeAddresses {
        node: node.id,
        mqtt: node.mqtt().to_string(),
        http: node.http().to_string(),
    };
    let started = scene.started();
    Context {
        net: Arc::new(Tcp),
        nodes: scene.cluster.nodes().iter().map(address).collect(),
        recorder: Recorder::new(),
        now: Arc::new(move || started.elapsed().as_micros() as Time),
        wall: Arc::new(SystemClock),
        timeout: CLIENT_TIMEOUT,
        stop: Stop::default(),
        ending: Ending::default(),
    }
}

/// The simulator's clients, in more of a hurry: real time is dearer than simulated.
fn plan(seed: u64) -> Plan {
    let mut plan = Plan::draw(&mut StdRng::seed_from_u64(seed));
    for client in &mut plan.clients {
        match &mut client.behaviour {
            Behaviour::Publisher(publisher) => publisher.pause /= HURRY,
            Behaviour::Requester(requester) => requester.pause /= HURRY,
            _ => {}
        }
    }
    plan
}

async fn warm_up(scene: &Scene, recorder: &Recorder) -> Result<(), RealError> {
    tokio::time::sleep(WARM_UP).await;
    let writes = recorder.with(gaps::acknowledged);
    let per_second = writes as f64 / WARM_UP.as_secs_f64();
    scene.note(format!(
        "{per_second:.0} acknowledged writes a second before the first fault"
    ));
    if per_second < WRITES_PER_SECOND_MIN {
        return Err(RealError::Start(format!(
            "only {per_second:.1} writes a second are acknowledged without any fault: such a run proves nothing"
        )));
    }
    Ok(())
}

/// Chaos and calm in turn for the time that was asked for.
async fn chaos(scene: &Arc<Scene>, context: &Context, kinds: &[Kind], options: &Options) {
    let mut nemesis = faults::start(scene, context, kinds, options.seed);
    let end = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
    while Instant::now() < end && !scene.stop.is_cancelled() {
        scene.enter(Phase::Chaos);
        let until = end.min(Instant::now() + CHAOS);
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = scene.stop.cancelled() => {}
        }
        scene.enter(Phase::Calm);
        if scene.stop.is_cancelled() {
            break;
        }
        calm(scene).await;
    }
    scene.enter(Phase::Over);
    let undone = timeout(UNDO_TIMEOUT, async {
        while let Some(joined) = nemesis.join_next().await {
            if let Err(error) = joined
                && error.is_panic()
            {
                scene.fail(RealError::Usage(format!("a fault panicked: {error}")));
            }
        }
    });
    if undone.await.is_err() {
        scene.fail(RealError::Usage("faults do not undo themselves".to_owned()));
    }
}

/// All faults have ended: every node must be able to serve again.
async fn calm(scene: &Scene) {
    let mut patience = Patience::new(UNDO_TIMEOUT);
    while scene.is_at_work() && !patience.is_over() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let healed = Instant::now();
    let ready = tokio::select! {
        ready = scene.cluster.wait_until_ready() => ready,
        () = scene.stop.cancelled() => return,
    };
    match ready {
        Ok(()) => {
            let time = healed.elapsed();
            scene.healed_in(time);
            scene.note(format!(
                "calm: all nodes are ready {:.1} s after the last fault",
                time.as_secs_f64()
            ));
            tokio::time::sleep(CALM).await;
        }
        Err(message) => scene.violated("I-60", format!("without any fault {message}")),
    }
}

/// Starts what does not run and waits until all is well. The last calm has done that, unless the run was broken off.
async fn heal(scene: &Scene) {
    if !scene.violations().is_empty() {
        return;
    }
    if let Err(error) = scene.cluster.start_all().await {
        scene.fail(error);
        return;
    }
    if let Err(message) = scene.cluster.wait_until_ready().await {
        scene.violated("I-60", format!("without any fault {message}"));
    }
}

async fn finish_clients(scene: &Scene, clients: Workload) {
    let stood_still = scene.tally().outcomes.get(observer::STOOD_STILL).copied();
    let aborted = clients.finish(DRAIN, CLIENT_TIMEOUT * 2).await;
    if stood_still != scene.tally().outcomes.get(observer::STOOD_STILL).copied() {
        return; // their time was over before they had it
    }
    if aborted > 0 && scene.violations().is_empty() {
        scene.violated(
            "I-61",
            format!("{aborted} clients do not come to an end though nothing is broken any more"),
        );
    }
}

/// What every node holds once all have applied the same. Nothing if they do not get there.
async fn final_states(scene: &Scene, context: &Context) -> Vec<FinalState> {
    if !scene.violations().is_empty() {
        return Vec::new();
    }
    let members = match scene.cluster.wait_until_equal(SETTLE_TIMEOUT).await {
        Ok(members) => members,
        Err(told) => {
            scene.violated("I-62", format!("nodes do not converge: {told}"));
            return Vec::new();
        }
    };
    let mut finals = Vec::new();
    for (member, address) in members.iter().zip(context.nodes.iter()) {
        let call = Call::List {
            filter: "#".to_owned(),
            consistency: Consistency::Linearizable,
        };
        let mut client = HttpClient::new(Arc::clone(&context.net), &address.http);
        let answer = client.call(&call, 0, Listing::Stream, CLIENT_TIMEOUT).await;
        let Answer::Rows { rows, .. } = answer else {
            scene.violated(
                "I-61",
                format!("node {} does not list its topics at the end: {answer}", member.id),
            );
            continue;
        };
        finals.push(FinalState {
            topics: Some(rows.into_iter().collect()),
            ..final_state(member)
        });
    }
    finals
}

fn final_state(member: &Member) -> FinalState {
    FinalState {
        node: member.id,
        applied: member.applied_index.map(|index| LogIdSeen {
            term: 0,
            leader: 0,
            index,
        }),
        revision: member.revision.unwrap_or(0),
        digest: observer::digest(member.digest.as_deref()),
        topics_digest: None,
        scanned_digest: None,
        topics: None,
    }
}

fn judge_run(
    options: &Options,
    stage: &Stage,
    scene: &Scene,
    recorder: &Recorder,
    observations: &Observations,
    harvest: &Mutex<Harvest>,
    ended: &Ended,
) -> Report {
    let mut harvest = harvest.lock();
    let complete = scene.violations().is_empty();
    if complete {
        for node in scene.cluster.nodes() {
            if let Err(message) = harvest.gather_stopped(node) {
                scene.violated("I-4", message);
            }
        }
    }
    let history = recorder.history();
    let mut verdict = Verdict::default();
    let mut unchecked = harvest
        .gap()
        .map(|(first, last)| format!("the committed log is not known from {first} to {last}"));
    if complete && unchecked.is_none() {
        let voters = scene.cluster.voters();
        let settings = RunSettings {
            core: voters.clone(),
            voters,
            healed_at: Some(ended.healed_at),
            disks_healed_at: None,
            tombstone_bounds: TombstoneBounds::default(),
            election_timeout_us: ELECTION_TIMEOUT.as_micros() as Time,
            client_timeout_us: CLIENT_TIMEOUT.as_micros() as Time,
            black_box: false, // on a sample only
        };
        let finished = Finished::new(scene.now(), &history, &harvest.log, &ended.finals, &settings);
        verdict = judge::judge(observations, &finished);
        for violation in &verdict.violations {
            scene.report(violation.clone());
        }
    } else if !complete {
        unchecked = Some("the run was broken off".to_owned());
    }
    if !scene.violations().is_empty()
        && let Err(error) = write_history(&stage.dir().join("history.txt"), &history, &harvest.log)
    {
        scene.note(error);
    }
    Report::new(options, scene, &history, &harvest, &ended.kills, verdict, unchecked)
}

/// Writes down what clients did and what the log says, for whoever looks for the cause of a violation.
fn write_history(path: &Path, history: &History, log: &CommittedLog) -> Result<(), RealError> {
    let in_s = |time: Time| time as f64 / 1e6;
    let mut text = String::new();
    for operation in &history.operations {
        let answer = operation.answer.as_ref().map_or_else(String::new, ToString::to_string);
        let _infallible = writeln!(
            text,
            "{:.6} .. {:.6} c{} at node {}: {} -> {answer}",
            in_s(operation.invoked_at),
            operation.returned_at.map_or(f64::INFINITY, in_s),
            operation.client,
            operation.node,
            operation.call
        );
    }
    if let Ok(replay) = Replay::of(log) {
        for decision in replay.decisions() {
            let _infallible = writeln!(
                text,
                "entry {} of {}: {:?} -> {:?}",
                decision.index, decision.publisher, decision.request, decision.outcome
            );
        }
    }
    fs::write(path, text).map_err(RealError::file(path))
}
