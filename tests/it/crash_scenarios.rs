//! SIGKILL at random moments while everything happens that the storage and an intake can do. With those of `crash.rs`
//! these are a hundred.

use std::{collections::BTreeSet, fs, io::Write, time::SystemTime};

use flowlogd::{model::Hour, store::sqlite::SqliteStore};

use crate::{
    crash::{check_ledger, kill_at_random, without_id},
    support::{
        azurite,
        blob_writer::BlobWriter,
        daemon::Daemon,
        documents::{self, END, HEAD, Minute, document, events},
        processes::Receiver,
        storage_proxy::StorageProxy,
        world::World,
    },
};

/// Kills of each scenario.
const N_KILLS: u32 = 10;

const PROVENANCE: (&str, &str) = ("intakes", "provenance = true");

/// Answers of an intake that is sick; two kinds of them leave it open whether the events were taken.
const SICK: &str = "500,accept-then-reset,429:1,truncate,ok,503,reset,accept-then-reset,ok,500,truncate";

/// A blob of the one flow log of these tests.
fn blob(hour: Hour) -> String {
    format!(
        "flowLogResourceID=/S_RG/NETWORKWATCHER_X_L/{}m=00/macAddress=0022482F8D3A/PT1H.json",
        hour.prefix()
    )
}

fn past_hour() -> Hour {
    Hour::from_parts(2025, 6, 1, 5).unwrap()
}

/// *Scenario*: blobs of hostile records and one of 2 MB, of IPv6, of network security groups, and an intake that is
/// sick, each with ten kills.
/// *Guarantees*: every tuple has arrived; what arrived twice has the same id and the same bytes.
#[tokio::test]
async fn killed_while_blobs_of_every_kind_grow() {
    let kinds: [(&str, &[&str], &[&str]); 4] = [
        ("crash-hostile", &[], &["--shape", "hostile", "--huge-bytes", "2MB", "--nics", "3"]),
        ("crash-v6", &[], &["--shape", "v6", "--roots", "2", "--first-minute", "55"]),
        ("crash-nsg2", &[], &["--kind", "nsg2", "--first-minute", "55"]),
        ("crash-sick", &["--faults", SICK], &["--shape", "dense"]),
    ];
    for (seed, (container, faults, shape)) in (1..).zip(kinds) {
        let world = World::new(container, faults, &[PROVENANCE]).await;
        let mut writer = world.writer(shape);
        let mut random = fastrand::Rng::with_seed(seed);
        for _kill in 0..N_KILLS {
            writer.minutes(1);
            kill_at_random(&world, &mut random);
        }
        let (code, _, stderr) = world.once();
        assert_eq!(code, 0, "{container}, seed {seed}: {stderr}");
        check_ledger(&world.received(), &world.written(), &format!("{container}, seed {seed}"));
    }
}

/// *Scenario*: a container and a directory to two intakes, both grow, ten kills.
/// *Guarantees*: both intakes have every tuple; what one got twice has the same id and the same bytes.
#[tokio::test]
async fn killed_between_two_sources_and_two_intakes() {
    let second = Receiver::start_plain(&[]);
    let world = World::new("crash-lanes", &[], &[]).await;
    let tables = format!(
        "[sources.local]\ndirectory = {:?}\npoll_interval = \"200ms\"\n[intakes.second]\nprotocol = \"http\"\n\
         url = {:?}\nevent_format = \"flow\"\nprovenance = true\n",
        world.path("local"),
        second.url.as_str(),
    );
    world.configure(&[PROVENANCE, ("tables", &tables)]);
    let mut writer = world.writer(&["--nics", "3"]);
    let mut random = fastrand::Rng::with_seed(5);
    for kill in 1..=N_KILLS {
        writer.minutes(1);
        world.write_directory("local", "local-ledger", &["--seed", "9", "--minutes", &kill.to_string()]);
        kill_at_random(&world, &mut random);
    }
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    let expected = world.ledgers(&["written", "local-ledger"]);
    check_ledger(&world.received(), &expected, "the first intake, seed 5");
    check_ledger(&second.sorted_ledger(), &expected, "the second intake, seed 5");
}

