//! The options of `prun` that a step may give.
//!
//! Source: panda-client 2.2, `pandaclient/PrunArgs.py` and `CommonArgs.py`.

use std::collections::BTreeMap;

/// What an option is followed by, and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Flag,
    /// A text.
    Text,
    /// A text; the option may be given more than once.
    Texts,
    /// A whole number.
    Whole,
    /// Nothing, and it changes nothing here.
    IdleFlag,
    /// A text, and it changes nothing here.
    IdleText,
}

/// All options that are taken.
const OPTIONS: &[(&str, Kind)] = &[
    ("--mergeOutput", Kind::Flag),
    ("--mergeLog", Kind::Flag),
    ("--noSeparateLog", Kind::Flag),
    ("--debugMode", Kind::Flag),
    ("--useNumFilesInSecDSsAsRatio", Kind::Flag),
    ("--notSkipLog", Kind::Flag),
    ("--useLogAsInput", Kind::Flag),
    ("--fixedRamCount", Kind::Flag),
    ("--noLoopingCheck", Kind::Flag),
    ("--unlimitNumOutputs", Kind::Flag),
    ("--execWithRealFileNames", Kind::Flag),
    ("--noEmail", Kind::Flag),
    ("--expertOnly_skipScout", Kind::Flag),
    ("--msgDriven", Kind::Flag),
    ("--respectLB", Kind::Flag),
    ("--osMatching", Kind::Flag),
    ("--disableAutoRetry", Kind::Flag),
    ("--useSecrets", Kind::Flag),
    ("--avoidVP", Kind::Flag),
    ("--fixedCpuTime", Kind::Flag),
    ("--forceStaged", Kind::Flag),
    ("--useDirectIOSites", Kind::Flag),
    ("--wrapExecInContainer", Kind::Flag),
    ("--memory", Kind::Whole),
    ("--nCore", Kind::Whole),
    ("--maxCore", Kind::Whole),
    ("--outDiskCount", Kind::Whole),
    ("--nSkipFiles", Kind::Whole),
    ("--maxNFilesPerJob", Kind::Whole),
    ("--maxAttempt", Kind::Whole),
    ("--priority", Kind::Whole),
    ("--cpuTimePerEvent", Kind::Whole),
    ("--maxWalltime", Kind::Whole),
    ("--nEvents", Kind::Whole),
    ("--nFiles", Kind::Whole),
    ("--nFilesPerJob", Kind::Whole),
    ("--nJobs", Kind::Whole),
    ("--nEventsPerJob", Kind::Whole),
    ("--nEventsPerFile", Kind::Whole),
    ("--outputs", Kind::Text),
    ("--destSE", Kind::Text),
    ("--addNthFieldOfInDSToLFN", Kind::Text),
    ("--addNthFieldOfInFileToLFN", Kind::Text),
    ("--secondaryDSs", Kind::Text),
    ("--reusableSecondary", Kind::Text),
    ("--site", Kind::Text),
    ("--match", Kind::Text),
    ("--antiMatch", Kind::Text),
    ("--nGBPerJob", Kind::Text),
    ("--nGBPerMergeJob", Kind::Text),
    ("--rootVer", Kind::Text),
    ("--cmtConfig", Kind::Text),
    ("--allowNoOutput", Kind::Text),
    ("--framework", Kind::Text),
    ("--spaceToken", Kind::Text),
    ("--writeInputToTxt", Kind::Text),
    ("--mergeScript", Kind::Text),
    ("--architecture", Kind::Text),
    ("--containerImage", Kind::Text),
    ("--alrbArgs", Kind::Text),
    ("--skipFilesUsedBy", Kind::Text),
    ("--transferType", Kind::Text),
    ("--excludedSite", Kind::Texts),
    ("--noBuild", Kind::IdleFlag),
    ("--notExpandInDS", Kind::IdleFlag),
    ("--notExpandSecDSs", Kind::IdleFlag),
    ("--respectSplitRule", Kind::IdleFlag),
    ("--useSandbox", Kind::IdleFlag),
    ("--alrb", Kind::IdleFlag),
    ("--express", Kind::IdleFlag),
    ("--followLinks", Kind::IdleFlag),
    ("--useHomeDir", Kind::IdleFlag),
    ("--forceStagedSecondary", Kind::IdleFlag),
    ("--allowTaskDuplication", Kind::IdleFlag),
    ("--verbose", Kind::IdleFlag),
    ("-v", Kind::IdleFlag),
    ("-y", Kind::IdleFlag),
    ("-3", Kind::IdleFlag),
    ("--vo", Kind::IdleText),
    ("--prodSourceLabel", Kind::IdleText),
    ("--tmpDir", Kind::IdleText),
    ("--extFile", Kind::IdleText),
    ("--excludeFile", Kind::IdleText),
    ("--maxFileSize", Kind::IdleText),
    ("--maxCpuCount", Kind::IdleText),
];

