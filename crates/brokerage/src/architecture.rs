//! PanDA's architecture string, `platform[@base][#cpu][&gpu]`, against the hardware of queues.
//!
//! The CPU is `arch[-vendor[-instructions]]`, the GPU `vendor[-model]` or `*` for any; the CPU's
//! parts may stand in braces as regular expressions.
//!
//! Source: PanDA server, `pandaserver/taskbuffer/JediTaskSpec.py`, `get_host_cpu_spec` and
//! `get_host_gpu_spec`; `pandajedi/jedibrokerage/AtlasBrokerUtils.py`, `JsonSoftwareCheck`.

use ailurus_model::Hardware;
use regex::Regex;

/// The word by which a queue keeps its hardware to jobs that ask for it.
const EXCLUSIVE: &str = "excl";
/// What stands for anything.
const ANYTHING: [&str; 2] = ["any", "*"];

/// What the text asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Architecture<'a> {
    /// The platform of the software, for example `x86_64-el9-gcc13-opt`; empty if none.
    pub platform: &'a str,
    /// The platform of the base software, empty if none.
    pub base: &'a str,
    /// Architecture, vendor and instructions of the CPU.
    pub cpu: Option<[&'a str; 3]>,
    /// Vendor and model of the GPU.
    pub gpu: Option<[&'a str; 2]>,
}

impl<'a> Architecture<'a> {
    /// Takes the text apart. Any text is one: what is not there is not asked for.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        let (text, gpu) = split(text, '&');
        let (text, cpu) = split(text, '#');
        let (platform, base) = split(text, '@');
        let cpu = Some(cpu).filter(|cpu| !cpu.is_empty()).map(cpu_parts);
        let gpu = Some(gpu)
            .filter(|gpu| !gpu.is_empty())
            .map(|gpu| split(gpu, '-').into());
        Self {
            platform: platform.trim(),
            base: base.trim(),
            cpu,
            gpu,
        }
    }

    /// Says whether nodes with this hardware can run it. Hardware that a queue does not describe
    /// is taken to be common: any CPU, no GPU.
    #[must_use]
    pub fn runs_on(&self, hardware: &[Hardware]) -> bool {
        let cpus: Vec<&Hardware> = hardware.iter().filter(|it| !it.is_gpu).collect();
        let gpus: Vec<&Hardware> = hardware.iter().filter(|it| it.is_gpu).collect();
        let cpu_fits = match self.cpu {
            None => !cpus.iter().any(|it| is_exclusive(it)),
            Some(wanted) => cpus.is_empty() || cpus.iter().any(|it| cpu_fits(it, wanted)),
        };
        let gpu_fits = match self.gpu {
            None => !gpus.iter().any(|it| is_exclusive(it)),
            Some([vendor, model]) => gpus
                .iter()
                .any(|it| one_fits(&it.vendor, vendor) && one_fits(&it.model, model)),
        };
        cpu_fits && gpu_fits
    }
}

fn split(text: &str, mark: char) -> (&str, &str) {
    text.split_once(mark).unwrap_or((text, ""))
}

/// `arch-vendor-instructions`, where a part in braces may have dashes of its own.
fn cpu_parts(text: &str) -> [&str; 3] {
    let mut parts = [""; 3];
    let mut rest = text;
    for part in &mut parts {
        let end = match rest.strip_prefix('{').and_then(|_| rest.find('}')) {
            Some(brace) => brace + 1,
            None => rest.find('-').unwrap_or(rest.len()),
        };
        let (head, tail) = rest.split_at(end);
        *part = head.trim_matches(['{', '}']);
        rest = tail.strip_prefix('-').unwrap_or(tail);
    }
    parts
}

fn is_exclusive(hardware: &Hardware) -> bool {
    let mut words = hardware.arch.iter().chain(&hardware.vendor);
    words.any(|word| word == EXCLUSIVE)
}

fn cpu_fits(hardware: &Hardware, [arch, vendor, instructions]: [&str; 3]) -> bool {
    one_fits(&hardware.arch, arch)
        && one_fits(&hardware.vendor, vendor)
        && one_fits(&hardware.instructions, instructions)
}

/// Says whether one of the names is the wanted one. No names, or no wish, fits.
fn one_fits(names: &[String], wanted: &str) -> bool {
    let mut names = names.iter().filter(|name| *name != EXCLUSIVE).peekable();
    if wanted.is_empty() || ANYTHING.contains(&wanted) || names.peek().is_none() {
        return true;
    }
    let pattern = Regex::new(&format!("^(?:{wanted})$"));
    names.any(|name| {
        ANYTHING.contains(&name.as_str())
            || name == wanted
            || pattern.as_ref().is_ok_and(|it| it.is_match(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(arch: &str, instructions: &[&str]) -> Hardware {
        Hardware {
            arch: vec![arch.to_owned()],
            instructions: instructions.iter().map(|it| (*it).to_owned()).collect(),
            ..Hardware::default()
        }
    }

    fn gpu(vendor: &[&str], model: &[&str]) -> Hardware {
        let owned = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect();
        Hardware {
            is_gpu: true,
            vendor: owned(vendor),
            model: owned(model),
            ..Hardware::default()
        }
    }

    #[test]
    fn the_text_has_up_to_four_parts() {
        let all =
            Architecture::parse("x86_64-el9-gcc13-opt@el9#{x86_64|aarch64}-amd-v3&nvidia-a100");
        assert_eq!(all.platform, "x86_64-el9-gcc13-opt");
        assert_eq!(all.base, "el9");
        assert_eq!(all.cpu, Some(["x86_64|aarch64", "amd", "v3"]));
        assert_eq!(all.gpu, Some(["nvidia", "a100"]));
        assert_eq!(Architecture::parse(""), Architecture::default());
        assert_eq!(Architecture::parse("&*").gpu, Some(["*", ""]));
    }

    #[test]
    fn a_gpu_is_only_where_it_is_said_to_be() {
        let plain = [cpu("x86_64", &[])];
        let with_gpu = [cpu("x86_64", &[]), gpu(&["nvidia"], &["a100"])];
        let kept = [gpu(&["nvidia", "excl"], &[])];
        for (text, hardware, expected) in [
            ("", &plain[..], true),
            ("", &with_gpu[..], true),
            ("", &kept[..], false),
            ("&*", &[][..], false),
            ("&*", &plain[..], false),
            ("&*", &with_gpu[..], true),
            ("&nvidia-a100", &kept[..], true),
            ("&nvidia-v100", &with_gpu[..], false),
            ("&amd", &with_gpu[..], false),
        ] {
            assert_eq!(
                Architecture::parse(text).runs_on(hardware),
                expected,
                "{text} {hardware:?}"
            );
        }
    }

    #[test]
    fn a_cpu_that_is_not_described_may_be_any() {
        let old = [cpu("x86_64", &["v1", "v2"])];
        for (text, hardware, expected) in [
            ("#x86_64--v3", &[][..], true),
            ("#x86_64--v3", &old[..], false),
            ("#x86_64--v2", &old[..], true),
            ("#aarch64", &old[..], false),
            ("#{x86.*}", &old[..], true),
        ] {
            assert_eq!(
                Architecture::parse(text).runs_on(hardware),
                expected,
                "{text}"
            );
        }
    }
}