/// *Scenario*: a compressed blob and one with damage between its records grow, ten kills.
/// *Guarantees*: every tuple has arrived; each piece of damage is in the quarantine once; what arrived twice has the
/// same id and the same bytes.
#[tokio::test]
async fn killed_over_compressed_and_damaged_blobs() {
    let world = World::new("crash-damage", &[], &[]).await;
    let container = world.path("container");
    world.configure(&[PROVENANCE, ("sources", &format!("directory = {container:?}"))]);
    let n_minutes = usize::try_from(N_KILLS).unwrap();
    let n_seeds = u64::from(N_KILLS);
    let [compressed, damaged] = [1..=n_seeds, n_seeds + 1..=2 * n_seeds]
        .map(|seeds| seeds.flat_map(|seed| documents::minutes(seed, 1)).collect::<Vec<Minute>>());
    let put = |hour: Hour, bytes: &[u8]| {
        let path = container.join(blob(hour));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let mut random = fastrand::Rng::with_seed(6);
    for known in 1..=n_minutes {
        let whole: Vec<&Minute> = compressed[..known].iter().collect();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&document(&whole)).unwrap();
        put(past_hour(), &encoder.finish().unwrap());
        let pieces: Vec<&[u8]> = damaged[..known].iter().map(|minute| minute.records.as_slice()).collect();
        put(past_hour().next(), &[HEAD, &pieces.join(b",xyz,".as_slice()), END].concat());
        kill_at_random(&world, &mut random);
    }
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    let expected = events(&compressed.iter().chain(&damaged).collect::<Vec<_>>());
    check_ledger(&world.received(), &expected, "seed 6");
    let mut texts = Vec::new();
    let store = SqliteStore::open_read_only(&world.path("state")).unwrap();
    store.for_each_quarantined(|entry| texts.push(entry.rejected.text)).unwrap();
    assert_eq!(texts, vec![b"xyz,".to_vec(); n_minutes - 1]);
}

/// *Scenario*: a blob of a sealed hour grows late, ten times, with a kill after each.
/// *Guarantees*: every tuple has arrived in the end; what arrived twice has the same id and the same bytes.
#[tokio::test]
async fn killed_while_sealed_hours_grow() {
    let proxy = StorageProxy::start(azurite::shared().await);
    // Past the last change at once.
    proxy.set_hours_ahead(2);
    let settings = format!("seal_after = \"1h\"\nrevisit = \"8h\"\n{}", proxy.setting());
    let world = World::new("crash-late", &[], &[("sources", &settings), PROVENANCE]).await;
    let mut writer = BlobWriter::create(azurite::shared().await, "crash-late").await;
    let minutes = documents::minutes(3, N_KILLS + 1);
    let hour = Hour::from_number(Hour::containing(SystemTime::now().into()).number() - 2);
    writer.put(&blob(hour), &[&document(&[&minutes[0]])]).await;
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("\"hours_sealed\":1"), "{stderr}");
    let mut random = fastrand::Rng::with_seed(7);
    for known in 2..=minutes.len() {
        writer.put(&blob(hour), &[&document(&minutes[..known].iter().collect::<Vec<_>>())]).await;
        kill_at_random(&world, &mut random);
    }
    let expected = events(&minutes.iter().collect::<Vec<_>>());
    let daemon = Daemon::start(&world);
    let n_different = || world.received().into_iter().collect::<BTreeSet<String>>().len();
    daemon.until("what came late", || n_different() >= expected.len()).await;
    daemon.says(&["poll complete"], 1).await;
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    check_ledger(&world.received(), &expected, "seed 7");
}

/// *Scenario*: a blob is replaced by another one again and again, now longer, now shorter, with a kill after each.
/// *Guarantees*: all that its last version holds has arrived, and nothing that no version held; what arrived twice has
/// the same id and the same bytes.
#[tokio::test]
async fn killed_while_a_blob_is_rewritten() {
    let world = World::new("crash-rewritten", &[], &[PROVENANCE]).await;
    let mut writer = BlobWriter::create(azurite::shared().await, "crash-rewritten").await;
    let minutes: Vec<Minute> =
        (1..=u64::from(N_KILLS)).flat_map(|seed| documents::minutes(seed, 2)).collect();
    let mut random = fastrand::Rng::with_seed(8);
    let mut last = Vec::new();
    for version in minutes.chunks(2) {
        last = version.iter().take(random.usize(1..3)).collect();
        writer.put(&blob(past_hour()), &[&document(&last)]).await;
        kill_at_random(&world, &mut random);
    }
    let (code, _, stderr) = world.once();
    assert_eq!(code, 0, "{stderr}");
    let different: BTreeSet<String> = world.received().into_iter().collect();
    let tuples: Vec<String> = different.iter().map(|line| without_id(line)).collect();
    check_ledger(&different.iter().cloned().collect::<Vec<_>>(), &sorted(tuples.clone()), "seed 8");
    let (arrived, held): (BTreeSet<_>, BTreeSet<_>) = (tuples.into_iter().collect(), known(&minutes));
    let wanted: BTreeSet<_> = events(&last).into_iter().collect();
    assert!(wanted.is_subset(&arrived), "seed 8: lost {:?}", wanted.difference(&arrived));
    assert!(arrived.is_subset(&held), "seed 8: invented {:?}", arrived.difference(&held));
}

/// The events of all these minutes.
fn known(minutes: &[Minute]) -> BTreeSet<String> {
    events(&minutes.iter().collect::<Vec<_>>()).into_iter().collect()
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort_unstable();
    lines
}
