//! A script by which a person runs a job's payload on a machine of theirs.
//!
//! It downloads the inputs with Rucio's own program, fetches the payload script where that is a
//! URL, and runs it with the job's arguments. It writes no outputs back.

use ailurus_model::JobForm;

/// Writes the script for a described job.
///
/// # Errors
///
/// A text of why there is none.
pub fn offline_script(job: &JobForm) -> Result<String, String> {
    let attributes = &job.attributes;
    let transformation = attributes.text("transformation");
    if transformation.is_empty() {
        return Err("the job does not say what it runs".to_owned());
    }
    let mut lines = vec![
        "#!/bin/bash".to_owned(),
        format!(
            "# Runs the payload of job {} as attempt {} did.",
            attributes.count("PandaID"),
            attributes.count("attemptNr")
        ),
        "set -e".to_owned(),
    ];
    for file in &job.files {
        if file.text("type") == "input" {
            let did = format!("{}:{}", file.text("scope"), file.text("lfn"));
            lines.push(format!("rucio download --no-subdir {}", quoted(&did)));
        }
    }
    let program = if transformation.contains("://") {
        let name = transformation.rsplit('/').next().unwrap_or(transformation);
        let name = format!("./{name}");
        lines.push(format!(
            "curl -sSfL -o {} {}",
            quoted(&name),
            quoted(transformation)
        ));
        lines.push(format!("chmod +x {}", quoted(&name)));
        quoted(&name)
    } else {
        quoted(transformation)
    };
    // The arguments are a piece of shell already: this is how pilots run them.
    let arguments = attributes.text("jobParameters").replace('\n', " ");
    lines.push(format!("{program} {arguments}"));
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use ailurus_model::Attributes;

    use super::*;

    #[test]
    fn names_cannot_become_commands() {
        let mut job = JobForm::default();
        job.attributes
            .put("transformation", "https://example.org/run'; rm -rf /");
        job.attributes.put("jobParameters", "-i a.root");
        let mut input = Attributes::default();
        input.put("type", "input");
        input.put("scope", "spd");
        input.put("lfn", "a.root$(reboot)");
        job.files.push(input);
        let script = offline_script(&job).expect("a script");
        assert!(script.contains("rucio download --no-subdir 'spd:a.root$(reboot)'\n"));
        assert!(script.contains(r"'./ '\''") || script.contains(r"'\''; rm -rf"));
        assert!(script.ends_with("-i a.root\n"));
    }

    #[test]
    fn a_job_without_payload_has_no_script() {
        assert!(offline_script(&JobForm::default()).is_err());
    }
}
