//! Plans of stage-ins: sources, remote inputs, refusals.

use super::*;
use crate::{
    control::testing::{config, input_file, job, site},
    data::catalogue::{Medium, Replica},
};

fn plan_with(
    job: &Job,
    site: &Site,
    config: &PilotConfig,
    catalogue: Option<&[CatalogueFile]>,
) -> Result<StageInPlan, Problem> {
    let known = Known {
        catalogue,
        record: &StorageRecord::default(),
        now: Timestamp::from_millis(0),
    };
    super::plan_stage_in(job, site, config, &known)
}

fn plan_stage_in(job: &Job, site: &Site, config: &PilotConfig) -> Result<StageInPlan, Problem> {
    plan_with(job, site, config, None)
}

fn entry(lfn: &str, replicas: &[(&str, &str)]) -> CatalogueFile {
    let replica = |((endpoint, url), priority): (&(&str, &str), u32)| Replica {
        endpoint: EndpointName::new(*endpoint),
        url: (*url).to_owned(),
        priority,
        medium: Medium::Disk,
    };
    CatalogueFile {
        scope: Scope::new("user.alice"),
        lfn: Lfn::new(lfn),
        size: Some(ByteCount::from_bytes(11)),
        checksums: vec![Checksum::Adler32(7)],
        replicas: replicas.iter().zip(1..).map(replica).collect(),
    }
}

fn one_input() -> Job {
    let mut job = job(1);
    job.transformation = "run.sh".into();
    job.inputs = vec![input_file("f")];
    job
}

#[test]
fn the_catalogue_is_asked_where_there_is_one_and_inputs_need_it() {
    let (mut config, site) = (config(), site());
    let asked = |config: &PilotConfig, job: &Job| {
        let query = catalogue_query(job, &site, config).expect("tools");
        query.is_some()
    };
    assert!(!asked(&config, &one_input()));
    config.data.catalogue = Catalogue::Rucio;
    assert!(asked(&config, &one_input()) && !asked(&config, &job(1)));
    config.input_dir = Some("/in".into());
    assert!(!asked(&config, &one_input()));
}

#[test]
fn what_the_catalogue_says_fills_in_what_the_job_does_not() {
    let mut job = one_input();
    let catalogue = [entry("f", &[("EP", "root://h//f")])];
    let plan = plan_with(&job, &site(), &config(), Some(&catalogue)).expect("plan");
    let file = &plan.files[0];
    assert_eq!(file.size, Some(ByteCount::from_bytes(10)));
    assert_eq!(file.checksum, Some(Checksum::Adler32(7)));
    assert_eq!(plan.notes.len(), 1, "{:?}", plan.notes);
    assert!(file.sources().eq(["root://h//f"]));
    job.inputs[0].size = None;
    let plan = plan_with(&job, &site(), &config(), Some(&catalogue)).expect("plan");
    assert_eq!(plan.files[0].size, Some(ByteCount::from_bytes(11)));
}

#[test]
fn a_file_that_the_catalogue_does_not_know_has_no_replica() {
    let code = |catalogue: &[CatalogueFile]| {
        let plan = plan_with(&one_input(), &site(), &config(), Some(catalogue));
        plan.err().map(|problem| problem.code)
    };
    assert_eq!(code(&[entry("g", &[])]), Some(ErrorCode::NoReplicas));
    assert_eq!(code(&[entry("f", &[])]), Some(ErrorCode::NoReplicas));
    assert_eq!(
        code(&[entry("f", &[("EP", "dcap://h/f")])]),
        Some(ErrorCode::NoReplicas)
    );
}

