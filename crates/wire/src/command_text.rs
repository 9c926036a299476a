//! The commands in the answer to an update, as the text that PanDA joins from them.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/job_standalone_module.py`,
//! `updateJobStatus`; Pilot 3, `pilot/control/job.py`, `handle_backchannel_command`.

use ailurus_model::Command;

const TO_BE_KILLED: &str = "tobekilled";
const SOFT_KILL: &str = "softkill";
const DEBUG: &str = "debug";
const BAD_ATTEMPT_NR: &str = "badattemptnr";
const ALREADY_DONE: &str = "alreadydone";

/// The programs that a debug command may begin with.
const DEBUG_PROGRAMS: [&str; 5] = ["tail", "ls", "ps", "gdb", "du"];

/// Writes commands, joined by commas; nothing for none.
pub(crate) fn encode(commands: &[Command]) -> String {
    let texts: Vec<String> = commands
        .iter()
        .map(|command| match command {
            Command::ToBeKilled => TO_BE_KILLED.to_owned(),
            Command::SoftKill => SOFT_KILL.to_owned(),
            Command::Debug(None) => DEBUG.to_owned(),
            Command::Debug(Some(line)) => format!("{DEBUG},{line}"),
            Command::BadAttemptNr => BAD_ATTEMPT_NR.to_owned(),
            Command::AlreadyDone => ALREADY_DONE.to_owned(),
            Command::Other(text) => text.clone(),
        })
        .collect();
    texts.join(",")
}

/// Reads commands. A debug command's line may have commas: it goes on up to the next word that
/// is a command.
pub(crate) fn decode(text: &str) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        let is_line = part
            .split_whitespace()
            .next()
            .is_some_and(|word| DEBUG_PROGRAMS.contains(&word));
        match (part.trim(), commands.last_mut()) {
            (TO_BE_KILLED, _) => commands.push(Command::ToBeKilled),
            (SOFT_KILL, _) => commands.push(Command::SoftKill),
            (DEBUG, _) => commands.push(Command::Debug(None)),
            (BAD_ATTEMPT_NR, _) => commands.push(Command::BadAttemptNr),
            (ALREADY_DONE, _) => commands.push(Command::AlreadyDone),
            (line, Some(Command::Debug(debug @ None))) if is_line => {
                *debug = Some(line.to_owned());
            }
            (_, Some(Command::Debug(Some(line)))) => {
                line.push(',');
                line.push_str(part);
            }
            (line, _) if is_line => commands.push(Command::Debug(Some(line.to_owned()))),
            (other, _) => commands.push(Command::Other(other.to_owned())),
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_alone_and_together() {
        let line = |text: &str| Command::Debug(Some(text.to_owned()));
        for (text, expected) in [
            ("", vec![]),
            ("tobekilled", vec![Command::ToBeKilled]),
            (
                "debug,tobekilled",
                vec![Command::Debug(None), Command::ToBeKilled],
            ),
            ("debug,tail pilotlog.txt", vec![line("tail pilotlog.txt")]),
            ("tail a", vec![line("tail a")]),
            (
                "debug,tail a,b,softkill",
                vec![line("tail a,b"), Command::SoftKill],
            ),
            ("debugoff", vec![Command::Other("debugoff".to_owned())]),
            ("badattemptnr", vec![Command::BadAttemptNr]),
            ("alreadydone", vec![Command::AlreadyDone]),
        ] {
            assert_eq!(decode(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let commands = vec![
            Command::Debug(Some("ls -l".to_owned())),
            Command::SoftKill,
            Command::Other("nocleanup".to_owned()),
        ];
        assert_eq!(decode(&encode(&commands)), commands);
    }
}
