//! The settings as the operator sees and changes them. On a box the first process keeps them; on a host they are a file.

use std::path::{Path, PathBuf};

use penstock_settings::{Change, FILE_BYTES_MAX, Problems, Settings, changes, with_kept, without_secrets};

use super::Operator;
use super::view::blocking;
use crate::control::types::{ErrorBody, SettingsView};
use crate::control::{Kind as Fault, Refusal, Who};
use crate::keeper::{self, Kept, Request};
use crate::ledger::Kind;

/// Problems that are told in one sentence.
const PROBLEMS_TOLD: usize = 10;

pub(super) async fn view(operator: &Operator) -> Result<SettingsView, Refusal> {
    let Some(keeper) = operator.options.keeper.clone() else {
        let file = operator.options.settings_file.clone();
        let text = blocking(move || read(&file)).await??;
        let place = operator.options.settings_file.display().to_string();
        return Ok(SettingsView { text: without_secrets(&text), place, changeable: false, trial: None });
    };
    ask(keeper, Request::Settings).await.and_then(of_box)
}

/// Has other settings tried. They are kept only if the service is well with them.
pub(super) async fn put(operator: &Operator, text: String, who: &Who) -> Result<SettingsView, Refusal> {
    let Some(keeper) = operator.options.keeper.clone() else {
        return Err(Refusal::new(
            Fault::Conflict,
            "PS-D245",
            format!("the settings of this service are in {}", operator.options.settings_file.display()),
            "Change them there, see what `penstock settings check` says of them, and start the service again.",
        ));
    };
    let before: Kept = ask(keeper.clone(), Request::Settings).await?;
    let text = with_kept(&text, before.text.as_deref().unwrap_or_default());
    Settings::parse(&text).map_err(|problems| wrong(&problems))?;
    let changed = changes(before.text.as_deref().unwrap_or_default(), &text);
    let said = format!("tried for {who}: {}", summary(&changed));
    let event = Kind::Settings.event(operator.clock.stamp(), None, said);
    // It is the next start of the service that matters, so a volume that refuses must not stand in the way.
    if let Err(error) = operator.volumes.record(event).await {
        tracing::warn!(code = error.code(), %error, "a change of settings could not be written to the ledger");
    }
    ask(keeper, Request::Try { text, by: who.to_string() }).await.and_then(of_box)
}

fn of_box(kept: Kept) -> Result<SettingsView, Refusal> {
    let text = without_secrets(&kept.text.unwrap_or_default());
    Ok(SettingsView { text, place: "flash".to_owned(), changeable: true, trial: kept.trial })
}

/// `PS-C…`: the settings are not right. The code is that of the first problem.
fn wrong(problems: &Problems) -> Refusal {
    let told: Vec<String> = problems
        .iter()
        .take(PROBLEMS_TOLD)
        .map(|problem| {
            let place = problem.line.map(|line| format!("line {line}: ")).unwrap_or_default();
            format!("{place}{}: {}", problem.key, problem.reason)
        })
        .collect();
    let more = (problems.iter().count() + problems.more()).saturating_sub(told.len());
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    let code = problems.iter().next().map_or("PS-C02", |problem| problem.code.as_str());
    let message = format!("the settings are not right: {}{more}", told.join("; "));
    Refusal::new(Fault::BadRequest, code, message, "Nothing was changed.")
}

/// What changed, as a sentence for the ledger.
fn summary(changed: &[Change]) -> String {
    if changed.is_empty() {
        return "nothing but words that do not count".to_owned();
    }
    let one = |change: &Change| {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "its default".to_owned());
        format!("{} from {} to {}", change.key, value(&change.from), value(&change.to))
    };
    changed.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn read(file: &Path) -> Result<String, Refusal> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(FILE_BYTES_MAX as u64).read_to_string(&mut text))
        .map_err(|error| {
            let message = format!("{} cannot be read: {error}", file.display());
            Refusal::new(Fault::Unavailable, "PS-D281", message, "")
        })?;
    Ok(text)
}

/// Asks the first process. What it refuses is passed on.
async fn ask<T: serde::de::DeserializeOwned + Send + 'static>(
    socket: PathBuf,
    request: Request,
) -> Result<T, Refusal> {
    blocking(move || {
        keeper::ask(&socket, &request)
            .map_err(|ErrorBody { code, message, help }| Refusal::new(Fault::Conflict, &code, message, help))
    })
    .await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_says_what_was_changed() {
        let changed =
            [Change { key: "release.connections_max".to_owned(), from: None, to: Some("3".into()) }];
        assert_eq!(summary(&changed), "release.connections_max from its default to 3");
    }

    #[test]
    fn wrong_settings_are_told_with_key_line_and_the_code_of_the_first_problem() {
        let problems = Settings::parse("[listen]\nsize_max = 7\n").unwrap_err();
        let refusal = wrong(&problems);
        assert_eq!(refusal.body.code, "PS-C05");
        assert!(refusal.body.message.contains("line 2: listen.size_max: "), "{refusal}");
    }
}
