//! Dates in names that are spelled unusually, or that no flow log can have: whole processes.

use std::{fs, time::SystemTime};

use flowlogd::model::Hour;

use crate::support::{
    azurite,
    blob_writer::BlobWriter,
    daemon::Daemon,
    documents::{self, Minute, document, events},
    world::{World, sum},
};

const ROOT: &str = "flowLogResourceID=/S_RG/NETWORKWATCHER_X_L";
const FILE: &str = "m=00/macAddress=0022482F8D3A/PT1H.json";

fn this_hour() -> Hour {
    Hour::containing(SystemTime::now().into())
}

/// Names in every unusual spelling, old and open.
fn unusual_names() -> Vec<String> {
    let open = this_hour();
    let mixed = open.prefix().replace("m=", "M=").replace("h=", "H=");
    vec![
        format!("{ROOT}/Y=2025/M=06/D=01/H=05/{}", FILE.to_uppercase()),
        format!("{ROOT}/y=2025/m=06/d=01/h=05/{FILE}"),
        format!("{ROOT}/y=2025/m=06/D=02/h=07/{FILE}"),
        format!("{ROOT}/{mixed}{FILE}"),
        format!("{ROOT}_UPPER/{}{FILE}", open.prefix().to_uppercase()),
        format!("{ROOT}/y=2020/x/y=2025/m=06/d=01/h=05/{FILE}"),
        format!("{ROOT}/y=2020/x/{}{FILE}", open.prefix()),
    ]
}

/// A collector of a directory with a document in each of these blobs.
async fn directory(container: &str, names: &[String], minutes: &[Minute], settings: &str) -> World {
    let world = World::new(container, &[], &[]).await;
    let folder = world.path("container");
    world.configure(&[("sources", &format!("directory = {folder:?}\n{settings}"))]);
    for (name, minute) in names.iter().zip(minutes) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, document(&[minute])).unwrap();
    }
    world
}

/// *Scenario*: dates in upper and in mixed case, and roots that contain what looks like a year, in a directory and in a
/// container; in old hours that are sealed at once and in the open one.
/// *Guarantees*: each of them is read, once.
#[tokio::test]
async fn dates_in_any_spelling() {
    let names = unusual_names();
    let minutes: Vec<Minute> = (1..).take(names.len()).flat_map(|seed| documents::minutes(seed, 1)).collect();
    let expected = events(&minutes.iter().collect::<Vec<_>>());
    let in_directory = directory("dates-spelled-directory", &names, &minutes, "seal_after = \"1s\"").await;
    let in_container = World::new("dates-spelled", &[], &[("sources", "seal_after = \"1s\"")]).await;
    let mut writer = BlobWriter::create(azurite::shared().await, "dates-spelled").await;
    for (name, minute) in names.iter().zip(&minutes) {
        writer.put(name, &[&document(&[minute])]).await;
    }
    for world in [in_directory, in_container] {
        for _pass in 0..3 {
            let (code, _, stderr) = world.once();
            assert_eq!(code, 0, "{stderr}");
            assert_eq!(world.received(), expected, "{stderr}");
        }
    }
}

/// *Scenario*: a collector runs; then the spelling of a root's dates changes, and a spelling appears in a new root.
/// *Guarantees*: after a start both are read.
#[tokio::test]
async fn a_spelling_that_changes() {
    let open = this_hour();
    let names = [
        format!("{ROOT}/{}{FILE}", open.prefix()),
        format!("{ROOT}/{}{FILE}", open.prefix().to_uppercase()),
        format!("{ROOT}_NEW/{}{FILE}", open.prefix().to_uppercase()),
    ];
    let minutes = documents::minutes(2, 3);
    let world = directory("dates-changing", &names[..1], &minutes, "").await;
    let (code, _, stderr) = world.once();
    assert_eq!((code, world.received()), (0, events(&[&minutes[0]])), "{stderr}");
    for (name, minute) in names.iter().zip(&minutes) {
        let path = world.path("container").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, document(&[minute])).unwrap();
    }
    let (code, _, stderr) = world.once();
    assert_eq!((code, world.received()), (0, events(&minutes.iter().collect::<Vec<_>>())), "{stderr}");
}

const STRANGE: &str = "a date in the container is not that of a flow log";

/// *Scenario*: dates before the first flow logs, in the far future and of no calendar, beside an hour of 2016 and the
/// open one.
/// *Guarantees*: the flow logs are delivered without delay; each strange date is told once with its reason, however often
/// is polled; what is stored does not grow with the years between.
#[tokio::test]
async fn dates_that_no_flow_log_has() {
    let dates = ["y=0001/m=01/d=01/h=00", "y=1970/m=01/d=01/h=00", "y=9999/m=12/d=31/h=23"];
    let mut names = vec![
        format!("{ROOT}/{}{FILE}", this_hour().prefix()),
        format!("{ROOT}/y=2016/m=01/d=01/h=00/{FILE}"),
    ];
    names.extend(dates.iter().map(|date| format!("{ROOT}/{date}/{FILE}")));
    names.push(format!("{ROOT}/y=2016/m=13/d=01/h=00/{FILE}"));
    let minutes = documents::minutes(3, 6);
    let world = directory("dates-strange", &names, &minutes, "seal_after = \"1s\"").await;
    let daemon = Daemon::start(&world);
    daemon.until("both", || world.received() == events(&[&minutes[0], &minutes[1]])).await;
    let is_sealed = |line: &str| line.contains("hours_sealed") && !line.contains("\"hours_sealed\":0");
    daemon.until("the old hour to be sealed", || daemon.log().lines().any(is_sealed)).await;
    daemon.says(&["poll complete"], 2).await;
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches(STRANGE).count(), 4, "{log}");
    for (prefix, reason) in [
        ("y=0001/", "it is before the first flow logs"),
        ("y=1970/", "it is before the first flow logs"),
        ("y=9999/", "it is in the future"),
        ("y=2016/m=13/", "there is no such date"),
    ] {
        let said = |line: &&str| line.contains(STRANGE) && line.contains(prefix) && line.contains(reason);
        assert_eq!(log.lines().filter(said).count(), 1, "{prefix}: {log}");
    }
    assert_eq!(world.received(), events(&[&minutes[0], &minutes[1]]));
    let (code, reports, stderr) = world.once();
    assert_eq!((code, sum(&reports, "bytes")), (0, 0), "{stderr}");
    let open_from = world.checkpoints()[0]["roots"][0]["open_from"].clone();
    assert!(open_from.as_str().unwrap() > "2025", "{open_from}");
}
