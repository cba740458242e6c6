//! Reading by filter: what a wildcard costs as the tree grows around the same number of matches.

use std::hint::black_box;
use std::sync::Arc;

use banyan_core::keyspace::plan::FilterPlan;
use banyan_core::keyspace::{RecordFields, Scan, Selection, topic_key};
use banyan_core::metadata::Metadata;
use banyan_core::store::{Direction, MemoryStore, Store};
use banyan_core::topic::{TopicFilter, TopicName};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const REGIONS: u32 = 10;
const DEVICES: u32 = 10;

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).expect("a topic filter")
}

/// Topics `regions/R/sites/S/devices/D` with `sites` sites in each region.
fn tree(sites: u32) -> MemoryStore {
    let store = MemoryStore::new();
    let metadata = Metadata::empty();
    let mut batch = Vec::new();
    for region in 0..REGIONS {
        for site in 0..sites {
            for device in 0..DEVICES {
                let topic = TopicName::parse(&format!("regions/{region}/sites/{site}/devices/{device}"));
                let record = RecordFields {
                    revision: 1,
                    ordinal: 0,
                    created_revision: 1,
                    timestamp_us: 1,
                    expires_at_us: None,
                    qos: 1,
                    publisher: b"bench",
                    metadata: &metadata,
                    payload: &[b'x'; 100],
                };
                batch.push((
                    topic_key(&topic.expect("a topic name")),
                    Some(record.encode().as_bytes().clone()),
                ));
            }
        }
    }
    store.write(batch).expect("memory does not fail");
    store
}

fn planning(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    for text in ["regions/1/#", "regions/+/sites/7/devices/+"] {
        let filter = filter(text);
        group.bench_function(text, |bencher| bencher.iter(|| FilterPlan::new(black_box(&filter))));
    }
    group.finish();
}

fn scanning(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scan_regions_+_sites_7_devices_+");
    let matches = REGIONS * DEVICES;
    group.throughput(Throughput::Elements(u64::from(matches)));
    for sites in [100, 1_000, 10_000] {
        let view = tree(sites).view();
        let selection = Selection::Filter(filter("regions/+/sites/7/devices/+"));
        let read = || {
            let mut scan = Scan::new(Arc::clone(&view), selection.clone(), Direction::Ascending);
            let mut rows = Vec::new();
            while scan
                .next_chunk(1_000, 1 << 20, &mut rows)
                .expect("memory does not fail")
            {}
            rows.len()
        };
        assert_eq!(read(), matches as usize);
        let topics = REGIONS * sites * DEVICES;
        group.bench_function(BenchmarkId::from_parameter(format!("{topics}_topics")), |bencher| {
            bencher.iter(read);
        });
    }
    group.finish();
}

criterion_group!(benches, planning, scanning);
criterion_main!(benches);
