//! What a payload may use at most, and what of it the kernel enforces. Plain data.
//!
//! A limit is asked for by [`Confinement`]. Where the batch system lets the pilot do so, a control
//! group enforces it; else the payload's first process gets what one process can be given, which
//! its descendants inherit. [`Confined`] tells what was had.

/// What a payload with all of its processes may use at most. Nothing by default is limited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Confinement {
    /// Most memory of all processes together, in bytes. Only a control group can hold it.
    pub memory_max_bytes: Option<u64>,
    /// Most processes and threads at a time. Only a control group can hold it.
    pub tasks_max: Option<u32>,
    /// CPU time per wall time, in thousandths of a core. Only a control group can hold it.
    pub cpu_millicores_max: Option<u32>,
    /// Numbers of the CPUs to run on; empty means those of the pilot.
    pub cpus: Vec<u32>,
    /// Largest size of any file that is written, in bytes. Who writes on gets `SIGXFSZ`.
    pub file_max_bytes: Option<u64>,
}

/// What of a [`Confinement`] is enforced, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Confined {
    /// The memory of all processes together.
    pub memory: Enforcement,
    /// The number of processes and threads.
    pub tasks: Enforcement,
    /// The CPU time.
    pub cpu_time: Enforcement,
    /// The CPUs to run on.
    pub cpus: Enforcement,
    /// The size of files.
    pub file_size: Enforcement,
    /// What finds every process of the payload at its end.
    pub descendants: Enforcement,
}

/// What enforces a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Enforcement {
    /// Nobody asked for it.
    #[default]
    NotAsked = 0,
    /// A control group of version 2.
    Cgroup2 = 1,
    /// A control group of version 1.
    Cgroup1 = 2,
    /// Attributes of the first process that its descendants inherit.
    Process = 3,
    /// Nothing: the node gives no means to the pilot.
    Nothing = 4,
}

impl Enforcement {
    const ALL: [Self; 5] = [
        Self::NotAsked,
        Self::Cgroup2,
        Self::Cgroup1,
        Self::Process,
        Self::Nothing,
    ];

    fn of_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|it| *it as u64 == number)
    }
}

impl Confined {
    /// Packs all into one number, four bits each.
    pub(crate) fn to_word(self) -> u64 {
        self.all()
            .into_iter()
            .fold(0, |word, it| (word << 4) | it as u64)
    }

    /// Reads what [`Self::to_word`] wrote.
    pub(crate) fn of_word(word: u64) -> Option<Self> {
        let part = |index: u32| Enforcement::of_number((word >> (4 * (5 - index))) & 0xF);
        Some(Self {
            memory: part(0)?,
            tasks: part(1)?,
            cpu_time: part(2)?,
            cpus: part(3)?,
            file_size: part(4)?,
            descendants: part(5)?,
        })
    }

    const fn all(self) -> [Enforcement; 6] {
        [
            self.memory,
            self.tasks,
            self.cpu_time,
            self.cpus,
            self.file_size,
            self.descendants,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_confined_survives_the_socket() {
        let confined = Confined {
            memory: Enforcement::Cgroup2,
            tasks: Enforcement::Nothing,
            cpu_time: Enforcement::NotAsked,
            cpus: Enforcement::Process,
            file_size: Enforcement::Process,
            descendants: Enforcement::Cgroup1,
        };
        assert_eq!(Confined::of_word(confined.to_word()), Some(confined));
        assert_eq!(Confined::of_word(0xF), None);
    }
}