#[test]
fn a_payload_reads_remotely_what_queue_and_job_allow() {
    let (mut job, mut site, mut config) = (one_input(), site(), config());
    let catalogue = [entry("f", &[("EP", "davs://h/f"), ("EP", "root://h//f")])];
    let access = |job: &Job, site: &Site, config: &PilotConfig| {
        let plan = plan_with(job, site, config, Some(&catalogue)).expect("plan");
        assert_eq!(
            plan.copied().count(),
            usize::from(plan.files[0].access == Access::Copy)
        );
        plan.files[0].access.clone()
    };
    job.transfer_type = "direct".into();
    assert_eq!(access(&job, &site, &config), Access::Copy);
    site.queue.options.has_direct_lan = true;
    config.data.xcache_proxy = Some("root://cache//".into());
    let Access::Remote(remote) = access(&job, &site, &config) else {
        panic!("copied");
    };
    assert_eq!(remote.url, "root://cache//root://h//f");
    // Near enough to be copied: nothing is read from far away.
    let near_is_closed = |site: &mut Site| {
        site.queue.options.has_direct_lan = false;
        site.queue.options.has_direct_wan = true;
    };
    near_is_closed(&mut site);
    assert_eq!(access(&job, &site, &config), Access::Copy);
    site.queue.options.allows_lan = false;
    site.queue.options.allows_wan = true;
    job.inputs[0].endpoint = EndpointName::new("EP");
    let elsewhere = EndpointName::new("OTHER");
    let near = vec![elsewhere];
    site.queue.storages.insert("read_lan".into(), near);
    let Access::Remote(remote) = access(&job, &site, &config) else {
        panic!("copied");
    };
    assert_eq!(
        (remote.url.as_str(), remote.domain),
        ("root://h//f", Domain::Wan)
    );
}

#[test]
fn what_is_on_every_node_is_not_moved_and_needs_no_replica() {
    let mut config = config();
    config.profile.data.not_transferred = vec![ailurus_experiment::NamePattern::new("DBRelease-*")];
    config.profile.data.pool_file_catalog = true;
    let mut job = one_input();
    job.inputs = vec![input_file("DBRelease-1.tar.gz")];
    let plan = plan_with(&job, &site(), &config, Some(&[])).expect("plan");
    assert_eq!(plan.files[0].access, Access::None);
    assert!(
        plan.pool_file_catalog
            .is_some_and(|text| text.contains("DBRelease-1"))
    );
}

#[test]
fn a_url_of_the_jobs_own_is_tried_first() {
    let mut job = one_input();
    let url = (Lfn::new("f"), "gs://bucket/f".to_owned());
    job.options.input_urls.extend([url]);
    let plan = plan_stage_in(&job, &site(), &config()).expect("plan");
    assert_eq!(plan.files[0].tries[0].tool, ToolName::Gs);
    assert_eq!(plan.files[0].tries.len(), 2);
}

#[test]
fn without_a_catalogue_every_protocol_of_a_storage_is_a_way() {
    let mut site = site();
    let storage = site.storages.values_mut().next().expect("one");
    let protocol = |endpoint: &str| ailurus_model::StorageProtocol {
        endpoint: endpoint.into(),
        path: "/p/".into(),
        id: None,
    };
    let protocols = ["davs://h:443/", "root://h:1094/", "dcap://h/"].map(protocol);
    storage
        .protocols
        .insert("read_lan".into(), protocols.to_vec());
    let plan = plan_stage_in(&one_input(), &site, &config()).expect("plan");
    let file = &plan.files[0];
    let ways: Vec<String> = file.tries.iter().map(ToString::to_string).collect();
    let path = "/p/user/alice/fc/14/f";
    let expected = [
        format!("http davs://h:443{path}"),
        format!("xrdcp root://h:1094/{path}"),
    ];
    assert_eq!(ways.len(), 2, "{ways:?}");
    assert!(ways.contains(&expected[0]), "{ways:?}");
    assert_eq!(file.left_out.len(), 1);
}

#[test]
fn the_cache_is_used_as_profile_and_queue_say() {
    let (mut config, mut site) = (config(), site());
    let cache = |config: &PilotConfig, site: &Site| {
        plan_stage_in(&one_input(), site, config)
            .expect("plan")
            .cache
    };
    assert_eq!(cache(&config, &site), CacheUse::Uncached);
    site.queue.options.has_cache = true;
    assert_eq!(cache(&config, &site), CacheUse::Cached);
    config.profile.data.cache = CacheChoice::Never;
    assert_eq!(cache(&config, &site), CacheUse::Uncached);
}

#[test]
fn the_jobs_endpoint_comes_before_the_queues() {
    let mut site = site();
    let mut other = site.storages[&EndpointName::new("EP")].clone();
    other.name = EndpointName::new("OTHER");
    for protocols in other.protocols.values_mut() {
        protocols[0].path = "/other".into();
    }
    site.storages.insert(other.name.clone(), other);
    let mut job = job(1);
    job.inputs = vec![input_file("f")];
    job.inputs[0].endpoint = EndpointName::new("OTHER");
    let plan = plan_stage_in(&job, &site, &config()).expect("plan");
    let sources: Vec<&str> = plan.files[0].sources().collect();
    assert!(sources[0].starts_with("file:///other/"));
    assert!(sources[1].starts_with("file:///store/"));
}

