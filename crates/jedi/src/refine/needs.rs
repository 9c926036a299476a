//! What a task's jobs need, where they may run, and how much of the input is used.

use std::str::FromStr;

use crate::{
    params::{Fields, ParamError},
    refined::Amount,
    resources::{BASE_WALLTIME_DEFAULT_S, CPU_EFFICIENCY_DEFAULT, RAM_DEFAULT_MB, TaskResources},
    sites::SiteSelection,
};

/// Most cores of a job.
const CORES_MAX: u64 = 100_000;

pub(super) fn resources(fields: &Fields<'_>) -> Result<TaskResources, ParamError> {
    let efficiency = fields
        .count("cpuEfficiency")?
        .unwrap_or(u64::from(CPU_EFFICIENCY_DEFAULT));
    let stated_ram = fields.count("ramCount")?;
    let ram_word = match fields.filled_text("ramUnit")? {
        Some(word) => Some(word),
        None => fields.filled_text("ramCountUnit")?,
    };
    let default_ram = TaskResources::default().ram_unit;
    let ram_unit = match ram_word {
        Some(word) => word
            .parse()
            .map_err(|_| fields.invalid("ramUnit", "`MB`, `MBPerCore` or `MBPerCoreFixed`"))?,
        None if stated_ram.is_some() => crate::resources::RamUnit::Mb,
        None => default_ram,
    };
    Ok(TaskResources {
        cores: cores(fields, "coreCount")?.unwrap_or(1),
        ram_mb: stated_ram.unwrap_or(RAM_DEFAULT_MB),
        ram_unit,
        base_ram_mb: fields.count("baseRamCount")?.unwrap_or(0),
        cpu_time: fields.count("cpuTime")?.unwrap_or(0),
        cpu_time_unit: unit(
            fields,
            "cpuTimeUnit",
            "`HS06sPerEvent` or `mHS06sPerEvent`, either with `Fixed`",
        )?,
        cpu_efficiency_percent: u32::try_from(efficiency)
            .map_err(|_| fields.invalid("cpuEfficiency", "a percentage"))?,
        base_walltime_s: fields
            .count("baseWalltime")?
            .unwrap_or(BASE_WALLTIME_DEFAULT_S),
        walltime_s_per_mb: fields.integer("walltime")?.unwrap_or(0),
        walltime_unit: fields.filled_text("walltimeUnit")?,
        // PanDA counts a negative size as none.
        out_disk: size(fields, "outDiskCount")?,
        out_disk_unit: unit(
            fields,
            "outDiskUnit",
            "`kB`, `MB` or `GB`, with `PerEvent`, `Fixed` or both",
        )?
        .unwrap_or_default(),
        work_disk: size(fields, "workDiskCount")?,
        work_disk_unit: unit(fields, "workDiskUnit", "`kB`, `MB` or `GB`")?.unwrap_or_default(),
        io_intensity: fields.count("ioIntensity")?.unwrap_or(0),
        io_intensity_unit: fields.filled_text("ioIntensityUnit")?,
        disk_io: fields.count("diskIO")?.unwrap_or(0),
    })
}

fn size(fields: &Fields<'_>, key: &str) -> Result<u64, ParamError> {
    Ok(fields
        .integer(key)?
        .and_then(|size| u64::try_from(size).ok())
        .unwrap_or(0))
}

fn unit<T: FromStr>(
    fields: &Fields<'_>,
    key: &str,
    allowed: &'static str,
) -> Result<Option<T>, ParamError> {
    let word = fields.filled_text(key)?;
    word.map(|word| word.parse().map_err(|_| fields.invalid(key, allowed)))
        .transpose()
}

pub(super) fn cores(fields: &Fields<'_>, key: &str) -> Result<Option<u32>, ParamError> {
    let count = fields.count(key)?;
    count
        .map(|count| match u32::try_from(count) {
            Ok(cores) if count <= CORES_MAX => Ok(cores),
            Ok(_) | Err(_) => Err(fields.invalid(key, "a number of cores, at most 100000")),
        })
        .transpose()
}

pub(super) fn sites(fields: &Fields<'_>) -> Result<SiteSelection, ParamError> {
    let mut site = fields.list("site")?;
    // Clients write `AUTO` for no wish.
    site.retain(|name| name != "AUTO");
    let cloud = fields.filled_text("cloud")?;
    Ok(SiteSelection {
        site,
        panda_site: fields.filled_text("PandaSite")?,
        included: fields.list("includedSite")?,
        excluded: fields.list("excludedSite")?,
        cloud: match cloud {
            Some(cloud) => Some(cloud),
            None => fields.filled_text("workingGroup")?,
        },
        nucleus: fields.filled_text("nucleus")?,
    })
}

pub(super) fn amount(fields: &Fields<'_>) -> Result<Amount, ParamError> {
    let filled = |key: &str| Ok(fields.count(key)?.filter(|count| *count > 0));
    let either = |first: &str, second: &str| match filled(first)? {
        Some(count) => Ok(Some(count)),
        None => filled(second),
    };
    Ok(Amount {
        files: filled("nFiles")?,
        events: filled("nEvents")?,
        events_per_file: either("nEventsPerInputFile", "nEventsPerFile")?,
        events_per_piece: either("minGranularity", "nEventsPerRange")?,
        target_events: filled("tgtNumEventsPerJob")?,
        skips_short_input: fields.flag("skipShortInput")?,
        skips_short_output: fields.flag("skipShortOutput")?,
        skip_files_used_by: fields
            .list("skipFilesUsedBy")?
            .iter()
            .filter_map(|id| id.parse().ok())
            .collect(),
    })
}