/// Other spellings of options.
const ALIASES: [(&str, &str); 2] = [("--split", "--nJobs"), ("--nfiles", "--nFiles")];

/// The options of one step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct StepOptions {
    texts: BTreeMap<&'static str, Vec<String>>,
    wholes: BTreeMap<&'static str, i64>,
}

impl StepOptions {
    /// Reads the words of a step's arguments.
    ///
    /// # Errors
    ///
    /// An option that is not there, or lacks its value, or has one that it cannot have.
    pub(super) fn read(words: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (name, mut value) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                Some(_) | None => (word.as_str(), None),
            };
            let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
            let name = alias.map_or(name, |(_, name)| name);
            let found = OPTIONS.iter().find(|(known, _)| *known == name);
            let Some((name, kind)) = found.copied() else {
                return Err(not_taken(word));
            };
            let needs_value = !matches!(kind, Kind::Flag | Kind::IdleFlag);
            if needs_value && value.is_none() {
                value = words.next().cloned();
            }
            if needs_value != value.is_some() {
                let verb = if needs_value { "lacks its" } else { "takes no" };
                return Err(format!("option `{name}` {verb} value"));
            }
            let value = value.unwrap_or_default();
            match kind {
                Kind::IdleFlag | Kind::IdleText => {}
                Kind::Flag | Kind::Text => {
                    options.texts.insert(name, vec![value]);
                }
                Kind::Texts => options.texts.entry(name).or_default().push(value),
                Kind::Whole => {
                    let number = value.parse().map_err(|_| {
                        format!("option `{name}` has `{value}`: it must be a whole number")
                    })?;
                    options.wholes.insert(name, number);
                }
            }
        }
        Ok(options)
    }

    /// Says whether a flag was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.texts.contains_key(name)
    }

    /// The text of an option that is given and not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let text = self.texts.get(name)?.last()?;
        (!text.is_empty()).then_some(text)
    }

    /// The texts of an option, which may have commas.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let mut items: Vec<String> = Vec::new();
        let texts = self.texts.get(name).into_iter().flatten();
        for item in texts.flat_map(|text| text.split(',')).map(str::trim) {
            if !item.is_empty() && !items.iter().any(|known| known == item) {
                items.push(item.to_owned());
            }
        }
        items
    }

    /// The number of an option; none unless it is above zero, which is how `prun` spells "not given".
    pub(super) fn whole(&self, name: &str) -> Option<i64> {
        self.wholes.get(name).copied().filter(|number| *number > 0)
    }
}

fn not_taken(word: &str) -> String {
    match word {
        "--inDS" => "`--inDS` cannot be an argument: it is an input of the step".to_owned(),
        "--outDS" => "`--outDS` cannot be an argument: it follows from the workflow's".to_owned(),
        "--exec" => "`--exec` cannot be an argument: it is an input of the step".to_owned(),
        word if word.starts_with('-') => format!(
            "option `{word}` is not available in the steps of workflows, or not known: see the \
             users' page about workflows for those that are"
        ),
        word => format!("`{word}` stands alone in the arguments: quote texts with blanks"),
    }
}