#[test]
fn a_far_storage_that_the_job_names_comes_before_a_near_one_that_may_have_the_file() {
    let mut site = site();
    site.queue.options.allows_wan = true;
    let mut other = site.storages[&EndpointName::new("EP")].clone();
    other.name = EndpointName::new("OTHER");
    for protocols in other.protocols.values_mut() {
        protocols[0].endpoint = "root://far/".into();
    }
    site.storages.insert(other.name.clone(), other);
    let near = vec![EndpointName::new("EP")];
    site.queue.storages.insert("read_lan".into(), near);
    let mut job = one_input();
    job.inputs[0].endpoint = EndpointName::new("OTHER");
    let plan = plan_stage_in(&job, &site, &config()).expect("plan");
    let endpoints: Vec<&str> = plan.files[0]
        .tries
        .iter()
        .map(|it| it.endpoint.as_str())
        .collect();
    assert_eq!(endpoints, ["OTHER", "EP"], "{plan:?}");
}

#[test]
fn an_input_directory_replaces_all_storages() {
    let mut config = config();
    config.input_dir = Some("/in/".into());
    let mut job = job(1);
    job.inputs = vec![input_file("f")];
    let plan = plan_stage_in(&job, &site(), &config).expect("plan");
    assert!(plan.files[0].sources().eq(["file:///in/f"]));
}

#[test]
fn places_where_inputs_may_lie_come_before_storages_and_do_without_them() {
    let mut config = config();
    config.input_places = vec!["/point/{panda_id}".into(), "/point".into()];
    let mut job = job(1);
    job.inputs = vec![input_file("f")];
    let mut site = site();
    let sources = |site: &Site| {
        let plan = plan_stage_in(&job, site, &config).expect("plan");
        let sources = plan.files[0].sources().map(str::to_owned);
        sources.collect::<Vec<_>>()
    };
    let all = sources(&site);
    assert_eq!(all[..2], ["file:///point/1/f", "file:///point/f"]);
    assert!(all[2].starts_with("file:///store/"));
    site.storages.clear();
    assert_eq!(sources(&site).len(), 2);
}

#[test]
fn names_that_lead_elsewhere_and_inputs_that_are_too_large_are_refused() {
    let code = |change: fn(&mut Job, &mut Site)| {
        let (mut job, mut site) = (job(1), site());
        job.inputs = vec![input_file("f")];
        change(&mut job, &mut site);
        plan_stage_in(&job, &site, &config())
            .err()
            .map(|problem| problem.code)
    };
    assert_eq!(code(|_, _| {}), None);
    let elsewhere = code(|job, _| job.inputs[0].lfn = Lfn::new("../f"));
    assert_eq!(elsewhere, Some(ErrorCode::StageInFailed));
    let long = code(|job, _| job.inputs[0].lfn = Lfn::new("f".repeat(256)));
    assert_eq!(long, Some(ErrorCode::LfnTooLong));
    let large = code(|_, site| site.queue.max_input_size = Some(ByteCount::from_bytes(9)));
    assert_eq!(large, Some(ErrorCode::SizeTooLarge));
    assert_eq!(
        code(|_, site| site.storages.clear()),
        Some(ErrorCode::NoStorage)
    );
}

#[test]
fn a_hundred_thousand_inputs_are_planned_and_told() {
    let (mut job, mut config) = (one_input(), config());
    config.profile.data.pool_file_catalog = true;
    job.transfer_type = "direct".into();
    let mut site = site();
    site.queue.options.has_direct_lan = true;
    let names: Vec<String> = (0..100_000).map(|nr| format!("f{nr}.root")).collect();
    job.inputs = names.iter().map(|name| input_file(name)).collect();
    job.parameters = names.join(",");
    let plan = plan_stage_in(&job, &site, &config).expect("plan");
    assert_eq!((plan.files.len(), plan.copied().count()), (100_000, 0));
    let told = direct_access::parameters(&job, &config.profile.data, &plan.files);
    assert_eq!(told.matches("file:///store/").count(), 100_000);
}
