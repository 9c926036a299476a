//! PanDA's classes of cores and memory, by which jobs are matched to workers and counted.
//!
//! Which classes there are is configuration; the main type is [`ResourceTypes`].

use std::collections::BTreeSet;

use ailurus_model::ByteCount;
use serde::Deserialize;

/// The class of a job that none fits.
const UNDEFINED: &str = "Undefined";

/// One class. None means no limit; all limits are inclusive.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceType {
    /// Its name, for example `SCORE`.
    pub name: String,
    /// Fewest cores.
    pub cores_min: u32,
    /// Most cores.
    #[serde(default)]
    pub cores_max: Option<u32>,
    /// Least memory of a core, in PanDA's MB.
    #[serde(default)]
    pub mb_per_core_min: u64,
    /// Most memory of a core, in PanDA's MB.
    #[serde(default)]
    pub mb_per_core_max: Option<u64>,
}

impl ResourceType {
    fn fits(&self, cores: u32, mb_per_core: u64) -> bool {
        cores >= self.cores_min
            && self.cores_max.is_none_or(|most| cores <= most)
            && mb_per_core >= self.mb_per_core_min
            && self.mb_per_core_max.is_none_or(|most| mb_per_core <= most)
    }

    fn is_empty(&self) -> bool {
        let has_no_cores = self.cores_max.is_some_and(|most| most < self.cores_min);
        let most = self.mb_per_core_max;
        has_no_cores || most.is_some_and(|most| most < self.mb_per_core_min)
    }
}

/// A table of classes makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceTypesError {
    /// A class has no name.
    #[error("a class has no name, give it one")]
    Nameless,
    /// Two classes have one name.
    #[error("class `{name}` is there twice, name each once")]
    Twice {
        /// Their name.
        name: String,
    },
    /// No job can be of a class.
    #[error("no job fits class `{name}`, its largest value is below its smallest")]
    Empty {
        /// Its name.
        name: String,
    },
}

/// The classes, in the order in which they are tried. The default is PanDA's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceTypes(Vec<ResourceType>);

impl ResourceTypes {
    /// Takes a table; an empty one means PanDA's.
    ///
    /// # Errors
    ///
    /// [`ResourceTypesError`] if names or limits make no sense.
    pub fn new(table: Vec<ResourceType>) -> Result<Self, ResourceTypesError> {
        if table.is_empty() {
            return Ok(Self::default());
        }
        let mut names = BTreeSet::new();
        for class in &table {
            let name = class.name.clone();
            if name.is_empty() {
                return Err(ResourceTypesError::Nameless);
            }
            if class.is_empty() {
                return Err(ResourceTypesError::Empty { name });
            }
            if !names.insert(&class.name) {
                return Err(ResourceTypesError::Twice { name });
            }
        }
        Ok(Self(table))
    }

    /// Lists the classes in their order.
    #[must_use]
    pub fn table(&self) -> &[ResourceType] {
        &self.0
    }

    /// Returns the class of a job with so many cores and so much memory: the first that fits, or
    /// `Undefined`. Memory that is not stated counts as none; memory a core is rounded.
    ///
    /// Source: PanDA server, `pandaserver/taskbuffer/ResourceSpec.py`.
    #[must_use]
    pub fn class_of(&self, cores: u32, memory: ByteCount) -> &str {
        let cores = cores.max(1);
        let n = u64::from(cores);
        let mb_per_core = memory.as_mib().saturating_add(n / 2) / n;
        let class = self.0.iter().find(|class| class.fits(cores, mb_per_core));
        class.map_or(UNDEFINED, |class| &class.name)
    }
}

impl Default for ResourceTypes {
    /// Source: PanDA server's default table of resource types.
    fn default() -> Self {
        let class = |name: &str, cores: (u32, Option<u32>), memory: (u64, Option<u64>)| {
            let ((cores_min, cores_max), (mb_per_core_min, mb_per_core_max)) = (cores, memory);
            ResourceType {
                name: name.to_owned(),
                cores_min,
                cores_max,
                mb_per_core_min,
                mb_per_core_max,
            }
        };
        let (single, several) = ((1, Some(1)), (2, None));
        let (normal, high) = ((0, Some(2000)), (2001, None));
        Self(vec![
            class("SCORE", single, normal),
            class("SCORE_HIMEM", single, high),
            class("MCORE", several, normal),
            class("MCORE_HIMEM", several, high),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_the_table() {
        let types = ResourceTypes::default();
        let class = |cores, mib| types.class_of(cores, ByteCount::from_mib(mib));
        assert_eq!(class(1, 0), "SCORE");
        assert_eq!(class(1, 2000), "SCORE");
        assert_eq!(class(1, 2001), "SCORE_HIMEM");
        assert_eq!(class(8, 16_000), "MCORE");
        assert_eq!(class(8, 16_004), "MCORE_HIMEM");
        assert_eq!(class(0, 1), "SCORE");
    }

    #[test]
    fn the_first_class_that_fits_counts_and_a_job_may_have_none() {
        let mut table = ResourceTypes::default().table()[..2].to_vec();
        table[1].mb_per_core_max = Some(3000);
        let types = ResourceTypes::new(table).expect("a table");
        let class = |cores, mib| types.class_of(cores, ByteCount::from_mib(mib));
        assert_eq!(class(1, 3000), "SCORE_HIMEM");
        assert_eq!(class(1, 3001), "Undefined");
        assert_eq!(class(2, 100), "Undefined");
    }

    #[test]
    fn a_table_that_makes_no_sense_is_refused() {
        let known = ResourceTypes::default().table().to_vec();
        assert_eq!(ResourceTypes::new(Vec::new()), Ok(ResourceTypes::default()));
        let with = |change: fn(&mut Vec<ResourceType>)| {
            let mut table = known.clone();
            change(&mut table);
            ResourceTypes::new(table).expect_err("no table").to_string()
        };
        assert!(with(|table| table[0].name.clear()).contains("no name"));
        assert!(with(|table| table[1].name = "SCORE".into()).contains("`SCORE` is there twice"));
        assert!(with(|table| table[2].cores_max = Some(1)).contains("`MCORE`"));
    }
}
