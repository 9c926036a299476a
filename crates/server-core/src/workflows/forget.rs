//! Removes workflows that ended long ago.

use crate::{
    ArchiveRules, Context,
    ledger::{Ledger, LedgerError},
};

/// Removes workflows that ended as long ago as tasks whose jobs are dropped, and says how many:
/// call it again until there are none. Their tasks stay, as all tasks do.
///
/// # Errors
///
/// [`LedgerError`] if the rows are out of reach.
pub fn forget_workflows(
    ctx: &Context<'_>,
    ledger: &mut impl Ledger,
    rules: &ArchiveRules,
) -> Result<u64, LedgerError> {
    let Some(age) = rules.drop_after else {
        return Ok(0);
    };
    let old = ledger.workflows_unchanged_since(ctx.now.before(age), rules.batch)?;
    for id in &old {
        ledger.remove_workflow(*id)?;
    }
    Ok(u64::try_from(old.len()).unwrap_or(u64::MAX))
}
