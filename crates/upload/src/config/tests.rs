#![allow(clippy::unwrap_used)]
use super::*;

fn load(arguments: &[&str]) -> Result<Config, Stop> {
    Config::load(["heapline-upload"].iter().chain(arguments).map(OsString::from))
}

#[test]
fn the_defaults_are_the_contract() {
    let config = load(&[]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8000");
    assert_eq!((config.max_file, config.max_body, config.max_connections), (5 << 30, 5 << 30, 4096));
    assert_eq!((config.drain, config.durability, config.digest), (Duration::from_secs(30), Durability::Fsync, true));
    assert_eq!(config.topic, "statusNew");
    assert_eq!((config.memory_budget, config.threshold().bytes), (64 << 20, 0));
    assert_eq!(config.threshold().source, Source::Default);
    let (ours, default) = (config.limits(), Limits::default());
    assert_eq!((ours.file_bytes_max, ours.body_bytes_max), (default.file_bytes_max, default.body_bytes_max));
    assert_eq!(ours.connections_max, default.connections_max);
}

#[test]
fn every_flag_takes_its_value() {
    let config = load(&[
        "--listen=[::1]:1",
        "--admin=[::1]:2",
        "--store=s3://files/p",
        "--spool-dir=s",
        "--s3-endpoint=http://[::1]:9000",
        "--s3-region=eu",
        "--s3-addressing=virtual",
        "--s3-plain-http=any",
        "--token-file=t",
        "--kafka=a:1,b:2",
        "--topic=x",
        "--kafka-config=linger.ms=5",
        "--kafka-config=client.id=y",
        "--memory-limit=2GiB",
        "--memory-budget=16MiB",
        "--spool-threshold=0",
        "--growthbook-url=http://gb:3100",
        "--growthbook-client-key=sdk-1",
        "--flags-attributes=env=prod,cores=8",
        "--max-file=1",
        "--disk-reserve=0",
        "--max-body=2kB",
        "--max-connections=3",
        "--drain=500ms",
        "--durability=none",
        "--digest=none",
        "--check",
    ])
    .unwrap();
    assert_eq!((config.listen.port(), config.admin.map(|admin| admin.port())), (1, Some(2)));
    assert_eq!((config.local_dir(), config.token_file.clone()), (Path::new("s"), Some("t".into())));
    let bucket = config.bucket().unwrap().unwrap();
    assert_eq!((&*bucket.name, &*bucket.prefix, &*bucket.region, bucket.path_style), ("files", "p", "eu", false));
    assert_eq!((config.kafka.as_deref(), config.topic.as_str()), (Some("a:1,b:2"), "x"));
    assert_eq!((config.memory_limit, config.max_file, config.max_body), (Some(2 << 30), 1, 2000));
    let Ok(Some(Origin::GrowthBook(endpoint))) = config.flags() else { panic!("no GrowthBook") };
    assert_eq!(endpoint.to_string(), "http://gb:3100/api/features/sdk-1");
    let attributes = config.attributes();
    assert_eq!((&attributes["env"], &attributes["cores"]), (&"prod".into(), &8.into()));
    assert_eq!(attributes["service"], "heapline-upload");
    assert_eq!((config.memory_budget, config.spool_threshold), (16 << 20, Some(0)));
    assert_eq!(config.room(), RoomLimits { quota_bytes: None, reserve_bytes: Some(0) });
    assert_eq!(load(&["--quota=1GiB"]).unwrap().room().quota_bytes, Some(1 << 30), "of a directory only");
    assert_eq!((config.max_connections, config.drain), (3, Duration::from_millis(500)));
    assert_eq!((config.durability, config.digest, config.check), (Durability::None, false, true));
}

#[test]
fn a_refusal_is_one_line_that_names_the_flag() {
    for (arguments, part) in [
        (&["--max-file", "lots"][..], "--max-file"),
        (&["--max-file", "0"], "more than 0"),
        (&["--drain", "30"], "--drain"),
        (&["--listen", "localhost"], "--listen"),
        (&["--kafka", "broker"], "host:port"),
        (&["--kafka", ""], "--kafka"),
        (&["--topic", "a b"], "--topic"),
        (&["--kafka-config", "acks=0"], "at least once"),
        (&["--kafka-config", "linger.ms"], "key=value"),
        (&["--growthbook-url", "https://gb", "--growthbook-client-key", "k"], "https is not spoken"),
        (&["--flags-attributes", "env"], "name=value"),
        (&["--max-connections", "0"], "--max-connections"),
        (&["--durability", "maybe"], "[possible values: fsync, none]"),
        (&["--store"], "--store"),
        (&["--store", "gs://files"], "s3://"),
        (&["--store", "s3://F"], "--store"),
        (&["--s3-endpoint", "ftp://x"], "--s3-endpoint"),
        (&["--spool-threshold", "some"], "--spool-threshold"),
        (&["--memory-budget", "64KiB"], "1MiB at least"),
        (&["extra"], "extra"),
    ] {
        let Err(Stop::Refused(line)) = load(arguments) else { panic!("{arguments:?} is not refused") };
        assert!(line.contains(part) && !line.contains('\n'), "{arguments:?}: {line}");
    }
}

#[test]
fn the_default_of_the_flag_holds_until_it_is_heard_of() {
    let threshold = |arguments: &[&str]| load(arguments).unwrap().threshold();
    let of = |bytes, source| Setting { bytes, source };
    assert_eq!(threshold(&["--flags-file=f"]), of(32 << 20, Source::Default));
    assert_eq!(threshold(&["--flags-file=f", "--spool-threshold=1MiB"]), of(1 << 20, Source::Config));
    let flags = |arguments: &[&str]| load(arguments).unwrap().flags();
    assert!(matches!(flags(&["--flags-file=f"]), Ok(Some(Origin::File(_)))));
    for alone in [
        &["--growthbook-url=http://gb"][..],
        &["--growthbook-client-key=k"],
        &["--growthbook-client-key=k", "--flags-file=f"],
        &["--growthbook-url=http://gb", "--growthbook-client-key=a/b"],
    ] {
        assert!(matches!(flags(alone), Err(Stop::Refused(_))), "{alone:?}");
    }
}

#[test]
fn help_and_version_are_not_refusals() {
    let Err(Stop::Print(help)) = load(&["--help"]) else { panic!("no help") };
    assert!(help.contains("[default: 5GiB]") && help.contains("HEAPLINE_DRAIN"), "{help}");
    assert!(matches!(load(&["--version"]), Err(Stop::Print(text)) if text.starts_with("heapline-upload ")));
}
