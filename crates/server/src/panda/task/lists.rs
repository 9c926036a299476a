//! Calls that list tasks.

use std::time::Duration;

use ailurus_model::{TaskId, Timestamp};
use ailurus_server_core::{
    ledger::{Ledger, LedgerError, PandaTaskRows},
    tasks::{describe_task, digest_task, summarise_task},
};
use regex::Regex;
use serde_json::{Map, Value};

use crate::{
    knowledge::now,
    panda::{Call, Reply, failed},
};

/// Most tasks in a list of changed ones.
const MODIFIED_MAX: usize = 500;
/// Tasks that are looked at for a list.
const LOOKED_AT_MAX: usize = 20_000;
/// How far back lists go.
const WINDOW: Duration = Duration::from_secs(90 * 24 * 3600);

/// Reads the time since which tasks are listed; without one, those of any age are.
fn since(call: &Call) -> Result<Timestamp, Reply> {
    let Some(text) = call.text("since") else {
        return Ok(Timestamp::from_millis(0));
    };
    match Timestamp::from_panda_text(&text) {
        Ok(since) => Ok(since.max(now().before(WINDOW))),
        Err(error) => Err(Reply::refusal(format!("since is no time: {error}"))),
    }
}

pub(super) async fn modified_since(call: Call) -> Reply {
    let since = match since(&call) {
        Ok(since) => since,
        Err(reply) => return reply,
    };
    let dn = call.text("dn").filter(|dn| !dn.is_empty());
    let user = match &dn {
        Some(dn) => ailurus_identity::name::compact(dn),
        None => call.caller.name.clone(),
    };
    let first = TaskId::new(call.whole("min_task_id").unwrap_or(0));
    let label = call.text("prod_source_label").unwrap_or_default();
    let is_full = call.flag("full");
    let read = call
        .app
        .read(move |reader| {
            let ledger = reader.ledger();
            let mut found = Map::new();
            for id in ledger.tasks_changed_since(since, LOOKED_AT_MAX)? {
                if found.len() >= MODIFIED_MAX {
                    break;
                }
                let Some(task) = ledger.task(id)?.filter(|task| task.id > first) else {
                    continue;
                };
                let is_wanted = (user.is_empty() || task.spec.user == user)
                    && (label.is_empty() || task.spec.source_label.as_str() == label);
                if !is_wanted {
                    continue;
                }
                let Some(mut summary) = summarise_task(ledger, id)? else {
                    continue;
                };
                if is_full {
                    summary.extend(digest_task(ledger, id)?.unwrap_or_default());
                }
                let request = summary.get("reqID").map(Value::to_string);
                found.insert(request.unwrap_or_default(), Value::Object(summary));
            }
            Ok(found)
        })
        .await;
    match read {
        Ok(found) => Reply::data(Value::Object(found)),
        Err(error) => failed(&error),
    }
}

/// What a column must be.
enum Filter {
    Is(String),
    Matches(Regex),
}

impl Filter {
    /// A text with characters of expressions is one; others are taken as they are.
    fn of(text: &str) -> Self {
        let is_expression = text.contains(['*', '+', '?', '^', '$', '(', ')', '|', '\\']);
        match Regex::new(text) {
            Ok(expression) if is_expression => Self::Matches(expression),
            Ok(_) | Err(_) => Self::Is(text.to_owned()),
        }
    }

    fn accepts(&self, value: &Value) -> bool {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null => return false,
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                value.to_string()
            }
        };
        match self {
            Self::Is(wanted) => *wanted == text,
            Self::Matches(expression) => expression.is_match(&text),
        }
    }
}

/// Reads the filters: an object of columns and texts.
fn filters(text: Option<&str>) -> Result<Vec<(String, Filter)>, Reply> {
    let Some(text) = text.filter(|text| !text.trim().is_empty() && *text != "None") else {
        return Ok(Vec::new());
    };
    let map: Map<String, Value> = serde_json::from_str(text)
        .map_err(|error| Reply::refusal(format!("filters is no JSON object: {error}")))?;
    Ok(map
        .into_iter()
        .map(|(column, value)| {
            let text = match &value {
                Value::String(text) => text.clone(),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Array(_)
                | Value::Object(_) => value.to_string(),
            };
            (column, Filter::of(&text))
        })
        .collect())
}

/// Lists the tasks that may fit, without reading all for a task that is named by its number.
///
/// A task without a request is its own request: `pbook` takes small numbers for those of requests,
/// so the task of that number comes first.
fn candidates(
    ledger: &impl Ledger,
    since: Timestamp,
    filters: &[(String, Filter)],
) -> Result<Vec<TaskId>, LedgerError> {
    let number = |wanted: &str| {
        filters.iter().find_map(|(column, filter)| match filter {
            Filter::Is(text) if column == wanted => text.parse().ok().map(TaskId::new),
            Filter::Is(_) | Filter::Matches(_) => None,
        })
    };
    let (task, request) = (number("jediTaskID"), number("reqID"));
    let mut found = Vec::new();
    if let Some(id) = task.or(request)
        && let Some(progress) = ledger.task_progress(id)?
        && progress.modified >= since
    {
        found.push(id);
    }
    if task.is_none() {
        let all = ledger.tasks_changed_since(since, LOOKED_AT_MAX)?;
        found.extend(all.into_iter().filter(|id| Some(*id) != request));
    }
    Ok(found)
}

pub(super) async fn detailed_since(call: Call) -> Reply {
    let (since, mut filters) = match since(&call).and_then(|since| {
        let filters = filters(call.text("filters").as_deref())?;
        Ok((since, filters))
    }) {
        Ok(found) => found,
        Err(reply) => return reply,
    };
    let names_user = filters.iter().any(|(column, _)| column == "userName");
    if !names_user && !call.caller.name.is_empty() {
        let own = Filter::Is(call.caller.name.clone());
        filters.push(("userName".to_owned(), own));
    }
    let most = call.whole("n_tasks").unwrap_or(MODIFIED_MAX);
    let read = call
        .app
        .read(move |reader| {
            let ledger = reader.ledger();
            let mut found = Vec::new();
            for id in candidates(ledger, since, &filters)? {
                if found.len() >= most {
                    break;
                }
                // Counting files costs more than the rest: only for those that are shown.
                let Some(summary) = summarise_task(ledger, id)? else {
                    continue;
                };
                let is_out = |(column, filter): &(String, Filter)| {
                    summary
                        .get(column)
                        .is_some_and(|value| !filter.accepts(value))
                };
                if filters.iter().any(is_out) {
                    continue;
                }
                let Some(columns) = describe_task(ledger, id)? else {
                    continue;
                };
                let is_wanted = filters.iter().all(|(column, filter)| {
                    columns
                        .get(column)
                        .is_some_and(|value| filter.accepts(value))
                });
                if is_wanted {
                    found.push(Value::Object(columns));
                }
            }
            Ok(found)
        })
        .await;
    match read {
        Ok(found) => Reply::data(found),
        Err(error) => failed(&error),
    }
}
