//! User properties in, meaning out.

use bytes::Bytes;

use super::*;

fn metadata(user_properties: &[(&str, &str)]) -> Metadata {
    let mut builder = MetadataBuilder::new();
    for (name, value) in user_properties {
        builder.user_property(name, value);
    }
    builder.build().unwrap()
}

fn written(user_properties: &[(&str, &str)]) -> WriteProperties {
    of_write(&metadata(user_properties)).unwrap()
}

fn refused(user_properties: &[(&str, &str)]) -> WritePropertiesError {
    of_write(&metadata(user_properties)).unwrap_err()
}

#[test]
fn a_timestamp_is_kept_and_forwarded() {
    let properties = [("timestamp", "1490347944.893743"), ("unit", "C")];
    let expected = WriteProperties {
        timestamp_us: Some(1_490_347_944_893_743),
        condition: Condition::None,
        metadata: metadata(&properties),
    };
    assert_eq!(written(&properties), expected);
}

#[test]
fn a_timestamp_that_is_no_number_is_an_ordinary_property() {
    let properties = [("timestamp", "yesterday")];
    assert_eq!(written(&properties).timestamp_us, None);
    assert_eq!(written(&properties).metadata, metadata(&properties));
    assert_eq!(
        written(&[("timestamp", "soon"), ("timestamp", "2"), ("timestamp", "3")]).timestamp_us,
        Some(2_000_000)
    );
}

#[test]
fn a_timestamp_that_no_record_can_have_is_refused() {
    assert!(
        refused(&[("timestamp", "-1")])
            .to_string()
            .starts_with("timestamp-invalid: before 1970")
    );
    assert!(
        refused(&[("timestamp", "99999999999999")])
            .to_string()
            .starts_with("timestamp-ahead: ")
    );
}

#[test]
fn conditions_are_taken_out() {
    for (name, value, condition) in [
        ("if-revision", "7", Condition::Revision(7)),
        ("if-revision", "0", Condition::Absent),
        ("if-absent", "", Condition::Absent),
        ("if-absent", "on", Condition::Absent),
        ("if-present", "true", Condition::Present),
    ] {
        let found = written(&[("a", "1"), (name, value), ("b", "2")]);
        assert_eq!(
            (found.condition, found.metadata),
            (condition, metadata(&[("a", "1"), ("b", "2")])),
            "{name}={value}"
        );
    }
}

#[test]
fn other_metadata_survives_the_removal_of_a_condition() {
    let mut builder = MetadataBuilder::new();
    builder
        .payload_format(1)
        .content_type("text/plain")
        .response_topic("reply")
        .correlation_data(b"\0\x01");
    let kept = builder.build().unwrap();
    let found = of_write(&builder.user_property("if-present", "on").build().unwrap()).unwrap();
    assert_eq!((found.condition, found.metadata), (Condition::Present, kept));
}

#[test]
fn conditions_that_agree_are_one() {
    assert_eq!(
        written(&[("if-revision", "0"), ("if-absent", "on")]).condition,
        Condition::Absent
    );
    assert_eq!(
        written(&[("if-present", "on"), ("if-revision", "5")]).condition,
        Condition::Revision(5)
    );
    assert_eq!(
        written(&[("if-revision", "5"), ("if-revision", "05")]).condition,
        Condition::Revision(5)
    );
}

#[test]
fn conditions_that_contradict_are_refused() {
    for contradiction in [
        [("if-absent", "on"), ("if-present", "on")],
        [("if-revision", "5"), ("if-absent", "on")],
        [("if-revision", "0"), ("if-present", "on")],
        [("if-revision", "5"), ("if-revision", "6")],
    ] {
        assert_eq!(refused(&contradiction), WritePropertiesError::Contradiction);
    }
}

#[test]
fn malformed_conditions_are_refused() {
    for value in ["", "-1", "+1", " 1", "1.0", "x", "99999999999999999999"] {
        assert_eq!(
            refused(&[("if-revision", value)]),
            WritePropertiesError::IfRevision,
            "{value:?}"
        );
    }
    assert_eq!(
        refused(&[("if-absent", "false")]),
        WritePropertiesError::Flag("if-absent")
    );
    assert_eq!(
        refused(&[("if-present", "off")]),
        WritePropertiesError::Flag("if-present")
    );
}

fn pairs(user_properties: &[(&'static str, &'static str)]) -> UserProperties {
    user_properties
        .iter()
        .map(|(name, value)| (Bytes::from(*name), Bytes::from(*value)))
        .collect()
}

#[test]
fn annotations_are_asked_for_exactly() {
    assert!(asks_for_annotations(&pairs(&[("x", "y"), ("annotate", "on")])));
    assert!(!asks_for_annotations(&pairs(&[
        ("annotate", "off"),
        ("Annotate", "on")
    ])));
}

#[test]
fn subscribe_properties() {
    let found = of_subscribe(&pairs(&[
        ("since", "12"),
        ("marker", "on"),
        ("consistency", "local"),
        ("deliver", "latest"),
    ]));
    assert_eq!(
        found,
        Ok(SubscribeProperties {
            consistency_local: true,
            since: Some(12),
            marker: true,
            latest: true,
        })
    );
    assert_eq!(
        of_subscribe(&pairs(&[("since", "now")])),
        Err(SubscribePropertiesError::Since)
    );
    assert_eq!(
        of_subscribe(&pairs(&[("marker", "1")])),
        Err(SubscribePropertiesError::Marker)
    );
    assert_eq!(
        of_subscribe(&pairs(&[("consistency", "eventual")])),
        Err(SubscribePropertiesError::Consistency)
    );
    assert_eq!(
        of_subscribe(&pairs(&[("deliver", "oldest")])),
        Err(SubscribePropertiesError::Deliver)
    );
}
