//! Courses: what follows what, and that every one ends.

use ailurus_model::EndpointName;
use proptest::prelude::*;

use super::*;

fn place(endpoint: &str, rank: Rank) -> Try {
    Try {
        endpoint: EndpointName::new(endpoint),
        rank,
        ..Try::in_directory(format!("root://{endpoint}//f"))
    }
}

fn course(direction: Direction, endpoints: &[&str]) -> Course {
    let tries: Vec<Try> = endpoints
        .iter()
        .map(|it| place(it, Rank::Primary))
        .collect();
    Course::new(
        Lfn::new("f"),
        direction,
        &tries,
        CourseLimits::default(),
        [7; 16],
    )
}

fn failure(kind: FailureKind) -> Failure {
    let codes = [
        (FailureKind::Mismatch, ErrorCode::GetAdMismatch),
        (FailureKind::NoLocalSpace, ErrorCode::NoLocalSpace),
        (FailureKind::TimedOut, ErrorCode::StageInTimeout),
    ];
    let code = codes.iter().find(|(of, _)| *of == kind);
    let code = code.map_or(ErrorCode::StageInFailed, |(_, code)| *code);
    Failure {
        kind,
        problem: Problem::new(code, format!("{kind:?}")),
        kept: ByteCount::ZERO,
    }
}

/// Goes through a course whose tries end by `kinds`, and returns the indices tried and the end.
fn run(course: &mut Course, kinds: &[FailureKind]) -> (Vec<usize>, Option<Next>) {
    let mut now = Moment::START;
    let mut tried = Vec::new();
    let mut next = course.begin(now);
    for kind in kinds {
        let index = match next {
            Next::Try { index, .. } | Next::RenewCredential { index } => index,
            Next::TryAfter { pause, index, .. } => {
                now = now.after(pause);
                index
            }
            Next::GiveUp(_) | Next::Done => return (tried, Some(next)),
        };
        tried.push(index);
        next = course.on_outcome(now, Err(failure(*kind)));
    }
    let is_end = matches!(next, Next::GiveUp(_) | Next::Done);
    (tried, is_end.then_some(next))
}

fn problem(end: Option<Next>) -> Problem {
    match end {
        Some(Next::GiveUp(problem)) => problem,
        other => panic!("not given up: {other:?}"),
    }
}

#[test]
fn a_bad_replica_is_left_for_good_and_named() {
    let mut course = course(Direction::Read, &["A", "B"]);
    let kinds = [FailureKind::Mismatch, FailureKind::Missing];
    let (tried, end) = run(&mut course, &kinds);
    assert_eq!(tried, [0, 1]);
    let problem = problem(end);
    assert_eq!(problem.code, ErrorCode::GetAdMismatch);
    assert_eq!(
        problem.detail,
        "`f` could not be read (`A`: Mismatch; `B`: Missing)"
    );
    let bad: Vec<_> = course.bad_replicas().iter().map(|it| it.index).collect();
    assert_eq!(bad, [0, 1]);
}

#[test]
fn a_place_that_may_recover_comes_again_after_all_others() {
    let mut course = course(Direction::Read, &["A", "B"]);
    let kinds = [FailureKind::Unreachable, FailureKind::TimedOut].repeat(3);
    let (tried, end) = run(&mut course, &kinds);
    assert_eq!(tried, [0, 1, 0, 1, 0, 1]);
    assert!(problem(end).detail.contains("`A`: Unreachable, 3 tries"));
}

#[test]
fn a_busy_storage_is_left_alone_as_long_as_it_asks_but_not_longer_than_allowed() {
    let mut course = course(Direction::Read, &["A"]);
    course.begin(Moment::START);
    let mut busy = |seconds| {
        let retry_after = Some(Duration::from_secs(seconds));
        course.on_outcome(
            Moment::START,
            Err(failure(FailureKind::Busy { retry_after })),
        )
    };
    assert!(matches!(busy(30), Next::TryAfter { pause, .. } if pause.as_secs() == 30));
    assert!(matches!(busy(u64::MAX), Next::TryAfter { pause, .. } if pause.as_secs() == 600));
}

#[test]
fn a_broken_try_goes_on_as_long_as_it_gets_further() {
    let mut course = course(Direction::Read, &["A", "B"]);
    course.begin(Moment::START);
    let mut broken = |kept| {
        let failure = Failure {
            kept: ByteCount::from_bytes(kept),
            ..failure(FailureKind::Broken)
        };
        course.on_outcome(Moment::START, Err(failure))
    };
    for kept in [10, 20] {
        let next = broken(kept);
        let Next::TryAfter { index, resume, .. } = next else {
            panic!("{next:?}");
        };
        assert_eq!((index, resume), (0, Resume::Continue));
    }
    let next = broken(20);
    assert!(
        matches!(
            next,
            Next::Try {
                index: 1,
                resume: Resume::FromStart
            }
        ),
        "{next:?}"
    );
}

