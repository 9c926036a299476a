//! Several pilots in one allocation, one on each node, over one shared directory.
//!
//! Each job is claimed by the pilot that runs it. One pilot leads: it alone writes the files that
//! concern the whole worker. What is known of the others is how long ago they showed that they
//! live; nothing here is taken from a pilot that is only slow.

use std::time::Duration;

/// Time without a sign of life after which a pilot counts as gone. Pilots show that they live once
/// a minute; file systems of clusters may take a while to tell.
pub const SILENCE_MAX: Duration = Duration::from_secs(300);

/// Who leads, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    /// Counts the leaders of this allocation, from 1.
    pub generation: u32,
    /// The leader's name.
    pub holder: String,
    /// Time since it showed that it lives.
    pub silence: Duration,
}

/// What a pilot does about the lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeadPlan {
    /// It leads and goes on.
    Keep,
    /// It tries to become the leader with this number.
    Take(u32),
    /// Another one leads, or is to.
    Follow,
}

/// Decides who leads: the pilot with rank 0 or without a rank takes the lead first; another one
/// only when nobody took it for [`SILENCE_MAX`], or the leader is gone.
///
/// `age` is the pilot's own age.
#[must_use]
pub fn plan_lead(
    own_name: &str,
    rank: Option<u32>,
    current: Option<&Leadership>,
    age: Duration,
) -> LeadPlan {
    match current {
        Some(current) if current.holder == own_name => LeadPlan::Keep,
        Some(current) if current.silence > SILENCE_MAX => {
            LeadPlan::Take(current.generation.saturating_add(1))
        }
        Some(_) => LeadPlan::Follow,
        None if rank.unwrap_or(0) == 0 || age > SILENCE_MAX => LeadPlan::Take(1),
        None => LeadPlan::Follow,
    }
}

/// What became of a claimed job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimState {
    /// Its pilot works on it.
    Held,
    /// Its pilot reported the end.
    Done,
    /// Its pilot is gone, and the job with it.
    Lost,
}

/// Judges a claim: whether its end was reported, and the time since its pilot showed that it
/// lives. A lost job is not run again here: whoever gave it decides that.
#[must_use]
pub const fn claim_state(end: Option<ClaimEnd>, silence: Duration) -> ClaimState {
    match end {
        Some(ClaimEnd::Finished | ClaimEnd::Failed) => ClaimState::Done,
        None if silence.as_secs() > SILENCE_MAX.as_secs() => ClaimState::Lost,
        None => ClaimState::Held,
    }
}

/// The end of a claimed job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimEnd {
    /// It finished.
    Finished,
    /// It failed.
    Failed,
}

/// Says whether the batch job may end: nobody works on a job any more.
#[must_use]
pub fn is_idle(claims: impl IntoIterator<Item = ClaimState>) -> bool {
    claims.into_iter().all(|claim| claim != ClaimState::Held)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(301);

    fn leader(holder: &str, silence: Duration) -> Leadership {
        Leadership {
            generation: 3,
            holder: holder.into(),
            silence,
        }
    }

    #[test]
    fn rank_0_leads_and_a_pilot_without_rank_takes_what_is_free() {
        let first = |rank| plan_lead("me", rank, None, Duration::ZERO);
        assert_eq!(first(Some(0)), LeadPlan::Take(1));
        assert_eq!(first(None), LeadPlan::Take(1));
        assert_eq!(first(Some(1)), LeadPlan::Follow);
    }

    #[test]
    fn the_lead_passes_on_only_when_nobody_holds_it_for_long() {
        let plan = |leader: Option<&Leadership>, age| plan_lead("me", Some(1), leader, age);
        assert_eq!(plan(None, LONG), LeadPlan::Take(1));
        let other = leader("other", Duration::from_secs(300));
        assert_eq!(plan(Some(&other), LONG), LeadPlan::Follow);
        assert_eq!(plan(Some(&leader("other", LONG)), LONG), LeadPlan::Take(4));
        assert_eq!(plan(Some(&leader("me", LONG)), LONG), LeadPlan::Keep);
    }

    #[test]
    fn a_claim_is_lost_with_its_pilot_unless_its_end_was_reported() {
        assert_eq!(claim_state(None, Duration::ZERO), ClaimState::Held);
        assert_eq!(claim_state(None, LONG), ClaimState::Lost);
        assert_eq!(claim_state(Some(ClaimEnd::Failed), LONG), ClaimState::Done);
        assert!(is_idle([ClaimState::Lost, ClaimState::Done]));
        assert!(!is_idle([ClaimState::Lost, ClaimState::Held]));
        assert!(is_idle([]));
    }
}
