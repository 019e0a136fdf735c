//! The keys of the protocol otlp.

use super::load_text;

/// *Scenario*: an OpenTelemetry receiver with a format that has no fields, an encoding that there is not, and a key of
/// another protocol. *Guarantees*: each is refused with what to do; without
/// them the defaults of the protocol are taken.
#[test]
fn keys_of_otlp() {
    let intake =
        "[sources.copy]\ndirectory = \".\"\n[intakes.out]\nprotocol = \"otlp\"\nurl = \"https://h:4318\"\n";
    for (line, expected) in [
        ("event_format = \"flow\"", "event_format (file DIR/flowlogd.toml): has to be \"ecs\""),
        ("encoding = \"grpc\"", "encoding (file DIR/flowlogd.toml): cannot use \"grpc\"; give "),
        ("success_codes = [200]", "success_codes (file DIR/flowlogd.toml): "),
    ] {
        let (directory, loaded) = load_text(&format!("{intake}{line}\n"), &[]);
        let said = loaded.unwrap_err().to_string().replace(&directory, "DIR");
        assert!(said.contains(expected), "{line}: {said}");
    }
    let loaded = load_text(intake, &[]).1.unwrap();
    let intake = loaded.settings.intakes.first().unwrap();
    assert_eq!((intake.batch.max_bytes, intake.batch.max_events), (2_000_000, 5_000));
}