#[test]
fn a_credential_is_renewed_once_and_then_another_place_is_tried() {
    let mut course = course(Direction::Write, &["A", "B"]);
    let (tried, end) = run(&mut course, &[FailureKind::Denied; 3]);
    assert_eq!(tried, [0, 0, 1]);
    assert_eq!(problem(end).code, ErrorCode::StageOutAuthenticationFailure);
}

#[test]
fn a_cause_of_this_node_ends_it_at_once() {
    for kind in [FailureKind::NoLocalSpace, FailureKind::Stopped] {
        let (tried, end) = run(&mut course(Direction::Read, &["A", "B"]), &[kind]);
        assert_eq!(
            (tried, problem(end).code),
            (vec![0], failure(kind).problem.code)
        );
    }
    let (tried, _) = run(
        &mut course(Direction::Write, &["A", "B"]),
        &[FailureKind::Missing],
    );
    assert_eq!(tried, [0]);
}

#[test]
fn the_alternative_storage_comes_after_all_tries_with_the_first() {
    let tries = [place("ALT", Rank::Alternative), place("A", Rank::Primary)];
    let limits = CourseLimits::default();
    let mut course = Course::new(Lfn::new("f"), Direction::Write, &tries, limits, [1; 16]);
    let kinds = [
        FailureKind::Other,
        FailureKind::Busy { retry_after: None },
        FailureKind::NoRemoteSpace,
        FailureKind::NoRemoteSpace,
    ];
    let (tried, end) = run(&mut course, &kinds);
    assert_eq!(tried, [1, 1, 1, 0]);
    assert!(end.is_some());
}

#[test]
fn a_file_without_places_is_given_up_at_once() {
    let mut course = course(Direction::Read, &[]);
    let end = course.begin(Moment::START);
    assert_eq!(problem(Some(end)).code, ErrorCode::NoReplicas);
    let again = course.on_outcome(Moment::START, Err(failure(FailureKind::Other)));
    assert_eq!(problem(Some(again)).code, ErrorCode::NoReplicas);
}

fn kinds() -> impl Strategy<Value = FailureKind> {
    prop_oneof![
        Just(FailureKind::Missing),
        Just(FailureKind::Mismatch),
        Just(FailureKind::Broken),
        (0_u64..10_000).prop_map(|secs| FailureKind::Busy {
            retry_after: Some(Duration::from_secs(secs))
        }),
        Just(FailureKind::Denied),
        Just(FailureKind::Unreachable),
        Just(FailureKind::TimedOut),
        Just(FailureKind::NoRemoteSpace),
        Just(FailureKind::ToolMissing),
        Just(FailureKind::Other),
    ]
}

proptest! {
    #[test]
    fn every_course_ends_in_bounds_and_has_tried_every_place(
        ranks in prop::collection::vec(any::<bool>(), 1..6),
        fates in prop::collection::vec((kinds(), 0_u64..1000, 0_u64..100_000), 200),
    ) {
        let rank = |is_first: &bool| if *is_first { Rank::Primary } else { Rank::Alternative };
        let tries: Vec<Try> = ranks.iter().map(|it| place("A", rank(it))).collect();
        let limits = CourseLimits::default();
        let mut course = Course::new(Lfn::new("f"), Direction::Read, &tries, limits, [3; 16]);
        let mut now = Moment::START;
        let mut counts = vec![0_u32; tries.len()];
        let mut next = course.begin(now);
        for (kind, kept, millis) in fates {
            let index = match next {
                Next::Try { index, .. } | Next::RenewCredential { index } => index,
                Next::TryAfter { pause, index, .. } => {
                    prop_assert!(pause <= limits.retry_after_max.max(limits.pauses.last * 2));
                    now = now.after(pause);
                    index
                }
                Next::GiveUp(_) | Next::Done => break,
            };
            counts[index] += 1;
            now = now.after(Duration::from_millis(millis));
            let kept = ByteCount::from_bytes(kept);
            next = course.on_outcome(now, Err(Failure { kept, ..failure(kind) }));
        }
        prop_assert!(matches!(next, Next::GiveUp(_)), "it goes on: {next:?}");
        let most = limits.tries_each + limits.resumes_each + 1;
        prop_assert!(counts.iter().all(|count| (1..=most).contains(count)), "{counts:?}");
    }
}
